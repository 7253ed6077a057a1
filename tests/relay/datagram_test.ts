/** Datagrams through relays, by Node's sockets and by Deno's own. */
import { createSocket } from "node:dgram";
import { assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { until } from "../support/until.ts";
import { Ground, readAll, writeAll } from "./harness.ts";

for (const flags of [[], ["--unstable-net"]]) {
  Deno.test(`datagrams come through relays ${flags.length > 0 ? "by Deno's own sockets" : "by Node's sockets"}`, async () => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", ...flags, ...await denoFlags(), "tests/relay/datagrams.ts"],
      cwd: ROOT,
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assertNotMatch(text, /failed/);
    assertMatch(text, /ok: datagrams keep their boundaries/);
    assertEquals(text.includes("unix sockets, one way"), flags.length > 0, text);
    assertEquals(code, 0, text);
  });
}

Deno.test("a relay says what unix sockets for datagrams need where Deno has none", async () => {
  await using ground = await Ground.start({
    name: "it",
    listen: { address: "unix-dgram:FOLDER/d.sock" },
    target: { address: "udp:127.0.0.1:1" },
  });
  assertMatch(ground.relays.failures[0] ?? "", /unix sockets for datagrams need Deno's --unstable-net/);
});

Deno.test("a relay says why nothing can be sent to a target of datagrams", async () => {
  const target = { address: "unix-dgram:FOLDER/d.sock" };
  await using ground = await Ground.start(
    { name: "flow", listen: { address: "udp:127.0.0.1:0" }, target },
    { name: "stream", listen: { address: "tcp:127.0.0.1:0" }, target },
  );
  using stack = new DisposableStack();
  const client = stack.adopt(createSocket("udp4"), (socket) => socket.close());
  client.send("x", ground.port("flow"), "127.0.0.1");
  using conn = await ground.connect("stream");
  await writeAll(conn, "\0\x01x");
  assertEquals(await readAll(conn).catch(() => ""), "");
  const said = (name: string) => ground.events.find(({ relay, type }) => relay === name && type === "unreachable");
  await until("both have said so", () => ["flow", "stream"].every((name) => said(name) !== undefined));
  for (const name of ["flow", "stream"]) {
    assertMatch(said(name)?.message ?? "", /^cannot send to unix-dgram:\S+: unix sockets for datagrams need Deno's/);
  }
});
