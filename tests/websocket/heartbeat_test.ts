/** Pings: any inbound frame is life, nobody dies while we do not read, patience where input is stuck. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { duplexPair } from "../../lib/bytes/mod.ts";
import type { PingOptions } from "../../lib/bytes/mod.ts";
import { WebSocketConnection, WebSocketConnectionError } from "../../lib/websocket/mod.ts";
import { encodeFrame, pattern, RawPeer, utf8 } from "./harness.ts";

const DEAD = "no sign of life from the peer";

function withPing(ping: PingOptions) {
  const [end, duplex] = duplexPair();
  const socket = new WebSocketConnection(end, { role: "client", protocol: "", ping });
  return { socket, duplex, peer: new RawPeer(duplex) };
}

/** Answers the next Ping. */
async function answer({ peer, duplex }: ReturnType<typeof withPing>): Promise<void> {
  const { opcode, payload } = await peer.frame();
  assertEquals(opcode, 9);
  await duplex.write(encodeFrame({ opcode: 10, payload }));
}

Deno.test("WebSocketConnection pings, and lives as long as it is answered", async () => {
  const end = withPing({ interval: 10, timeout: 200 });
  const receiving = end.socket.receive();
  for (let i = 0; i < 30; i++) await answer(end);
  await end.duplex.write(encodeFrame({ opcode: 1, payload: utf8("alive") }));
  assertEquals(await receiving, "alive");
  end.socket.abort();
});

Deno.test("WebSocketConnection takes any frame for life, not only a Pong", async () => {
  const { socket, duplex, peer } = withPing({ interval: 10, timeout: 200 });
  for (let i = 0; i < 30; i++) {
    const receiving = socket.receive();
    assertEquals((await peer.frame()).opcode, 9); // which is never answered
    await duplex.write(encodeFrame({ opcode: 1, payload: utf8("x") }));
    assertEquals(await receiving, "x");
  }
  socket.abort();
});

Deno.test("WebSocketConnection fails when the peer is silent while it reads", async () => {
  const { socket } = withPing({ interval: 5, timeout: 20 });
  const error = await assertRejects(() => socket.receive(), WebSocketConnectionError, DEAD);
  assertEquals(await socket.closed.catch((reason) => reason), error);
  assertEquals(await assertRejects(() => socket.send("x")), error);
});

Deno.test("WebSocketConnection does not ping, and counts no silence, while nobody receives", async () => {
  const { socket, duplex, peer } = withPing({ interval: 5, timeout: 20 });
  const clock = withPing({ interval: 5, timeout: 2000 });
  const ticking = clock.socket.receive();
  for (let i = 0; i < 15; i++) await answer(clock); // 75 ms, and no receive() on the other one
  clock.socket.abort();
  await ticking.catch(() => {}); // It was dropped.
  await socket.send("mark");
  assertEquals((await peer.frame()).opcode, 1);
  await duplex.write(encodeFrame({ opcode: 1, payload: utf8("late") }));
  assertEquals(await socket.receive(), "late");
  // Now it reads, and counts again.
  await assertRejects(() => socket.receive(), WebSocketConnectionError, DEAD);
});

Deno.test("WebSocketConnection is patient while the peer has not taken what it was sent", async () => {
  const { socket, duplex, peer } = withPing({ interval: 5, timeout: 20, stallTimeout: 2000 });
  await socket.send(pattern(10_000));
  const receiving = socket.receive();
  assertEquals((await peer.frame()).opcode, 2);
  // A server whose container does not read its stdin: no Pong for much longer than `timeout`.
  const pings = [];
  for (let i = 0; i < 15; i++) pings.push(await peer.frame());
  assert(pings.every(({ opcode }) => opcode === 9));
  // Once it goes on, its Pong confirms the input, and silence counts as ever.
  await duplex.write(encodeFrame({ opcode: 10, payload: pings.at(-1)!.payload }));
  await assertRejects(() => receiving, WebSocketConnectionError, DEAD);
});

Deno.test("WebSocketConnection has an end to its patience", async () => {
  const { socket } = withPing({ interval: 5, timeout: 10, stallTimeout: 40 });
  await socket.send(pattern(10_000));
  const start = performance.now();
  await assertRejects(() => socket.receive(), WebSocketConnectionError, DEAD);
  assert(performance.now() - start >= 35);
});

Deno.test("WebSocketConnection is patient in the middle of a message too", async () => {
  const { socket } = withPing({ interval: 5, timeout: 10, stallTimeout: 100 });
  const start = performance.now();
  const sending = assertRejects(() => socket.send(pattern(2 << 20)), WebSocketConnectionError, DEAD);
  await assertRejects(() => socket.receive(), WebSocketConnectionError, DEAD);
  assert(performance.now() - start >= 95);
  await sending;
});

Deno.test("WebSocketConnection sends no Ping once it closes", async () => {
  const { socket, duplex, peer } = withPing({ interval: 5, timeout: 1000 });
  const receiving = socket.receive();
  assertEquals((await peer.frame()).opcode, 9);
  const closing = socket.close();
  let frame = await peer.frame();
  while (frame.opcode === 9) frame = await peer.frame();
  assertEquals(frame.opcode, 8);
  await new Promise((resolve) => setTimeout(resolve, 20));
  await duplex.write(encodeFrame({ opcode: 8, payload: frame.payload }));
  await closing;
  assertEquals(await receiving, undefined);
  assertEquals((await peer.rest()).length, 0);
});
