/** A relay for long: what takes too much time for the quick tests. It needs no Kubernetes, only the patience. */
import { assertEquals, assertLess } from "@std/assert";
import { ask, echo, Ground, Server } from "../relay/harness.ts";
import { until } from "../support/until.ts";

Deno.test("10,000 connections in a row come through a relay, and leave nothing behind", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start({
    name: "it",
    listen: { address: "tcp:127.0.0.1:0" },
    target: { address: `tcp:127.0.0.1:${server.port}` },
  });
  const files = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const before = files();
  let left = 10_000;
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (left-- > 0) assertEquals(await ask(await ground.connect(), "ping"), "ping");
  }));
  await until("the relay has no connections", () => ground.metric("connections", "it") === 0);
  assertEquals(ground.metric("connections_total", "it"), 10_000);
  assertEquals(ground.metric("errors_total"), 0);
  assertLess(files(), before + 10);
});
