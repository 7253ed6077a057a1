/** The connection: messages, the closing handshake, failures, back-pressure. */
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { type Duplex, duplexPair, PodwireError } from "../../lib/bytes/mod.ts";
import {
  WebSocketConnection,
  WebSocketConnectionError,
  type WebSocketConnectionOptions,
  WebSocketProtocolError,
} from "../../lib/websocket/mod.ts";
import { concat, duplexOf, encodeFrame, hex, pattern, RawPeer, utf8 } from "./harness.ts";

const MASK = [1, 2, 3, 4] as const;

/** A connection, and the raw other end. */
function withPeer(options: Partial<WebSocketConnectionOptions> = {}, capacity = 64 * 1024) {
  const [end, duplex] = duplexPair({ capacity });
  const socket = new WebSocketConnection(end, { role: "client", protocol: "", ...options });
  return { socket, duplex, peer: new RawPeer(duplex) };
}

function pair(options: Partial<WebSocketConnectionOptions> = {}, capacity = 64 * 1024) {
  const [left, right] = duplexPair({ capacity });
  return [
    new WebSocketConnection(left, { protocol: "", ...options, role: "client" }),
    new WebSocketConnection(right, { protocol: "", ...options, role: "server" }),
  ] as const;
}

async function closeBoth(...sockets: readonly WebSocketConnection[]): Promise<void> {
  await Promise.all(sockets.map((socket) => socket.close()));
}

Deno.test("WebSocketConnection carries messages of 0 B to 16 MiB both ways", async () => {
  const [client, server] = pair();
  for (const size of [0, 1, 125, 126, 4096, 32 * 1024 + 1, 65535, 65536, 1 << 20, 16 << 20]) {
    const payload = pattern(size);
    for (const [from, to] of [[client, server], [server, client]] as const) {
      const [message] = await Promise.all([to.receive(), from.send(payload)]);
      assertInstanceOf(message, Uint8Array);
      assertEquals(message.length, size);
      assert(message.every((byte, i) => byte === payload[i]), `${size} bytes arrived changed`);
    }
  }
  await closeBoth(client, server);
});

Deno.test("WebSocketConnection.send() joins its parts into one frame", async () => {
  const { socket, peer, duplex } = withPeer();
  await socket.send(hex("00"), utf8("abc"), hex(""), utf8("de"));
  const frame = await peer.frame();
  assertEquals(frame, { opcode: 2, payload: concat(hex("00"), utf8("abcde")), masked: true });
  await socket.send("Grüße");
  assertEquals(await peer.frame(), { opcode: 1, payload: utf8("Grüße"), masked: true });
  socket.abort();
  duplex.close();
});

Deno.test("WebSocketConnection.send() puts waiting small messages into one write", async () => {
  const writes: number[] = [];
  const gate = Promise.withResolvers<void>();
  const duplex: Duplex = {
    read: () => new Promise(() => {}),
    async write(data) {
      writes.push(data.length);
      await gate.promise;
    },
    closeWrite: () => Promise.resolve(),
    close() {},
  };
  const socket = new WebSocketConnection(duplex, { role: "server", protocol: "" });
  const sends = Array.from({ length: 101 }, () => socket.send(pattern(10)));
  gate.resolve();
  await Promise.all(sends);
  assertEquals(writes, [12, 1200]);
  socket.abort();
});

Deno.test("WebSocketConnection.receive() answers from its buffer without reading again", async () => {
  let reads = 0;
  const frames = encodeFrame({ opcode: 1, payload: utf8("x") });
  const duplex: Duplex = {
    read(into) {
      if (++reads > 1) return new Promise(() => {});
      into.set(concat(frames, frames, frames));
      return Promise.resolve(3 * frames.length);
    },
    write: () => Promise.resolve(),
    closeWrite: () => Promise.resolve(),
    close() {},
  };
  const socket = new WebSocketConnection(duplex, { role: "client", protocol: "" });
  assertEquals(reads, 0);
  for (let i = 0; i < 3; i++) assertEquals(await socket.receive(), "x");
  assertEquals(reads, 1);
  socket.abort();
});

Deno.test("WebSocketConnection.receive() refuses to be called twice at once", async () => {
  const { socket } = withPeer();
  const first = socket.receive();
  await assertRejects(() => socket.receive(), TypeError);
  socket.abort(new Error("enough"));
  await assertRejects(() => first, Error, "enough");
});

Deno.test("WebSocketConnection makes the sender wait while nobody receives", async () => {
  const [client, server] = pair();
  let sent = 0;
  let stalled = false;
  const sending = (async () => {
    for (let i = 0; i < 100; i++) {
      await client.send(pattern(64 * 1024));
      sent++;
    }
  })();
  await settle();
  stalled = sent < 10;
  assert(stalled, `${sent} messages of 64 KiB went nowhere`);
  for (let i = 0; i < 100; i++) assertEquals((await server.receive())?.length, 64 * 1024);
  await sending;
  await closeBoth(client, server);
});

/** Lets everything run that can without the network or timers. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve));
}

Deno.test("WebSocketConnection answers a Ping inside a message and between messages", async () => {
  const { socket, duplex, peer } = withPeer({ role: "server" });
  await duplex.write(concat(
    encodeFrame({ opcode: 9, payload: utf8("one"), mask: MASK }),
    encodeFrame({ opcode: 1, fin: false, payload: utf8("he"), mask: MASK }),
    encodeFrame({ opcode: 9, payload: utf8("two"), mask: MASK }),
    encodeFrame({ opcode: 10, payload: utf8("nobody asked"), mask: MASK }),
    encodeFrame({ opcode: 0, payload: utf8("llo"), mask: MASK }),
  ));
  assertEquals(await socket.receive(), "hello");
  assertEquals(await peer.frame(), { opcode: 10, payload: utf8("one"), masked: false });
  assertEquals(await peer.frame(), { opcode: 10, payload: utf8("two"), masked: false });
  socket.abort();
  duplex.close();
});

Deno.test("WebSocketConnection sends a Pong before messages that wait", async () => {
  const [end, duplex] = duplexPair({ capacity: 1024 });
  const socket = new WebSocketConnection(end, { role: "server", protocol: "" });
  const sends = [0, 1, 2].map(() => socket.send(pattern(60_000)));
  await duplex.write(encodeFrame({ opcode: 9, payload: utf8("now"), mask: MASK }));
  await duplex.write(encodeFrame({ opcode: 1, payload: utf8("x"), mask: MASK }));
  assertEquals(await socket.receive(), "x");
  const peer = new RawPeer(duplex);
  const opcodes = [];
  for (let i = 0; i < 4; i++) opcodes.push((await peer.frame()).opcode);
  await Promise.all(sends);
  assertEquals(opcodes, [2, 10, 2, 2]);
  socket.abort();
});

Deno.test("WebSocketConnection holds few Pongs for a peer that pings and does not read", async () => {
  const [end, duplex] = duplexPair({ capacity: 1024 });
  const socket = new WebSocketConnection(end, { role: "server", protocol: "" });
  const sending = socket.send(pattern(10_000));
  const ping = encodeFrame({ opcode: 9, payload: pattern(125), mask: MASK });
  const flood = (async () => {
    for (let i = 0; i < 1000; i++) await duplex.write(ping);
    await duplex.write(encodeFrame({ opcode: 1, payload: utf8("done"), mask: MASK }));
  })();
  assertEquals(await socket.receive(), "done");
  await flood;
  const peer = new RawPeer(duplex);
  assertEquals((await peer.frame()).opcode, 2);
  await sending;
  const closing = Promise.all([socket.close(), duplex.write(encodeFrame({ opcode: 8, mask: MASK }))]);
  let pongs = 0;
  for (let frame; (frame = await peer.frame()).opcode !== 8; pongs++) assertEquals(frame.opcode, 10);
  assert(pongs > 0 && pongs < 100, `${pongs} Pongs for 1000 Pings`);
  await closing;
  assertEquals((await peer.rest()).length, 0);
});

// The closing handshake.

for (const [first, second] of [["client", "server"], ["server", "client"]] as const) {
  Deno.test(`WebSocketConnection closes from the ${first}`, async () => {
    const [client, server] = pair();
    const sockets = { client, server };
    const last = sockets[first].send("last words");
    const closing = sockets[first].close({ closeCode: 4001, reason: "enough" });
    assertEquals(await sockets[second].receive(), "last words");
    assertEquals(await sockets[second].receive(), undefined);
    assertEquals(await sockets[second].receive(), undefined);
    await last;
    await closing;
    assertEquals(await sockets[second].closed, { closeCode: 4001, reason: "enough" });
    assertEquals(await sockets[first].closed, { closeCode: 4001, reason: "" });
    assertEquals(await sockets[first].receive(), undefined);
    await assertRejects(() => sockets[first].send("late"), WebSocketConnectionError, "closing or closed");
    await assertRejects(() => sockets[second].send("late"), WebSocketConnectionError, "closing or closed");
  });
}

Deno.test("WebSocketConnection closes when both sides begin at once", async () => {
  const [client, server] = pair();
  await Promise.all([client.close({ closeCode: 3000 }), server.close({ closeCode: 3001 })]);
  assertEquals((await client.closed).closeCode, 3001);
  assertEquals((await server.closed).closeCode, 3000);
});

Deno.test("WebSocketConnection answers a Close without a code with one without a code", async () => {
  const { socket, duplex, peer } = withPeer();
  await duplex.write(hex("88 00"));
  assertEquals(await socket.receive(), undefined);
  assertEquals(await peer.frame(), { opcode: 8, payload: hex(""), masked: true });
  assertEquals(await socket.closed, { closeCode: 1005, reason: "" });
});

Deno.test("WebSocketConnection.close() drops what still comes, and finds the Close behind it", async () => {
  const { socket, duplex, peer } = withPeer();
  await duplex.write(encodeFrame({ opcode: 2, payload: pattern(1000) }));
  const closing = socket.close();
  assertEquals(await peer.frame(), { opcode: 8, payload: hex("03e8"), masked: true });
  const received = socket.receive();
  for (let i = 0; i < 20; i++) await duplex.write(encodeFrame({ opcode: 2, payload: pattern(60_000) }));
  await duplex.write(hex("88 02 03 e8"));
  await closing;
  assertEquals(await received, undefined);
  assertEquals(await socket.closed, { closeCode: 1000, reason: "" });
});

Deno.test("WebSocketConnection.close() lets a waiting receive() have the next message", async () => {
  const { socket, duplex } = withPeer();
  const receiving = socket.receive();
  const closing = socket.close();
  await duplex.write(concat(encodeFrame({ opcode: 1, payload: utf8("crossed") }), hex("88 02 03 e8")));
  assertEquals(await receiving, "crossed");
  await closing;
});

Deno.test("WebSocketConnection.close() gives up on a peer that does not answer", async () => {
  const { socket, peer } = withPeer({ closeTimeout: 20 });
  await socket.close();
  await assertRejects(() => socket.closed, WebSocketConnectionError, "no Close frame from the peer within 20 ms");
  assertEquals((await peer.frame()).opcode, 8);
  assertEquals((await peer.rest()).length, 0);
});

Deno.test("WebSocketConnection.close() gives up on a peer that does not read", async () => {
  const { socket } = withPeer({ closeTimeout: 20 }, 1024);
  const sends = [1, 2, 3].map(() => socket.send(pattern(100_000)));
  const results = Promise.allSettled(sends);
  await socket.close();
  for (const result of await results) assertEquals(result.status, "rejected");
  await assertRejects(() => socket.closed, WebSocketConnectionError);
});

Deno.test("WebSocketConnection bounds the answer to a peer's Close too", async () => {
  const { socket, duplex } = withPeer({ closeTimeout: 20 }, 1024);
  const sending = assertRejects(() => socket.send(pattern(100_000)));
  const waiting = assertRejects(
    () => socket.send("x"),
    WebSocketConnectionError,
    "closed the WebSocket with code 1001",
  );
  await duplex.write(hex("88 02 03 e9"));
  assertEquals(await socket.receive(), undefined);
  await waiting;
  assertEquals(await socket.closed, { closeCode: 1001, reason: "" });
  await sending;
});

Deno.test("WebSocketConnection.close() refuses what may not be sent, and stays open", async () => {
  const [client, server] = pair();
  await assertRejects(() => client.close({ closeCode: 1006 }), RangeError);
  await assertRejects(() => client.close({ reason: "x".repeat(124) }), RangeError);
  await client.send("still here");
  assertEquals(await server.receive(), "still here");
  await closeBoth(client, server);
});

// Failures.

Deno.test("WebSocketConnection rejects an end without Close, with the bytes received", async () => {
  const { socket, duplex } = withPeer();
  await duplex.write(concat(encodeFrame({ opcode: 1, payload: utf8("hi") }), hex("82 05 61")));
  await duplex.closeWrite();
  assertEquals(await socket.receive(), "hi");
  const error = await assertRejects(() => socket.receive(), WebSocketConnectionError, "without a Close frame");
  assertEquals(error.bytesReceived, 7);
  assertEquals(await socket.closed.catch((reason) => reason), error);
  assertEquals(await assertRejects(() => socket.receive()), error);
  assertEquals(await assertRejects(() => socket.send("x")), error);
});

Deno.test("WebSocketConnection tells the peer what it broke, then waits for it to go", async () => {
  const { socket, duplex, peer } = withPeer();
  await duplex.write(hex("c1 00"));
  const error = await assertRejects(() => socket.receive(), WebSocketProtocolError);
  assertEquals(error.closeCode, 1002);
  assertEquals(await peer.frame(), { opcode: 8, payload: hex("03ea"), masked: true });
  assertEquals((await peer.rest()).length, 0);
  await duplex.closeWrite();
  assertEquals(await socket.closed.catch((reason) => reason), error);
});

Deno.test("WebSocketConnection does not wait for ever for a peer that it has told off", async () => {
  const { socket, duplex } = withPeer({ closeTimeout: 20, maxMessageSize: 10 });
  await duplex.write(encodeFrame({ opcode: 2, payload: pattern(11) }));
  const error = await assertRejects(() => socket.receive(), WebSocketProtocolError);
  assertEquals(error.closeCode, 1009);
  assertEquals(await socket.closed.catch((reason) => reason), error);
});

Deno.test("WebSocketConnection delivers what arrived before a failed write", async () => {
  const broken = new PodwireError("connection reset by peer");
  const chunks = [encodeFrame({ opcode: 1, payload: utf8("status") }), hex("88 02 03 e8")];
  const duplex: Duplex = {
    read(into) {
      const chunk = chunks.shift();
      if (!chunk) return Promise.resolve(null);
      into.set(chunk);
      return Promise.resolve(chunk.length);
    },
    write: () => Promise.reject(broken),
    closeWrite: () => Promise.resolve(),
    close() {},
  };
  const socket = new WebSocketConnection(duplex, { role: "client", protocol: "" });
  assertEquals(await assertRejects(() => socket.send("input")), broken);
  assertEquals(await assertRejects(() => socket.send("more")), broken);
  assertEquals(await socket.receive(), "status");
  assertEquals(await socket.receive(), undefined);
  assertEquals(await socket.closed, { closeCode: 1000, reason: "" });
});

Deno.test("WebSocketConnection delivers what arrived before a reset", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [conn, peer] = await Promise.all([
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    listener.accept(),
  ]);
  const socket = new WebSocketConnection(duplexOf(conn), { role: "client", protocol: "" });
  const sending = assertRejects(async () => {
    for (;;) await socket.send(pattern(32 * 1024));
  });
  await peer.read(new Uint8Array(100));
  await peer.write(concat(encodeFrame({ opcode: 1, payload: utf8("status") }), hex("88 02 03 e8")));
  peer.close(); // with input unread, so that the kernel resets the connection
  await sending;
  assertEquals(await socket.receive(), "status");
  assertEquals(await socket.receive(), undefined);
  assertEquals(await socket.closed, { closeCode: 1000, reason: "" });
});

Deno.test("WebSocketConnection names the failed write as the cause where no Close follows", async () => {
  const broken = new PodwireError("connection reset by peer");
  const duplex: Duplex = {
    read: () => Promise.resolve(null),
    write: () => Promise.reject(broken),
    closeWrite: () => Promise.resolve(),
    close() {},
  };
  const socket = new WebSocketConnection(duplex, { role: "client", protocol: "" });
  await assertRejects(() => socket.send("input"));
  const error = await assertRejects(() => socket.receive(), WebSocketConnectionError);
  assertEquals(error.cause, broken);
});

Deno.test("WebSocketConnection.abort() ends everything with the one reason", async () => {
  const { socket } = withPeer({}, 1024);
  const reason = new Error("cancelled");
  const receiving = assertRejects(() => socket.receive(), Error, "cancelled");
  const sending = assertRejects(() => socket.send(pattern(100_000)));
  const waiting = assertRejects(() => socket.send(pattern(10)), Error, "cancelled");
  await settle();
  socket.abort(reason);
  socket.abort(new Error("too late"));
  await Promise.all([receiving, sending, waiting]);
  assertEquals(await socket.closed.catch((error) => error), reason);
  await socket.close();
});

Deno.test("WebSocketConnection.abort() has a reason of its own", async () => {
  const { socket } = withPeer();
  socket.abort();
  const error = await assertRejects(() => socket.closed, WebSocketConnectionError);
  assertStringIncludes(error.message, "aborted");
});
