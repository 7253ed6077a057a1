import { assert, assertEquals } from "@std/assert";
import { duplexPair } from "../../lib/bytes/mod.ts";
import { watchInput } from "../../lib/client/input_watch.ts";
import { WebSocketConnection } from "../../lib/websocket/mod.ts";
import { parseFrames } from "../captures/recording.ts";
import { FakeClock } from "./fake_clock.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("watchInput() tells every `patience` milliseconds that input waits, until it is taken or the session ends", async () => {
  using clock = new FakeClock();
  const end = Promise.withResolvers<unknown>();
  const session = { inputStalledFor: 0, bytesSent: 5, ended: end.promise };
  const notices: Array<readonly [at: number, text: string]> = [];
  watchInput(session, (text) => notices.push([session.inputStalledFor, text]), 20);
  const next = async (stalledFor: number) => {
    session.inputStalledFor = stalledFor;
    await clock.pass(2);
  };
  await next(19);
  await next(20);
  await next(39);
  await next(60_000);
  await next(120_000);
  await next(5); // Something was taken: it starts anew.
  await next(21);
  end.resolve(undefined);
  await clock.settle();
  await next(200_000);
  assertEquals(notices.map(([at]) => at), [20, 60_000, 120_000, 21]);
  assertEquals(
    notices[1]?.[1],
    "input is waiting: the command has read nothing for 60 s (5 bytes sent so far)",
  );
});

Deno.test("WebSocketConnection.stalledFor grows while a Ping behind a message has no Pong, and falls with it", async () => {
  using clock = new FakeClock();
  const [near, far] = duplexPair();
  const socket = new WebSocketConnection(near, {
    role: "client",
    protocol: "",
    ping: { interval: 10, timeout: 10_000 },
  });
  const receiving = socket.receive().catch(() => {});
  await clock.pass(60);
  assertEquals(socket.stalledFor, 0, "nothing was sent, so nothing waits");
  await socket.send(new Uint8Array(10));
  await clock.pass(60);
  assertEquals(socket.stalledFor, 60);

  const buffer = new Uint8Array(4096);
  const n = await far.read(buffer) ?? 0;
  const ping = parseFrames(buffer.subarray(0, n)).frames.findLast((frame) => frame.opcode === 9);
  assert(ping, "it pinged");
  await far.write(Uint8Array.of(0x8a, ping.payload.length, ...ping.payload));
  await clock.settle();
  assertEquals(socket.stalledFor, 0);
  socket.abort();
  await receiving;
});
