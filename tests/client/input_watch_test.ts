import { assert, assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import { duplexPair } from "../../lib/bytes/mod.ts";
import { watchInput } from "../../lib/client/input_watch.ts";
import { WebSocketConnection } from "../../lib/websocket/mod.ts";
import { parseFrames } from "../captures/recording.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("watchInput() tells every `patience` milliseconds that input waits, until it is taken or the session ends", async () => {
  const end = Promise.withResolvers<unknown>();
  const session = { inputStalledFor: 0, bytesSent: 5, ended: end.promise };
  const notices: Array<readonly [at: number, text: string]> = [];
  let told = Promise.withResolvers<void>();
  watchInput(session, (text) => {
    notices.push([session.inputStalledFor, text]);
    told.resolve();
  }, 20);
  const next = async (stalledFor: number) => {
    told = Promise.withResolvers();
    session.inputStalledFor = stalledFor;
    await told.promise;
  };
  await next(20);
  await next(60_000);
  await next(120_000);
  session.inputStalledFor = 5; // Something was taken: it starts anew.
  await new Promise((resolve) => setTimeout(resolve, 10));
  await next(21);
  end.resolve(undefined);
  await end.promise;
  session.inputStalledFor = 200_000;
  await new Promise((resolve) => setTimeout(resolve, 10));
  assertEquals(notices.map(([at]) => at), [20, 60_000, 120_000, 21]);
  assertEquals(
    notices[1]?.[1],
    "input is waiting: the command has read nothing for 60 s (5 bytes sent so far)",
  );
});

Deno.test("WebSocketConnection.stalledFor grows while a Ping behind a message has no Pong, and falls with it", async () => {
  const [near, far] = duplexPair();
  const socket = new WebSocketConnection(near, {
    role: "client",
    protocol: "",
    ping: { interval: 10, timeout: 10_000 },
  });
  const receiving = socket.receive().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 60));
  assertLess(socket.stalledFor, 50, "nothing was sent, so nothing waits");
  await socket.send(new Uint8Array(10));
  await new Promise((resolve) => setTimeout(resolve, 60));
  assertGreaterOrEqual(socket.stalledFor, 50);

  const buffer = new Uint8Array(4096);
  const n = await far.read(buffer) ?? 0;
  const ping = parseFrames(buffer.subarray(0, n)).frames.findLast((frame) => frame.opcode === 9);
  assert(ping, "it pinged");
  const before = socket.stalledFor;
  await far.write(Uint8Array.of(0x8a, ping.payload.length, ...ping.payload));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertLess(socket.stalledFor, before);
  socket.abort();
  await receiving;
});
