/**
 * One forwarded connection over SPDY: what ends it, how, and what its user is told, as client-go's `tools/portforward` and cri-streaming's `portforward/httpstream.go` have it. The
 * other end is written byte by byte.
 */
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { duplexPair, PodwireError } from "../../lib/bytes/mod.ts";
import { ForwardError } from "../../lib/client/forward_error.ts";
import { ForwardedConnection } from "../../lib/client/forwarded_connection.ts";
import { HALF_CLOSE_KEPT } from "../../lib/channels/mod.ts";
import { SpdyForwardSession } from "../../lib/client/forward_wire.ts";
import { BytePeer, fin, hex, pattern, synReply, utf8 } from "../spdy/harness.ts";
import { FakeClock } from "./fake_clock.ts";
import { forwardOver, FrameType, readText, REFUSED, withForwarded, withSession } from "./forward_peer.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Whether a promise has settled. */
function watched<T>(promise: Promise<T>): { readonly settled: boolean } {
  const state = { settled: false };
  const settle = () => void (state.settled = true);
  promise.then(settle, settle);
  return state;
}

/** Runs `work` with a connection while time stands still. */
function withClock(
  options: Parameters<typeof withForwarded>[0],
  work: (clock: FakeClock, ...args: Parameters<Parameters<typeof withForwarded>[1]>) => Promise<void>,
): Promise<void> {
  const run = async () => {
    using clock = new FakeClock();
    await withForwarded(options, (forwarded) => work(clock, forwarded));
    await clock.settle();
  };
  return run();
}

/** Fails unless `promise` rejects with a ForwardError of this code. */
async function assertFails(promise: Promise<unknown>, code: string, text = ""): Promise<ForwardError> {
  const error = await assertRejects(() => promise, ForwardError, text);
  assertEquals([error.code, error.port], [code, 8080]);
  return error;
}

Deno.test("ForwardedConnection carries bytes both ways, and counts them", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    await connection.write(utf8("ping"));
    assertEquals(await peer.expectData(pair.data), "ping");
    await peer.data(pair.data, "0123456789");
    const small = new Uint8Array(4);
    assertEquals([await connection.read(small), await connection.read(small)], [4, 4]);
    assertEquals([connection.bytesReceived, connection.bytesSent], [8, 4]);
    assertEquals(await connection.read(small), 2);
    assertEquals(connection.bytesReceived, 10);
    await peer.data(pair.data, "more");
    assertEquals(await connection.readChunk(), utf8("more"));
    assertEquals(connection.bytesReceived, 14);
    await peer.finish(pair);
    assertEquals(await connection.read(small), null);
    await connection.closed;
    assertEquals([connection.bytesReceived, connection.bytesSent], [14, 4]);
  });
});

Deno.test("ForwardedConnection sends the bytes of every view, and refuses what has none before it touches the connection", async () => {
  const bytes = utf8("012345");
  for (const chunk of [bytes.buffer, new DataView(bytes.buffer), new Uint16Array(bytes.buffer), bytes]) {
    await withForwarded({}, async ({ connection, peer, pair }) => {
      for (const wrong of ["text", 7, null, [1]]) {
        const write = () => connection.write(wrong as unknown as Uint8Array);
        await assertRejects(write, TypeError, "Expected ArrayBuffer or ArrayBufferView");
      }
      await connection.write(chunk as ArrayBuffer);
      assertEquals(await peer.expectData(pair.data), "012345");
      await ReadableStream.from([chunk as Uint8Array]).pipeTo(connection.writable, { preventClose: true });
      assertEquals(await peer.expectData(pair.data), "012345");
      assertEquals(connection.bytesSent, 12);
    });
  }
});

Deno.test("ForwardedConnection.writable drops the connection over a chunk that is no bytes, as over an abort", async () => {
  await withForwarded({}, async ({ connection }) => {
    const piped = ReadableStream.from(["text" as unknown as Uint8Array]).pipeTo(connection.writable);
    await assertRejects(() => piped, TypeError, "Expected ArrayBuffer or ArrayBufferView");
    await assertFails(connection.read(new Uint8Array(1)), "", "closed here");
    assertEquals(connection.bytesSent, 0);
  });
});

Deno.test("ForwardedConnection.readChunk() gives views that hold until the next call, while more arrives", async () => {
  const payload = pattern(200_000);
  await withForwarded({}, async ({ connection, peer, pair }) => {
    const parts: Uint8Array[] = [];
    let sent = 0;
    const send = async (size: number) => {
      await peer.data(pair.data, payload.subarray(sent, sent + size));
      sent += size;
    };
    await send(1000);
    for (let size = 0; size < payload.length;) {
      const view = (await connection.readChunk())!;
      const before = view.slice();
      if (sent < payload.length) await send(Math.min(33_000, payload.length - sent));
      assertEquals(view, before);
      parts.push(before);
      size += before.length;
    }
    assertEquals(new Uint8Array(await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer()), payload);
  });
});

Deno.test("ForwardedConnection ends when the pod has: FIN data, FIN error; kubectl's RST answers", async () => {
  await withForwarded({}, async ({ connection, peer, pair, session }) => {
    await peer.data(pair.data, "bye");
    await peer.finish(pair);
    assertEquals(await readText(connection), "bye");
    await connection.closed;
    await peer.expectReset(pair.data);
    assertEquals([session.connections, peer.openStreams], [0, 0]);
    assertEquals(await connection.read(new Uint8Array(1)), null, "and stays ended");
    await assertFails(connection.write(utf8("x")), "EPIPE");
    await connection.closeWrite();
  });
});

Deno.test("ForwardedConnection: the pod's end alone ends nothing but its direction", async () => {
  await withForwarded({ headers: HALF_CLOSE_KEPT }, async ({ connection, peer, pair }) => {
    await peer.fin(pair.data);
    assertEquals(await connection.read(new Uint8Array(1)), null);
    const closed = watched(connection.closed);
    await connection.write(utf8("still here"));
    assertEquals(await peer.expectData(pair.data), "still here");
    assertEquals(closed.settled, false);
    await connection.closeWrite();
    await peer.expectFin(pair.data);
    await connection.closed;
    await peer.fin(pair.error);
    await peer.data(1, "");
    assertEquals(peer.openStreams, 0);
  });
});

Deno.test("ForwardedConnection.closeWrite() sends the FIN at once where half-closes are kept", async () => {
  await withClock({ headers: HALF_CLOSE_KEPT }, async (clock, { connection, peer, pair }) => {
    await connection.write(utf8("question"));
    await connection.closeWrite();
    assertEquals(await peer.expectData(pair.data), "question");
    await peer.expectFin(pair.data);
    await clock.pass(20_000);
    await peer.data(pair.data, "late answer");
    await peer.finish(pair);
    assertEquals(await readText(connection), "late answer");
    await connection.closed;
    assertEquals([peer.take(), peer.openStreams], [[], 0]);
  });
});

Deno.test("ForwardedConnection.closeWrite() holds the FIN back until the pod has ended", async () => {
  await withClock({}, async (clock, { connection, peer, pair }) => {
    await connection.write(utf8("question"));
    await connection.closeWrite();
    assertEquals(await peer.expectData(pair.data), "question");
    await clock.pass(9_900);
    assertEquals(peer.take(), []);
    await peer.data(pair.data, "answer");
    await peer.finish(pair);
    assertEquals(await readText(connection), "answer");
    await connection.closed;
    await clock.settle();
    assertEquals(peer.openStreams, 0);
    assert(peer.take().every(({ type, id }) => type === FrameType.RST_STREAM && id === pair.data));
  });
});

Deno.test("ForwardedConnection.closeWrite() sends the FIN after ten quiet seconds when an answer is due", async () => {
  await withClock({}, async (clock, { connection, peer, pair }) => {
    await connection.write(utf8("question"));
    await connection.closeWrite();
    assertEquals(await peer.expectData(pair.data), "question");
    await clock.pass(9_999);
    assertEquals(peer.take(), []);
    await clock.pass(1);
    await peer.expectFin(pair.data);
    await peer.finish(pair);
    assertEquals(await readText(connection), "");
    await connection.closed;
    await clock.settle();
    assertEquals([peer.take(), peer.openStreams], [[], 0], "no RST after a FIN of our own");
  });
});

Deno.test("ForwardedConnection.closeWrite() sends the FIN after two quiet seconds when the pod spoke last", async () => {
  await withClock({}, async (clock, { connection, peer, pair }) => {
    await connection.write(utf8("question"));
    await peer.expectData(pair.data);
    await clock.pass(1);
    await peer.data(pair.data, "answer");
    await clock.settle();
    assertEquals(await connection.read(new Uint8Array(100)), 6);
    const reading = readText(connection);
    await connection.closeWrite();
    await clock.pass(1_999);
    assertEquals(peer.take(), []);
    await peer.data(pair.data, " and more"); // It counts from here.
    await clock.pass(1_999);
    assertEquals(peer.take(), []);
    await clock.pass(1);
    await peer.expectFin(pair.data);
    await peer.finish(pair);
    assertEquals(await reading, " and more");
    await connection.closed;
  });
});

Deno.test("ForwardedConnectionOptions.finDelay is how long it waits at most", async () => {
  for (const finDelay of [0, 50, 1_500]) {
    await withClock({ finDelay }, async (clock, { connection, peer, pair }) => {
      await connection.write(utf8("x"));
      await connection.closeWrite();
      assertEquals(await peer.expectData(pair.data), "x");
      if (finDelay > 0) await clock.pass(finDelay - 1);
      if (finDelay > 0) assertEquals(peer.take(), []);
      await clock.pass(1);
      await peer.expectFin(pair.data);
      connection.close();
    });
  }
});

Deno.test("ForwardedConnection.closeWrite() sends no FIN while what the pod sent waits for a slow reader here", async () => {
  await withClock({}, async (clock, { connection, peer, pair }) => {
    await connection.write(utf8("question"));
    await connection.closeWrite();
    assertEquals(await peer.expectData(pair.data), "question");
    await peer.data(pair.data, pattern(100_000));
    await clock.pass(60_000);
    assertEquals(peer.take(), []);
    assertEquals((await connection.readChunk())?.length, 100_000);
    const end = connection.readChunk();
    await clock.pass(12_000);
    await peer.expectFin(pair.data);
    await peer.finish(pair);
    assertEquals(await end, null);
  });
});

Deno.test("ForwardedConnection.closeWrite() sends no FIN while another reader keeps the session from reading", async () => {
  using clock = new FakeClock();
  const ends = withSession(4096);
  const stalled = await forwardOver(ends);
  const { connection, peer, pair } = await forwardOver(ends);
  await connection.write(utf8("question"));
  assertEquals(await peer.expectData(pair.data), "question");
  const flood = peer.data(stalled.pair.data, pattern(300_000));
  await clock.settle();
  const answer = flood.then(() => peer.data(pair.data, "answer"));
  await connection.closeWrite();
  await clock.pass(25_000);
  assertEquals(peer.take(), [], "the answer waits behind the flood");
  stalled.connection.close();
  await answer;
  assertEquals(await connection.read(new Uint8Array(10)), 6);
  connection.close();
  ends.session.close(new PodwireError("the test is over"));
  peer.close();
  await peer.gone;
  await clock.pass(2_000);
});

Deno.test("ForwardedConnection waits for the server's word while another reader keeps the session from reading", async () => {
  using clock = new FakeClock();
  const ends = withSession(4096);
  const stalled = await forwardOver(ends);
  const { connection, peer, pair } = await forwardOver(ends);
  const ended = peer.fin(pair.data);
  const end = assertFails(connection.read(new Uint8Array(8)), "ECONNREFUSED");
  const flood = ended.then(() => peer.data(stalled.pair.data, pattern(300_000)));
  const said = flood.then(() => peer.data(pair.error, REFUSED)).then(() => peer.reset(pair.error));
  await clock.pass(20_000);
  stalled.connection.close();
  await said;
  await end;
  ends.session.close(new PodwireError("the test is over"));
  peer.close();
  await peer.gone;
  await clock.pass(2_000);
});

Deno.test("ForwardedConnection: a write after closeWrite() is a TypeError, a second closeWrite() nothing", async () => {
  await withForwarded({ headers: HALF_CLOSE_KEPT }, async ({ connection, peer, pair }) => {
    await connection.closeWrite();
    await connection.closeWrite();
    await assertRejects(() => connection.write(utf8("x")), TypeError);
    await peer.expectFin(pair.data);
    await peer.finish(pair);
    assertEquals(await readText(connection), "");
    assertEquals(peer.take(), []);
  });
});

const TEXTS: ReadonlyArray<readonly [text: string, code: string]> = [
  [REFUSED, "ECONNREFUSED"],
  [
    "error forwarding port 80 to pod x, uid : exit status 1: 2026/01/01 socat[1] E connect: Connection refused",
    "ECONNREFUSED",
  ],
  [
    "error forwarding port 80 to pod x, uid : read tcp4 127.0.0.1:1->127.0.0.1:80: read: connection reset by peer",
    "ECONNRESET",
  ],
  ["error forwarding port 80 to pod x, uid : dial tcp4 127.0.0.1:80: connect: connection timed out", "ETIMEDOUT"],
  ["error forwarding port 80 to pod x, uid : dial tcp4 127.0.0.1:80: i/o timeout", "ETIMEDOUT"],
  ["error forwarding port 80 to pod x, uid : network namespace for sandbox is closed", ""],
];

for (const [text, code] of TEXTS) {
  Deno.test(`ForwardedConnection fails with code "${code}" when the server says "…${text.slice(-30)}"`, async () => {
    await withForwarded({}, async ({ connection, peer, pair, session }) => {
      await peer.fail(pair, text);
      const error = await assertFails(connection.read(new Uint8Array(8)), code);
      assertEquals(error.message, text.trim());
      assertEquals(await assertFails(connection.closed, code), error);
      assertEquals(await assertFails(connection.write(utf8("x")), code), error);
      assertEquals(await assertFails(connection.readChunk(), code), error);
      await connection.closeWrite();
      await peer.expectReset(pair.data);
      assertEquals([session.connections, peer.openStreams], [0, 0]);
    });
  });
}

Deno.test("ForwardedConnection waits for the text behind the pod's end, which may come in pieces", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    await peer.data(pair.data, "half of i");
    await peer.fin(pair.data);
    const reading = connection.read(new Uint8Array(100));
    assertEquals(await reading, 9);
    const end = connection.read(new Uint8Array(100));
    await peer.data(pair.error, "connection re");
    await peer.data(pair.error, "fused");
    await peer.fin(pair.error);
    await assertFails(end, "ECONNREFUSED", "connection refused");
  });
});

Deno.test("ForwardedConnection delivers what has arrived before it tells of a failure", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    await peer.data(pair.data, "all that there was");
    await peer.fail(pair, REFUSED);
    await assertFails(connection.closed, "ECONNREFUSED");
    assertEquals(await connection.read(new Uint8Array(100)), 18);
    await assertFails(connection.read(new Uint8Array(100)), "ECONNREFUSED");
  });
});

Deno.test("ForwardedConnection takes a broken pipe in the pod for the end, and no more bytes", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    await peer.data(pair.data, "enough");
    await peer.fail(pair, "error forwarding port 80 to pod x, uid : writev tcp4 127.0.0.1:80: writev: broken pipe");
    assertEquals(await readText(connection), "enough");
    await connection.closed;
    await assertFails(connection.write(utf8("x")), "EPIPE");
  });
});

Deno.test("ForwardedConnection fails when its error stream is reset without a text", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    await peer.fin(pair.data);
    await peer.reset(pair.error);
    await assertFails(connection.read(new Uint8Array(8)), "ECONNRESET", "the connection was reset");
    await assertFails(connection.closed, "ECONNRESET");
  });
});

Deno.test("ForwardedConnection fails when its data stream is reset, with the server's text if there is one", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    await peer.data(pair.data, "abc");
    await peer.reset(pair.data);
    await peer.data(pair.error, REFUSED);
    await peer.fin(pair.error);
    assertEquals(await connection.read(new Uint8Array(8)), 3);
    await assertFails(connection.read(new Uint8Array(8)), "ECONNREFUSED");
  });
  await withClock({}, async (clock, { connection, peer, pair, session }) => {
    const reading = assertFails(connection.read(new Uint8Array(8)), "ECONNRESET", "the connection was reset");
    await peer.reset(pair.data);
    await clock.pass(1_000); // The text may be on its way.
    await reading;
    await assertFails(connection.closed, "ECONNRESET");
    await clock.settle();
    assertEquals([session.connections, peer.openStreams], [0, 0]);
  });
});

Deno.test("ForwardedConnection tells a writer of a reset data stream", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    await peer.reset(pair.data);
    await peer.data(pair.error, ""); // Handled after the reset.
    await assertFails(connection.write(utf8("x")), "ECONNRESET", "the connection was reset");
    await assertFails(connection.closed, "ECONNRESET");
  });
});

Deno.test("ForwardedConnection fails with ETIMEDOUT when the server answers neither stream, or one", async () => {
  for (const answered of [[], ["error"], ["data"]] as const) {
    using clock = new FakeClock();
    const ends = withSession();
    const { peer, session } = ends;
    const forwardPair = session.open(8080);
    const connection = new ForwardedConnection(forwardPair, { port: 8080 });
    const closed = assertFails(connection.closed, "ETIMEDOUT", "was not answered within 30000 ms");
    const pair = await peer.opened();
    for (const type of answered) await peer.reply(pair[type]);
    await clock.pass(31_500);
    await closed;
    await assertFails(connection.read(new Uint8Array(8)), "ETIMEDOUT");
    await clock.settle();
    assertEquals([session.connections, peer.openStreams], [0, 0], `${answered}`);
    peer.close();
    await session.closed.catch(() => {});
  }
});

Deno.test("ForwardedConnection: what a server says of a pair that it has given up, without an end, is the reason", async () => {
  using clock = new FakeClock();
  const { session, peer } = withSession();
  const connection = new ForwardedConnection(session.open(8080), { port: 8080 });
  const closed = assertFails(connection.closed, "ETIMEDOUT", "timed out waiting for streams");
  const pair = await peer.opened();
  await peer.reply(pair.error);
  await clock.pass(29_000);
  await peer.data(pair.error, "(conn=0xc000123456, request=0) timed out waiting for streams");
  await clock.pass(3_000);
  await closed;
  await clock.settle();
  assertEquals([session.connections, peer.openStreams], [0, 0]);
  peer.close();
  await session.closed.catch(() => {});
});

Deno.test("ForwardedConnection fails when the server refuses one of its streams", async () => {
  for (const refused of ["error", "data"] as const) {
    using clock = new FakeClock();
    const { session, peer } = withSession();
    const connection = new ForwardedConnection(session.open(8080), { port: 8080 });
    const closed = assertFails(connection.closed, "ECONNRESET", "was refused by the server");
    const pair = await peer.opened();
    await peer.reset(pair[refused]);
    await peer.reply(pair[refused === "error" ? "data" : "error"]);
    await clock.pass(1_500);
    await closed;
    await clock.settle();
    assertEquals([session.connections, peer.openStreams], [0, 0], refused);
    peer.close();
    await session.closed.catch(() => {});
  }
});

/** Ways in which a session ends, and a piece of what its connections say then. */
const SESSION_ENDS: Readonly<
  Record<string, readonly [end: (peer: Awaited<ReturnType<typeof forwardOver>>["peer"]) => Promise<void>, text: string]>
> = {
  "GOAWAY 0": [(peer) => peer.goAway(), "the peer ended the session"],
  "GOAWAY 2": [(peer) => peer.goAway(2), "GOAWAY status 2"],
  "an end between frames": [(peer) => peer.closeWrite(), "the peer ended the session"],
  "an end within a frame": [
    (peer) => peer.send(hex("8003 0006 0000")).then(() => peer.closeWrite()),
    "ended within a frame",
  ],
  "a frame that is none": [(peer) => peer.send(hex("8003 0063 0000 0000")), ""],
};

for (const [name, [end, text]] of Object.entries(SESSION_ENDS)) {
  Deno.test(`ForwardedConnection: ${name} fails every connection of the session, after what has arrived`, async () => {
    const ends = withSession();
    const all = [
      await forwardOver(ends),
      await forwardOver(ends),
      await forwardOver(ends, { headers: HALF_CLOSE_KEPT }),
    ];
    const [silent, begun, ended] = all;
    await ends.peer.data(begun!.pair.data, "beginning");
    // The pod has ended its direction, and the server's word on that is still to come.
    await ends.peer.data(ended!.pair.data, "whole?");
    await ends.peer.fin(ended!.pair.data);
    const reading = assertFails(silent!.connection.read(new Uint8Array(8)), "ECONNRESET");
    await end(ends.peer);
    const error = await reading;
    assertStringIncludes(error.message, "the connection to the pod was lost");
    assertStringIncludes(error.message, text);
    assertInstanceOf(error.cause, PodwireError);
    assertEquals(await begun!.connection.read(new Uint8Array(80)), 9);
    await assertFails(begun!.connection.read(new Uint8Array(8)), "ECONNRESET");
    await assertFails(silent!.connection.write(utf8("x")), "ECONNRESET");
    assertEquals(await ended!.connection.read(new Uint8Array(80)), 6);
    await assertFails(ended!.connection.read(new Uint8Array(8)), "ECONNRESET");
    for (const { connection } of all) await assertFails(connection.closed, "ECONNRESET");
    ends.peer.close();
    await ends.session.closed.catch(() => {}); // Some of these ends are in order.
    await ends.peer.gone;
  });
}

Deno.test("ForwardedConnection: GOAWAY behind the end of a connection takes nothing from it", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    await peer.data(pair.data, "whole");
    await peer.finish(pair);
    await peer.goAway();
    await peer.gone;
    assertEquals(await readText(connection), "whole");
    await connection.closed;
  });
});

Deno.test("ForwardedConnection.close() resets both streams, and leaves nothing", async () => {
  await withForwarded({}, async ({ connection, peer, pair, session }) => {
    const reading = assertFails(connection.read(new Uint8Array(8)), "", "closed here");
    await peer.data(pair.data, "");
    connection.close();
    connection.close();
    await reading;
    await connection.closed;
    await peer.expectReset(pair.data);
    await peer.expectReset(pair.error);
    await assertFails(connection.write(utf8("x")), "", "closed here");
    assertEquals([session.connections, peer.openStreams], [0, 0]);
    await peer.data(pair.data, "too late");
    assertEquals(peer.take(), []);
  });
});

Deno.test("ForwardedConnection.close() gives up one that the server has not accepted yet", async () => {
  using clock = new FakeClock();
  const { session, peer } = withSession();
  const pair = session.open(8080);
  const connection = new ForwardedConnection(pair, { port: 8080 });
  const ids = await peer.opened();
  const writing = assertFails(connection.write(utf8("x")), "");
  await connection[Symbol.asyncDispose]();
  await writing;
  await assertRejects(() => pair.opened);
  await peer.expectReset(ids.data);
  await peer.expectReset(ids.error);
  await peer.reply(ids.error);
  await peer.data(ids.data, "x");
  await clock.settle();
  assertEquals([session.connections, peer.openStreams], [0, 0]);
  peer.close();
  await session.closed.catch(() => {});
});

Deno.test("ForwardedConnection.close() while the FIN is held back sends none", async () => {
  await withClock({}, async (clock, { connection, peer, pair }) => {
    await connection.closeWrite();
    assertEquals(clock.pending > 1, true);
    connection.close();
    await clock.pass(20_000);
    assertEquals(peer.take().map(({ type, id }) => [type, id]), [
      [FrameType.RST_STREAM, pair.data],
      [FrameType.RST_STREAM, pair.error],
    ]);
  });
});

Deno.test("ForwardedConnection.readable and writable: there and back, each with its own end", async () => {
  await withForwarded({ headers: HALF_CLOSE_KEPT }, async ({ connection, peer, pair }) => {
    const text = new Response(connection.readable).text();
    const writer = connection.writable.getWriter();
    await writer.write(utf8("GET / HTTP/1.0\r\n\r\n"));
    await writer.close();
    assertEquals(await peer.expectData(pair.data), "GET / HTTP/1.0\r\n\r\n");
    await peer.expectFin(pair.data);
    await peer.data(pair.data, "HTTP/1.0 200 OK\r\n\r\n");
    await peer.finish(pair);
    assertEquals(await text, "HTTP/1.0 200 OK\r\n\r\n");
    await connection.closed;
    assertEquals(connection.readable, connection.readable);
  });
});

Deno.test("ForwardedConnection.readable serves readers with buffers of their own", async () => {
  const payload = pattern(100_000);
  await withForwarded({}, async ({ connection, peer, pair }) => {
    await peer.data(pair.data, payload);
    await peer.finish(pair);
    const reader = connection.readable.getReader({ mode: "byob" });
    const got = new Uint8Array(payload.length);
    let size = 0;
    for (let buffer = new Uint8Array(777);;) {
      const { value, done } = await reader.read(buffer);
      if (done) break;
      got.set(value, size);
      size += value.length;
      buffer = new Uint8Array(value.buffer);
    }
    assertEquals([size, got], [payload.length, payload]);
    assertEquals(connection.bytesReceived, payload.length);
  });
});

Deno.test("ForwardedConnection.readable reads nothing ahead, and errors with the failure", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    const { readable } = connection;
    await peer.data(pair.data, "abc");
    assertEquals(connection.bytesReceived, 0);
    const reader = readable.getReader();
    assertEquals((await reader.read()).value, utf8("abc"));
    await peer.fail(pair, REFUSED);
    const error = await assertFails(reader.read(), "ECONNREFUSED");
    assertEquals(await assertFails(reader.closed as Promise<unknown>, "ECONNREFUSED"), error);
  });
});

Deno.test("ForwardedConnection.writable waits for a peer that does not read, and errors with the failure", async () => {
  await withForwarded({}, async ({ connection, peer, pair }) => {
    const writer = connection.writable.getWriter();
    await peer.fail(pair, REFUSED);
    await assertFails(writer.closed as Promise<unknown>, "ECONNREFUSED");
    await assertFails(writer.write(utf8("x")), "ECONNREFUSED");
  });
});

Deno.test("ForwardedConnection: a cancelled readable and an aborted writable are close()", async () => {
  for (const how of ["cancel", "abort"] as const) {
    await withForwarded({}, async ({ connection, peer, pair }) => {
      await (how === "cancel" ? connection.readable.cancel() : connection.writable.abort());
      await connection.closed;
      await peer.expectReset(pair.data);
      await peer.expectReset(pair.error);
      assertEquals(peer.openStreams, 0);
    });
  }
});

Deno.test("ForwardedConnection.write() resolves only when the transport has taken it", async () => {
  const ends = withSession(4096);
  const { connection, peer, pair } = await forwardOver(ends);
  // The peer's replies fill its way back to us, so that it reads no more.
  const blocked = peer.data(pair.data, pattern(300_000));
  const written = watched(connection.write(pattern(1_000_000)));
  await blocked.then(() => {}, () => {}).constructor; // Nothing to wait for: the pipe is full.
  assertEquals(written.settled, false);
  connection.close();
  ends.peer.close();
  await ends.session.closed.catch(() => {});
  await blocked.catch(() => {});
  await ends.peer.gone;
});

/** Runs `work` with a connection whose other end has accepted it and reads nothing; time stands still. */
async function withUnread(
  work: (
    ends: { clock: FakeClock; session: SpdyForwardSession; peer: BytePeer; data: number; error: number },
    connection: ForwardedConnection,
  ) => Promise<void>,
): Promise<void> {
  using clock = new FakeClock();
  const [near, far] = duplexPair({ capacity: 4096 });
  const session = new SpdyForwardSession(near);
  const peer = new BytePeer(far);
  const connection = new ForwardedConnection(session.open(8080), { port: 8080 });
  const [{ id: error }, { id: data }] = [await peer.accept(), await peer.accept()];
  await peer.send(synReply(error, peer.blocks.of()), synReply(data, peer.blocks.of()));
  await work({ clock, session, peer, data, error }, connection);
  far.close();
  await session.closed.catch(() => {}); // However it ended.
}

for (const how of ["close()", "an abort of its writable"]) {
  Deno.test(`ForwardedConnection: ${how} ends a write that nobody takes; its session is stuck until somebody does`, async () => {
    await withUnread(async ({ clock, session, peer }, connection) => {
      const writer = connection.writable.getWriter();
      const writing = assertRejects(() => writer.write(pattern(1_000_000)));
      await clock.pass(900);
      assertEquals([session.stuck, session.connections], [false, 1]);
      await clock.pass(200);
      assertEquals([session.stuck, session.connections], [true, 1]);
      if (how === "close()") connection.close();
      else writer.abort().catch(() => {}); // It is the write that counts.
      await writing;
      await clock.settle();
      assertEquals([session.stuck, session.connections], [true, 0]);
      for (let { type } = await peer.frame(); type !== FrameType.RST_STREAM;) ({ type } = await peer.frame());
      await clock.settle();
      assertEquals(session.stuck, false);
    });
  });
}

Deno.test("ForwardedConnection: the pod's end is a broken pipe to a write that it has not taken, and no failure", async () => {
  await withUnread(async ({ peer, data, error }, connection) => {
    const writing = assertFails(connection.write(pattern(1_000_000)), "EPIPE");
    await peer.send(fin(data), fin(error));
    assertEquals(await connection.read(new Uint8Array(1)), null);
    await writing;
    await connection.closed;
  });
});
