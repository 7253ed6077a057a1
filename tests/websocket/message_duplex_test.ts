/** Bytes over messages. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Duplex, duplexPair, PodwireError } from "../../lib/bytes/mod.ts";
import { messageDuplex, WebSocketConnection } from "../../lib/websocket/mod.ts";
import { concat, encodeFrame, hex, pattern } from "./harness.ts";

function pair(reuseBuffer = false) {
  const [left, right] = duplexPair({ capacity: 64 * 1024 });
  const client = new WebSocketConnection(left, { role: "client", protocol: "", reuseBuffer });
  const server = new WebSocketConnection(right, { role: "server", protocol: "", closeTimeout: 200 });
  return { duplex: messageDuplex(client), client, server };
}

/** A client's duplex and the bare end of its connection. */
function rawPair() {
  const [left, wire] = duplexPair();
  const socket = new WebSocketConnection(left, { role: "client", protocol: "" });
  return { duplex: messageDuplex(socket), socket, wire };
}

async function readAll(duplex: Duplex, size = 1000): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(size);
  for (let n = await duplex.read(buffer); n !== null; n = await duplex.read(buffer)) parts.push(buffer.slice(0, n));
  return concat(...parts);
}

Deno.test("messageDuplex() joins messages of any boundaries, empty and fragmented ones too", async () => {
  const { duplex, wire } = rawPair();
  const data = pattern(9000);
  // As gorilla writes 4097 to 8192 bytes, more than that, and a frame of spdystream's with a FIN.
  await wire.write(concat(
    encodeFrame({ opcode: 2, payload: data.slice(0, 1) }),
    encodeFrame({ opcode: 2 }),
    encodeFrame({ opcode: 2, fin: false, payload: data.slice(1, 4097) }),
    encodeFrame({ opcode: 0, payload: data.slice(4097, 4100) }),
    encodeFrame({ opcode: 2, fin: false, payload: data.slice(4100) }),
    encodeFrame({ opcode: 0 }),
    encodeFrame({ opcode: 8, payload: hex("03e8") }),
  ));
  assertEquals(await readAll(duplex), data);
  assertEquals(await duplex.read(new Uint8Array(1)), null);
});

Deno.test("messageDuplex() needs nothing of a message behind the read that empties it", async () => {
  const { duplex, server } = pair(true);
  const data = pattern(300_000);
  const sending = (async () => {
    for (let at = 0; at < data.length; at += 777) await server.send(data.slice(at, at + 777));
    await server.close();
  })();
  assertEquals(await readAll(duplex, 500), data);
  await sending;
});

Deno.test("messageDuplex() keeps what is left of a message when it ends sending", async () => {
  const { duplex, server } = pair(true);
  await server.send(hex("0102030405060708"));
  const buffer = new Uint8Array(4);
  await duplex.read(buffer);
  const closed = duplex.closeWrite();
  await server.send(hex("ffffffffffffffff"));
  await server.close();
  await closed;
  assertEquals([await duplex.read(buffer), buffer], [4, hex("05060708")]);
});

Deno.test("messageDuplex() writes one binary message a call, and none for nothing", async () => {
  const { duplex, server, client } = pair();
  await duplex.write(pattern(3));
  await duplex.write(new Uint8Array(0));
  await duplex.write(pattern(5));
  assertEquals([await server.receive(), await server.receive()], [pattern(3), pattern(5)]);
  const closing = duplex.closeWrite();
  assertEquals(await server.receive(), undefined);
  await closing;
  assertEquals(await client.closed, { closeCode: 1000, reason: "" });
  assertEquals((await server.closed).closeCode, 1000);
});

Deno.test("messageDuplex() makes the writer wait for the transport", async () => {
  const { duplex, server } = pair();
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < 50; i++, written++) await duplex.write(pattern(32 * 1024));
  })();
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve));
  assert(written < 10, `${written} messages of 32 KiB went nowhere`);
  for (let i = 0; i < 50; i++) await server.receive();
  await writing;
  duplex.close();
  assertEquals(await server.receive(), undefined);
});

Deno.test("messageDuplex() takes no text, no other code than 1000, and no end without Close", async () => {
  const cases: ReadonlyArray<readonly [Uint8Array, string]> = [
    [encodeFrame({ opcode: 1, payload: hex("61") }), "invalid message type received"],
    [encodeFrame({ opcode: 8, payload: hex("03f3") }), "the peer closed the WebSocket with code 1011"],
    [encodeFrame({ opcode: 8 }), "the peer closed the WebSocket with code 1005"],
    [new Uint8Array(0), "the connection ended without a Close frame"],
  ];
  for (const [bytes, text] of cases) {
    const { duplex, wire } = rawPair();
    await wire.write(concat(encodeFrame({ opcode: 2, payload: hex("01") }), bytes));
    await wire.closeWrite();
    assertEquals(await duplex.read(new Uint8Array(8)), 1);
    await assertRejects(() => duplex.read(new Uint8Array(8)), PodwireError, text);
    duplex.close();
  }
});

Deno.test("close() of a messageDuplex() rejects what waits at once, says Close 1000 and waits a second for the answer", async () => {
  const { duplex, socket, wire } = rawPair();
  const reading = duplex.read(new Uint8Array(1));
  duplex.close();
  duplex.close();
  await assertRejects(() => reading, PodwireError, "the connection is closed");
  await assertRejects(() => duplex.read(new Uint8Array(1)), PodwireError, "the connection is closed");
  await assertRejects(() => duplex.write(new Uint8Array(1)), PodwireError, "the connection is closed");
  const frame = new Uint8Array(100);
  assertEquals(await wire.read(frame), 8);
  assertEquals([frame[0], frame[1]], [0x88, 0x82]);
  assertEquals([frame[6]! ^ frame[2]!, frame[7]! ^ frame[3]!], [0x03, 0xe8]);
  const start = performance.now();
  await assertRejects(() => socket.closed, PodwireError, "the connection is closed");
  assert(performance.now() - start < 1500);
});
