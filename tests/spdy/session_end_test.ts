/** How a session ends: GOAWAY from either side, the end of the bytes, broken protocol, silence; nothing waits for ever. */
import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import type { Duplex } from "../../lib/bytes/mod.ts";
import { FakeClock } from "../client/fake_clock.ts";
import {
  ResetStatus,
  SpdyProtocolError,
  SpdySession,
  SpdySessionError,
  type SpdyStream,
  StreamResetError,
} from "../../lib/spdy/mod.ts";
import { control, data, fin, goAway, pair, pattern, ping, readText, rstStream } from "./harness.ts";
import { StoredBlocks, synReply, synStream, utf8, withPeer } from "./harness.ts";

const BUFFER = () => new Uint8Array(64);

/** Everything that can wait on a stream, waiting; resolves when all of it was rejected with `reason`. */
async function assertAllReject(stream: SpdyStream, reason: unknown): Promise<void> {
  assertEquals(await assertRejects(() => stream.read(BUFFER())), reason);
  assertEquals(await assertRejects(() => stream.write(utf8("x"))), reason);
  assertEquals(await assertRejects(() => stream.closeWrite()), reason);
}

Deno.test("SpdySession ends with the peer's GOAWAY: queued bytes can be read, later ones never were", async () => {
  const { session, peer } = withPeer();
  const [half, whole, unanswered] = [session.open({}), session.open({}), session.open({})];
  await peer.accept();
  const blocks = peer.blocks;
  await peer.send(synReply(1, blocks.of()), data(1, "half"), synReply(3, blocks.of()), data(3, "whole", 1));
  await peer.send(goAway(5), data(1, " more"), fin(1), control(0xbad, new Uint8Array(0)));
  await session.closed;
  assertEquals(await readText(whole), "whole");
  const buffer = BUFFER();
  assertEquals(await half.read(buffer), 4);
  const reason = await assertRejects(() => half.read(buffer), SpdySessionError, "the peer ended the session");
  await assertAllReject(half, reason);
  await assertRejects(() => whole.write(utf8("x")), SpdySessionError);
  assertEquals(await assertRejects(() => unanswered.opened), reason);
  assertEquals([session.streamCount, session.isClosed], [0, true]);
  assertThrows(() => session.open({}), SpdySessionError);
  await session.close(); // Says nothing more, and does not wait.
});

Deno.test("SpdySession.closed rejects after a GOAWAY with an error", async () => {
  for (const status of [1, 2]) {
    const { session, peer } = withPeer();
    await peer.send(goAway(0, status));
    await assertRejects(() => session.closed, SpdySessionError, `status ${status}`);
  }
});

Deno.test("SpdySession.close() resets what is not ended, says GOAWAY, and waits for the peer's end", async () => {
  const streams: SpdyStream[] = [];
  const { session, peer } = withPeer({ role: "server", onStream: (stream) => streams.push(stream) });
  await peer.send(...[1, 3, 5, 7].map((id) => synStream(id, peer.blocks.of())), fin(5), fin(7));
  await peer.settle(1);
  for (const stream of streams) stream.reply();
  await streams[1]!.closeWrite();
  await streams[3]!.closeWrite();
  for (const { id } of streams) assertEquals((await peer.reply()).id, id);
  await peer.expect(fin(3), fin(7));
  let closed = false;
  const closing = session.close().then(() => closed = true);
  const again = session.close();
  // Not 3, to which we have said FIN; not 7, which is finished.
  await peer.expect(rstStream(1), rstStream(5), goAway(7));
  assertEquals(await peer.rest(), new Uint8Array(0));
  assertEquals(closed, false);
  await assertRejects(() => streams[0]!.read(BUFFER()), SpdySessionError, "closed");
  await peer.duplex.closeWrite();
  await Promise.all([closing, again, session.closed]);
});

Deno.test("SpdySession.close() fails the streams with the reason that it is given, and ends in order", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({});
  await peer.accept();
  await peer.duplex.closeWrite();
  const reason = new Error("the pod has gone");
  const closing = session.close(reason);
  assertEquals(await assertRejects(() => stream.read(BUFFER())), reason);
  assertEquals(await assertRejects(() => stream.opened), reason);
  await closing;
  await session.closed;
});

Deno.test("SpdySession.close() sends what was written before", async () => {
  const { session, peer } = withPeer({}, 1000);
  const stream = session.open({});
  const writing = stream.write(pattern(100_000));
  const closing = session.close();
  await peer.accept();
  let received = 0;
  for (let frame = await peer.frame(); frame.type === 0; frame = await peer.frame()) received += frame.body.length;
  assertEquals(received, 100_000);
  await writing;
  await peer.expect(goAway(0));
  peer.duplex.close();
  await closing;
});

Deno.test("SpdySession.close() ignores streams that the peer opens meanwhile, and still reads past them", async () => {
  let opened = 0;
  const { session, peer } = withPeer({ role: "server", onStream: () => opened++ });
  const closing = session.close();
  await peer.send(synStream(1, peer.blocks.of()), data(1, "x"), fin(1), ping(1));
  await peer.expect(goAway(0));
  assertEquals(opened, 0);
  await peer.send(goAway(0));
  await closing;
  await session.closed;
});

Deno.test("SpdySession.close() does not wait for ever for a peer that does not end", async () => {
  const { session, peer } = withPeer({ closeTimeout: 20 });
  await session.close();
  await peer.expect(goAway(0));
  await session.closed;
});

Deno.test("SpdySession.close() does not wait for ever for a peer that does not read", async () => {
  const { session } = withPeer({ closeTimeout: 20 }, 10);
  const stream = session.open({ a: "b" });
  const writing = assertRejects(() => stream.write(pattern(10_000)));
  await session.close();
  await writing;
});

Deno.test("SpdySession.close() from both ends at once ends both in order", async () => {
  for (let i = 0; i < 50; i++) {
    const streams: SpdyStream[] = [];
    const [client, server] = pair({ onStream: (stream) => streams.push(stream) });
    const opened = Array.from({ length: 5 }, () => client.open({}));
    // At another point of the exchange each time.
    for (let turns = i % 10; turns > 0; turns--) await undefined;
    await Promise.all([client.close(), server.close(), client.closed, server.closed]);
    for (const stream of [...opened, ...streams]) {
      await assertRejects(() => stream.read(BUFFER()));
      await Promise.allSettled([stream.opened]);
    }
    assertEquals([client.streamCount, server.streamCount], [0, 0]);
  }
});

Deno.test("SpdySession ends in order when the bytes end between two frames", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({});
  await peer.send(synReply(1, peer.blocks.of()), data(1, "last"));
  await peer.duplex.closeWrite();
  await session.closed;
  const buffer = BUFFER();
  assertEquals(await stream.read(buffer), 4);
  await assertRejects(() => stream.read(buffer), SpdySessionError, "the peer ended the session");
});

Deno.test("SpdySession fails when the bytes end within a frame, at every byte", async () => {
  for (const make of [() => synReply(1, new StoredBlocks().of(["a", "b"])), () => data(1, "hello"), () => ping(2)]) {
    const frame = make();
    for (let cut = 1; cut < frame.length; cut++) {
      const { session, peer } = withPeer();
      const stream = session.open({});
      await peer.send(frame.subarray(0, cut));
      peer.duplex.close(); // The peer died.
      const reason = await assertRejects(() => session.closed, SpdySessionError, "within a frame");
      assertEquals(await assertRejects(() => stream.opened), reason);
      await assertRejects(() => stream.write(utf8("x")), SpdySessionError);
    }
  }
});

Deno.test("SpdySession tells the peer about broken protocol, and fails everything with it", async () => {
  const streams: SpdyStream[] = [];
  const { session, peer } = withPeer({ role: "server", onStream: (stream) => streams.push(stream) });
  await peer.send(synStream(1, peer.blocks.of()));
  await peer.settle(1);
  const reading = streams[0]!.read(BUFFER());
  await peer.send(data(0, "x"), ping(3));
  const reason = await assertRejects(() => reading, SpdyProtocolError, "stream 0");
  await assertAllReject(streams[0]!, reason);
  assertEquals(await assertRejects(() => session.closed), reason);
  await peer.expect(goAway(1, 1));
  assertEquals(await peer.rest(), new Uint8Array(0));
});

Deno.test("SpdySession.closed settles when its last words are out", async () => {
  const sent = Promise.withResolvers<void>();
  let dropped = false;
  const slow: Duplex = {
    read(into) {
      into.set(data(0, "x"));
      return Promise.resolve(9);
    },
    write: () => sent.promise,
    closeWrite: () => Promise.resolve(),
    close: () => dropped = true,
  };
  const session = new SpdySession(slow, { role: "server" });
  const settled = session.closed.catch(() => {}).then(() => dropped);
  assertEquals(await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, 20, "not yet"))]), "not yet");
  sent.resolve();
  assertEquals(await settled, true);
  await assertRejects(() => session.closed, SpdyProtocolError);
});

Deno.test("SpdySession lets go of a peer that breaks the protocol and reads nothing", async () => {
  const [streams, duplex] = [[] as SpdyStream[], { closed: false }];
  const gate = Promise.withResolvers<void>();
  const bytes = data(0, "x");
  const stuck: Duplex = {
    read(into) {
      into.set(bytes);
      return Promise.resolve(bytes.length);
    },
    write: () => gate.promise,
    closeWrite: () => Promise.resolve(),
    close() {
      duplex.closed = true;
      gate.reject(new Error("closed"));
    },
  };
  const session = new SpdySession(stuck, { role: "client", closeTimeout: 20 });
  streams.push(session.open({}));
  await assertRejects(() => session.closed, SpdyProtocolError);
  await assertRejects(() => streams[0]!.read(BUFFER()), SpdyProtocolError);
  await gate.promise.catch(() => {});
  assert(duplex.closed);
});

/** A duplex whose reads or writes fail. */
function broken(what: "read" | "write", cause: Error): Duplex & { readonly closed: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return {
    read: async () => {
      if (what === "write") await promise;
      throw cause;
    },
    write: () => what === "write" ? Promise.reject(cause) : Promise.resolve(),
    closeWrite: () => Promise.resolve(),
    close: resolve,
    closed: promise,
  };
}

Deno.test("SpdySession fails when its connection cannot be read", async () => {
  const cause = new Error("ECONNRESET");
  const duplex = broken("read", cause);
  const session = new SpdySession(duplex, { role: "client" });
  const stream = session.open({});
  const reason = await assertRejects(() => session.closed, SpdySessionError, "the connection broke");
  assertEquals(reason.cause, cause);
  assertEquals(await assertRejects(() => stream.opened), reason);
  await duplex.closed;
});

Deno.test("SpdySession fails when its connection cannot be written to, a moment later", async () => {
  const cause = new Error("EPIPE");
  const duplex = broken("write", cause);
  const session = new SpdySession(duplex, { role: "client", closeTimeout: 20 });
  const stream = session.open({});
  assertEquals(await assertRejects(() => stream.write(utf8("x"))), cause);
  const reason = await assertRejects(() => session.closed, SpdySessionError, "the connection broke");
  assertEquals(reason.cause, cause);
  assertEquals(await assertRejects(() => stream.read(BUFFER())), reason);
  await duplex.closed;
});

Deno.test("SpdySession.close() does not wait when its connection cannot be written to", async () => {
  const session = new SpdySession(broken("write", new Error("EPIPE")), { role: "client", closeTimeout: 60_000 });
  await assertRejects(() => session.open({}).write(utf8("x")), Error, "EPIPE");
  await session.close(); // And leaves no timer.
});

Deno.test("SpdySession reads what a peer said before it stopped taking anything", async () => {
  const blocks = new StoredBlocks();
  const said = [synReply(1, blocks.of()), data(1, "last "), data(1, "words", 1), goAway(0)];
  const session = new SpdySession({
    ...broken("write", new Error("EPIPE")),
    async read(into) {
      await new Promise((resolve) => setTimeout(resolve));
      const bytes = said.shift()!;
      into.set(bytes);
      return bytes.length;
    },
  }, { role: "client" });
  const stream = session.open({});
  assertEquals(await readText(stream), "last words");
  await session.closed;
});

Deno.test("SpdySession waits for what such a peer still says, and for who reads it, but not for its silence", async () => {
  const blocks = new StoredBlocks();
  const large = new Uint8Array(200 * 1024).fill(97);
  const said = [synReply(1, blocks.of()), data(1, large), data(1, large), data(1, " late", 1)];
  const silent = Promise.withResolvers<never>();
  using clock = new FakeClock();
  const session = new SpdySession({
    ...broken("write", new Error("EPIPE")),
    async read(into) {
      // Each within the time that is given, all together far behind it.
      await new Promise((resolve) => setTimeout(resolve, 900));
      const bytes = said[0]?.subarray(0, into.length);
      if (!bytes) return await silent.promise;
      into.set(bytes);
      said[0] = said[0]!.subarray(bytes.length);
      if (said[0].length === 0) said.shift();
      return bytes.length;
    },
  }, { role: "client", closeTimeout: 1000 });
  const stream = session.open({});
  await clock.pass(60_000); // A stream holds 256 KiB: the session waits for its reader.
  const text = readText(stream);
  await clock.pass(60_000);
  assertEquals((await text).length, 2 * large.length + " late".length);
  await assertRejects(() => session.closed, SpdySessionError, "the connection broke");
});

Deno.test("SpdySession.abort() fails everything with its reason, and drops the connection", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({});
  const reading = stream.read(BUFFER());
  const reason = new DOMException("enough", "AbortError");
  session.abort(reason);
  session.abort(new Error("too late"));
  assertEquals(await assertRejects(() => reading), reason);
  assertEquals(await assertRejects(() => stream.opened), reason);
  assertEquals(await assertRejects(() => session.closed), reason);
  await assertAllReject(stream, reason);
  await peer.rest();
  await session.close();
});

Deno.test("SpdyStream.opened rejects when the peer does not answer in time; the session goes on", async () => {
  const { session, peer } = withPeer({ openTimeout: 20 });
  const stream = session.open({});
  await stream.write(utf8("x"));
  const error = await assertRejects(() => stream.opened, StreamResetError, "not answered within 20 ms");
  assertEquals([error.streamId, error.status], [1, ResetStatus.CANCEL]);
  await assertAllReject(stream, error);
  await peer.accept();
  await peer.expect(data(1, "x"), rstStream(1));
  const next = session.open({});
  await peer.accept();
  await peer.send(synReply(1, peer.blocks.of()), data(1, "too late"), synReply(3, peer.blocks.of()));
  await next.opened;
  assertEquals(session.streamCount, 1);
  session.abort();
});

Deno.test("SpdySession.open() gives the peer 30 seconds", () => {
  const { setTimeout } = globalThis;
  const delays: (number | undefined)[] = [];
  globalThis.setTimeout = ((callback: () => void, delay?: number) => {
    delays.push(delay);
    return setTimeout(callback, delay);
  }) as typeof globalThis.setTimeout;
  try {
    const { session } = withPeer();
    session.open({});
    session.abort();
  } finally {
    globalThis.setTimeout = setTimeout;
  }
  assertEquals(delays, [30_000]);
});

Deno.test("SpdySession pings with its own ids, and lives as long as it is answered", async () => {
  for (const role of ["client", "server"] as const) {
    const { session, peer } = withPeer({ role, ping: { interval: 5, timeout: 2000 } });
    for (let i = 0, id = role === "client" ? 1 : 2; i < 10; i++, id += 2) {
      await peer.expect(ping(id));
      await peer.send(ping(id));
    }
    assertEquals(session.isClosed, false);
    session.abort();
  }
});

Deno.test("SpdySession takes any byte for life, not only the answer to a Ping", async () => {
  const { session, peer } = withPeer({ ping: { interval: 10, timeout: 200 } });
  const stream = session.open({});
  await peer.accept();
  await peer.send(synReply(1, peer.blocks.of()));
  for (let i = 0; i < 30; i++) {
    assertEquals((await peer.frame()).type, 6); // which is never answered
    await peer.send(data(1, "x"));
    assertEquals(await stream.read(BUFFER()), 1);
  }
  session.abort();
});

Deno.test("SpdySession fails when the peer is silent", async () => {
  const { session } = withPeer({ ping: { interval: 5, timeout: 20 } });
  const stream = session.open({});
  const reason = await assertRejects(() => stream.read(BUFFER()), SpdySessionError, "no sign of life");
  assertEquals(await assertRejects(() => session.closed), reason);
  assertEquals(await assertRejects(() => stream.opened), reason);
});

Deno.test("SpdySession fails with what its onStream throws", async () => {
  const { session, peer } = withPeer({
    role: "server",
    onStream: () => {
      throw new TypeError("a mistake of the caller's");
    },
  });
  await peer.send(synStream(1, peer.blocks.of()));
  assertInstanceOf(await session.closed.catch((reason) => reason), TypeError);
  await peer.rest();
});
