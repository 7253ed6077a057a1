/** A session against a peer of hand-written bytes: streams, their two directions, what is ignored. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ResetStatus, type SpdyStream, StreamResetError } from "../../lib/spdy/mod.ts";
import { CLIENT } from "./golden.ts";
import { concat, control, data, fin, hex, pattern, ping, readAll, readText, rstStream } from "./harness.ts";
import { synReply, synStream, toHex, u32, utf8, withPeer } from "./harness.ts";

/** A server session that keeps the streams it gets. */
function withClient(capacity?: number) {
  const streams: SpdyStream[] = [];
  const end = withPeer({ role: "server", onStream: (stream) => streams.push(stream) }, capacity);
  return { ...end, streams };
}

/** A client session with its first stream open. */
async function withStream() {
  const { session, peer } = withPeer();
  const stream = session.open({ streamtype: "data" });
  await peer.accept();
  await peer.send(synReply(1, peer.blocks.of()));
  await stream.opened;
  return { session, peer, stream };
}

Deno.test("SpdySession as a client sends the recorded bytes", async () => {
  const { session, peer } = withPeer();
  session.open({ streamtype: "error" });
  await peer.expect(CLIENT[0]!.bytes);
  peer.received.fields(CLIENT[0]!.bytes.subarray(18));
  const stdin = session.open({ streamtype: "stdin" });
  const stdout = session.open({ streamtype: "stdout" });
  assertEquals(await peer.accept(), { id: 3, flags: 0, fields: { streamtype: "stdin" } });
  assertEquals(await peer.accept(), { id: 5, flags: 0, fields: { streamtype: "stdout" } });
  assertEquals([stdin.id, stdout.id, session.streamCount], [3, 5, 3]);
  await stdin.write(utf8("hello"));
  await stdin.closeWrite();
  stdout.reset();
  await peer.expect(
    hex("00000003 00000005 68656c6c6f"),
    hex("00000003 01000000"),
    hex("80030003 00000008 00000005 00000005"),
  );
  session.abort();
});

Deno.test("SpdySession as a server understands the recorded client, cut in two at every byte", async () => {
  const bytes = concat(...CLIENT.map((golden) => golden.bytes));
  for (let cut = 0; cut <= bytes.length; cut++) {
    const { session, peer, streams } = withClient();
    await peer.send(bytes.subarray(0, cut));
    await new Promise<void>(queueMicrotask);
    await peer.send(bytes.subarray(cut));
    await peer.expect(ping(1)); // The recorded Ping; what is behind it follows at once.
    await peer.settle(3);
    assertEquals(
      streams.map(({ id, headers }) => [id, { ...headers }]),
      CLIENT.flatMap(({ frame }) => frame.type === "syn_stream" ? [[frame.streamId, frame.headers]] : []),
    );
    const [, stdin, stdout, , , forward] = streams;
    assertEquals(await readText(stdin!), "hello");
    const reset = await assertRejects(() => stdout!.read(new Uint8Array(1)), StreamResetError);
    assertEquals([reset.streamId, reset.status], [5, ResetStatus.CANCEL]);
    forward!.reply();
    assertEquals(await peer.reply(), { id: 11, flags: 0, fields: {} });
    assertEquals(session.streamCount, 5);
    session.abort();
  }
});

Deno.test("SpdySession understands a server in pieces of every size", async () => {
  for (let size = 1; size < 60; size++) {
    const { session, peer } = withPeer();
    const stream = session.open({ a: "b" });
    const bytes = concat(
      synReply(1, peer.blocks.of(["c", "d"])),
      ping(2),
      data(1, "hel"),
      data(1, "lo"),
      control(4, u32(0)),
      fin(1),
    );
    const sending = (async () => {
      for (let at = 0; at < bytes.length; at += size) await peer.send(bytes.subarray(at, at + size));
    })();
    assertEquals({ ...await stream.opened }, { c: "d" });
    assertEquals(await readText(stream), "hello");
    await sending;
    session.abort();
  }
});

Deno.test("SpdySession.open() gives a server even ids", async () => {
  const { session, peer } = withPeer({ role: "server" });
  session.open({ a: "1" });
  session.open({ a: "2" }, { fin: true });
  assertEquals(await peer.accept(), { id: 2, flags: 0, fields: { a: "1" } });
  assertEquals(await peer.accept(), { id: 4, flags: 1, fields: { a: "2" } });
  session.abort();
});

Deno.test("SpdyStream.opened resolves with the headers of the reply, the first one", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({});
  await peer.accept();
  await peer.send(synReply(1, peer.blocks.of(["a", "x\0y"])), synReply(1, peer.blocks.of(["a", "z"]), 1));
  assertEquals({ ...await stream.opened }, { a: "x\0y" });
  // The second one's FIN is ignored with it.
  await peer.send(data(1, "more"), fin(1));
  assertEquals(await readText(stream), "more");
  session.abort();
});

Deno.test("SpdyStream.opened rejects with the status of a refusal; the session goes on", async () => {
  const { session, peer } = withPeer();
  const refused = session.open({});
  const other = session.open({});
  await peer.accept();
  await peer.send(rstStream(1, 3), synReply(3, peer.blocks.of()));
  const error = await assertRejects(() => refused.opened, StreamResetError, "refused");
  assertEquals([error.streamId, error.status], [1, ResetStatus.REFUSED_STREAM]);
  assertEquals(await assertRejects(() => refused.read(new Uint8Array(1))), error);
  assertEquals(await assertRejects(() => refused.write(utf8("x"))), error);
  await other.opened;
  assertEquals(session.streamCount, 1);
  session.abort();
});

Deno.test("SpdyStream.write() sends DATA of at most 32 KiB, and nothing for nothing", async () => {
  const { session, peer, stream } = await withStream();
  const payload = pattern(100_000);
  const writing = stream.write(payload);
  const sizes = [];
  const parts = [];
  for (let left = payload.length; left > 0; left -= parts.at(-1)!.length) {
    const frame = await peer.frame();
    assertEquals([frame.type, frame.flags, frame.id], [0, 0, 1]);
    parts.push(frame.body);
    sizes.push(frame.body.length);
  }
  await writing;
  assertEquals(sizes, [32768, 32768, 32768, 1696]);
  assertEquals(toHex(concat(...parts)), toHex(payload));
  await stream.write(new Uint8Array(0));
  await stream.write(utf8("x"));
  await peer.expect(data(1, "x"));
  session.abort();
});

Deno.test("SpdyStream.write() of several streams keeps frames whole, and each stream in order", async () => {
  const { session, peer } = withPeer({}, 1000);
  const streams = [session.open({}), session.open({}), session.open({})];
  const payloads = streams.map((_, i) => pattern(150_000 + i));
  const writing = Promise.all(streams.map(async (stream, i) => {
    for (let at = 0; at < payloads[i]!.length; at += 10_007) await stream.write(payloads[i]!.subarray(at, at + 10_007));
    await stream.closeWrite();
  }));
  for (const { id } of streams) assertEquals((await peer.accept()).id, id);
  const received = new Map<number, Uint8Array[]>(streams.map(({ id }) => [id, []]));
  for (let open = streams.length; open > 0;) {
    const { type, id, flags, body } = await peer.frame();
    assertEquals(type, 0);
    received.get(id)!.push(body);
    open -= flags;
  }
  await writing;
  for (const [i, { id }] of streams.entries()) assertEquals(concat(...received.get(id)!), payloads[i]!);
  session.abort();
});

Deno.test("SpdyStream.closeWrite() leaves the other direction open", async () => {
  const { session, peer, stream } = await withStream();
  await stream.write(utf8("question"));
  await stream.closeWrite();
  await stream.closeWrite();
  await peer.expect(data(1, "question"), fin(1));
  await assertRejects(() => stream.write(utf8("x")), TypeError);
  assertEquals(session.streamCount, 1);
  await peer.send(data(1, "answer"), fin(1));
  assertEquals(await readText(stream), "answer");
  assertEquals(session.streamCount, 0);
  stream.reset(); // Nothing is left to reset: nothing may be sent.
  await peer.settle(2);
  session.abort();
});

Deno.test("SpdyStream.read() ends with the peer's FIN, and the stream can still be written to", async () => {
  const { session, peer, stream } = await withStream();
  await peer.send(data(1, "bye", 1));
  assertEquals(await readText(stream), "bye");
  assertEquals(await stream.read(new Uint8Array(1)), null);
  assertEquals(session.streamCount, 1);
  await stream.write(utf8("and one more thing"));
  await stream.closeWrite();
  await peer.expect(data(1, "and one more thing"), fin(1));
  assertEquals(session.streamCount, 0);
  session.abort();
});

Deno.test("SpdySession.open({fin}) closes our direction from the start", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({ a: "b" }, { fin: true });
  assertEquals(await peer.accept(), { id: 1, flags: 1, fields: { a: "b" } });
  await assertRejects(() => stream.write(utf8("x")), TypeError);
  await stream.closeWrite();
  await peer.send(synReply(1, peer.blocks.of()), data(1, "x", 1));
  assertEquals(await readText(stream), "x");
  assertEquals(session.streamCount, 0);
  await peer.settle(2);
  session.abort();
});

Deno.test("SpdyStream.read() ends at once after a SYN_REPLY with FIN", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({});
  await peer.accept();
  await peer.send(synReply(1, peer.blocks.of(["a", "b"]), 1));
  assertEquals({ ...await stream.opened }, { a: "b" });
  assertEquals(await stream.read(new Uint8Array(1)), null);
  await stream.write(utf8("x"));
  await peer.expect(data(1, "x"));
  await stream.closeWrite();
  assertEquals(session.streamCount, 0);
  session.abort();
});

Deno.test("SpdySession as a server reads the end at once after a SYN_STREAM with FIN", async () => {
  const { session, peer, streams } = withClient();
  await peer.send(synStream(1, peer.blocks.of(["a", "b"]), 1));
  await peer.settle(1);
  const [stream] = streams;
  assertEquals(await stream!.read(new Uint8Array(1)), null);
  stream!.reply({ c: "d" });
  await stream!.write(utf8("answer"));
  await stream!.closeWrite();
  assertEquals(await peer.reply(), { id: 1, flags: 0, fields: { c: "d" } });
  await peer.expect(data(1, "answer"), fin(1));
  assertEquals(session.streamCount, 0);
  session.abort();
});

Deno.test("SpdySession as a server only reads a unidirectional stream", async () => {
  const { session, peer, streams } = withClient();
  await peer.send(synStream(1, peer.blocks.of(), 2), data(1, "x", 1));
  await peer.settle(1);
  await assertRejects(() => streams[0]!.write(utf8("y")), TypeError);
  assertEquals(await readText(streams[0]!), "x");
  assertEquals(session.streamCount, 0);
  session.abort();
});

Deno.test("SpdySession forgets a SYN_STREAM that ends both directions", async () => {
  const { session, peer, streams } = withClient();
  await peer.send(synStream(1, peer.blocks.of(["a", "b"]), 3));
  await peer.settle(1);
  assertEquals([{ ...streams[0]!.headers }, session.streamCount], [{ a: "b" }, 0]);
  assertEquals(await streams[0]!.read(new Uint8Array(1)), null);
  session.abort();
});

Deno.test("SpdyStream.read() gives what came before a RST_STREAM, then throws", async () => {
  const { session, peer, stream } = await withStream();
  const other = session.open({});
  await peer.accept();
  await peer.send(data(1, "half"), rstStream(1, 6), synReply(3, peer.blocks.of()), data(3, "whole", 1));
  assertEquals(await readText(other), "whole");
  const buffer = new Uint8Array(8);
  assertEquals(await stream.read(buffer), 4);
  const error = await assertRejects(() => stream.read(buffer), StreamResetError, "reset");
  assertEquals([error.streamId, error.status], [1, ResetStatus.INTERNAL_ERROR]);
  assertEquals(await assertRejects(() => stream.write(utf8("x"))), error);
  await assertRejects(() => stream.closeWrite());
  assertEquals(session.streamCount, 1);
  stream.reset(); // The peer knows already.
  await peer.settle(2);
  session.abort();
});

Deno.test("SpdyStream rejects a read under way when the peer resets", async () => {
  const { session, peer, stream } = await withStream();
  const reading = stream.read(new Uint8Array(8));
  await peer.send(rstStream(1));
  await assertRejects(() => reading, StreamResetError);
  session.abort();
});

Deno.test("SpdyStream.reset() sends RST_STREAM once, and forgets what comes after", async () => {
  const { session, peer, stream } = await withStream();
  const reading = assertRejects(() => stream.read(new Uint8Array(8)), StreamResetError);
  stream.reset(ResetStatus.REFUSED_STREAM);
  stream.reset();
  stream.close();
  await reading;
  await peer.expect(rstStream(1, 3));
  assertEquals(session.streamCount, 0);
  await peer.send(data(1, "late"), rstStream(1), fin(1), synReply(1, peer.blocks.of()));
  await peer.settle(2);
  await assertRejects(() => stream.write(utf8("x")), StreamResetError);
  await assertRejects(() => stream.read(new Uint8Array(8)), StreamResetError);
  session.abort();
});

Deno.test("SpdyStream.reset() leaves what has arrived, close() drops it", async () => {
  for (const how of ["reset", "close"] as const) {
    const { session, peer, stream } = await withStream();
    await peer.send(data(1, "arrived"));
    await peer.settle(2);
    stream[how]();
    const buffer = new Uint8Array(20);
    if (how === "reset") assertEquals(await stream.read(buffer), 7);
    await assertRejects(() => stream.read(buffer), StreamResetError, "reset here");
    await peer.expect(rstStream(1));
    session.abort();
  }
});

Deno.test("SpdyStream.reset() before the reply rejects opened", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({});
  stream.reset();
  await assertRejects(() => stream.opened, StreamResetError);
  await peer.accept();
  await peer.expect(rstStream(1));
  session.abort();
});

Deno.test("SpdyStream.reset() after closeWrite() still tells a peer that has not ended", async () => {
  const { session, peer, stream } = await withStream();
  await stream.closeWrite();
  stream.reset();
  await peer.expect(fin(1), rstStream(1));
  assertEquals(session.streamCount, 0);
  session.abort();
});

Deno.test("SpdyStream.reset() unblocks a read that began after closeWrite()", async () => {
  const { session, peer, stream } = await withStream();
  await stream.closeWrite();
  const reading = stream.read(new Uint8Array(8));
  stream.reset();
  await assertRejects(() => reading, StreamResetError);
  await peer.expect(fin(1), rstStream(1));
  session.abort();
});

Deno.test("SpdyStream.opened settles when both directions end without a reply", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({}, { fin: true });
  await peer.accept();
  await peer.send(data(1, "no reply", 1));
  assertEquals(await readText(stream), "no reply");
  assertEquals(session.streamCount, 0);
  await assertRejects(() => stream.opened, StreamResetError, "without an answer");
  session.abort();
});

Deno.test("SpdySession keeps what the server sends before its reply", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({});
  await peer.accept();
  await peer.send(data(1, "early"), synReply(1, peer.blocks.of()), data(1, " and late", 1));
  await stream.opened;
  assertEquals(await readText(stream), "early and late");
  session.abort();
});

Deno.test("SpdySession keeps what the client sends before our reply", async () => {
  const { session, peer, streams } = withClient();
  await peer.send(synStream(1, peer.blocks.of()), data(1, "early", 1));
  await peer.settle(1);
  streams[0]!.reply();
  streams[0]!.reply({ not: "sent" });
  assertEquals(await peer.reply(), { id: 1, flags: 0, fields: {} });
  assertEquals(await readText(streams[0]!), "early");
  await peer.settle(3);
  session.abort();
});

Deno.test("SpdySession ignores DATA behind a FIN", async () => {
  const { session, peer, stream } = await withStream();
  await peer.send(data(1, "x", 1), data(1, "y"), fin(1), data(1, "z", 1));
  assertEquals(await readText(stream), "x");
  await peer.settle(2);
  session.abort();
});

for (const role of ["client", "server"] as const) {
  const [own, theirs] = role === "client" ? [1, 2] : [2, 1];

  Deno.test(`SpdySession as a ${role} echoes the peer's Pings, not its own`, async () => {
    const { session, peer } = withPeer({ role });
    await peer.send(ping(own), ping(theirs), ping(own + 100), ping(0xffff_fffe + theirs % 2));
    await peer.expect(ping(theirs), ping(0xffff_fffe + theirs % 2));
    await peer.settle(theirs);
    session.abort();
  });

  Deno.test(`SpdySession as a ${role} ignores frames of streams that it does not know`, async () => {
    const { session, peer } = withPeer({ role });
    for (const id of [1, 2, 77, 78, 0x7fff_ffff]) {
      await peer.send(
        data(id, "x"),
        fin(id),
        rstStream(id),
        synReply(id, peer.blocks.of(["a", "b"])),
        control(8, concat(u32(id), peer.blocks.of(["a", "b"])), { flags: 1 }),
        control(9, concat(u32(id), u32(100))),
      );
    }
    await peer.settle(theirs);
    assertEquals(session.streamCount, 0);
    session.abort();
  });
}

Deno.test("SpdySession ignores SETTINGS and WINDOW_UPDATE, and waits for no window", async () => {
  const { session, peer, stream } = await withStream();
  const noWindow = control(4, concat(u32(1), hex("00000007 00000000")));
  await peer.send(noWindow, control(9, concat(u32(1), u32(1))), control(9, concat(u32(0), u32(1))));
  await peer.settle(2);
  const payload = pattern(200_000); // more than SPDY's first window of 64 KiB
  const writing = stream.write(payload);
  let received = 0;
  while (received < payload.length) received += (await peer.frame()).body.length;
  await writing;
  assertEquals(received, payload.length);
  session.abort();
});

Deno.test("SpdySession ignores the headers of HEADERS, but not their FIN", async () => {
  const { session, peer, stream } = await withStream();
  await peer.send(
    control(8, concat(u32(1), peer.blocks.of(["a", "b"]))),
    data(1, "x"),
    control(8, concat(u32(1), peer.blocks.of()), { flags: 1 }),
  );
  assertEquals(await readText(stream), "x");
  session.abort();
});

Deno.test("SpdySession resets a SYN_STREAM whose id is not higher than the last, and goes on", async () => {
  const { session, peer, streams } = withClient();
  const syn = (id: number) => synStream(id, peer.blocks.of(["n", `${id}`]));
  await peer.send(syn(5), syn(3), syn(5), syn(101), data(5, "still there"), syn(7));
  await peer.expect(rstStream(3, 1), rstStream(5, 1), rstStream(7, 1));
  assertEquals(streams.map(({ id, headers }) => [id, headers.n]), [[5, "5"], [101, "101"]]);
  const buffer = new Uint8Array(20);
  assertEquals(await streams[0]!.read(buffer), 11);
  session.abort();
});

Deno.test("SpdySession as a server does not look at the parity of the client's stream ids", async () => {
  const { session, peer, streams } = withClient();
  for (const id of [2, 4, 7, 8, 0x7fff_ffff]) await peer.send(synStream(id, peer.blocks.of()));
  await peer.settle(1);
  assertEquals(streams.map(({ id }) => id), [2, 4, 7, 8, 0x7fff_ffff]);
  // There is no higher id: from here on the peer can open nothing.
  await peer.send(synStream(0x7fff_ffff, peer.blocks.of()));
  await peer.expect(rstStream(0x7fff_ffff, 1));
  session.abort();
});

Deno.test("SpdySession as a client resets streams of the server that have its own numbers", async () => {
  const streams: SpdyStream[] = [];
  const { session, peer } = withPeer({ onStream: (stream) => streams.push(stream) });
  const own = session.open({});
  await peer.accept();
  await peer.send(synStream(3, peer.blocks.of()), synStream(2, peer.blocks.of()), synReply(1, peer.blocks.of()));
  await peer.expect(rstStream(3, 1));
  await own.opened;
  assertEquals([streams.map(({ id }) => id), session.streamCount], [[2], 2]);
  session.abort();
});

Deno.test("SpdySession as a server opens no stream with a number that the client has taken", async () => {
  const { session, peer, streams } = withClient();
  await peer.send(synStream(2, peer.blocks.of()));
  await peer.settle(1);
  session.open({});
  assertEquals((await peer.accept()).id, 4);
  assertEquals([streams.map(({ id }) => id), session.streamCount], [[2], 2]);
  session.abort();
});

Deno.test("SpdyStream.reset() of a finished stream leaves another one with its number alone", async () => {
  const { session, peer, streams } = withClient();
  const old = session.open({}, { fin: true });
  assertEquals((await peer.accept()).id, 2);
  await peer.send(data(2, "", 1), synStream(2, peer.blocks.of()));
  await peer.settle(1);
  assertEquals([streams.length, session.streamCount], [1, 1]);
  old.reset();
  assertEquals(session.streamCount, 1);
  session.abort();
  await assertRejects(() => streams[0]!.read(new Uint8Array(1)));
});

Deno.test("SpdySession without onStream refuses the peer's streams, and keeps the compression in step", async () => {
  const { session, peer } = withPeer();
  const stream = session.open({});
  await peer.accept();
  await peer.send(synStream(2, peer.blocks.of(["a", "b"])), data(2, "x"), synReply(1, peer.blocks.of(["c", "d"])));
  await peer.expect(rstStream(2, 3));
  assertEquals({ ...await stream.opened }, { c: "d" });
  assertEquals(session.streamCount, 1);
  session.abort();
});

Deno.test("SpdySession.onStream can refuse a stream", async () => {
  const { session, peer } = withPeer({
    role: "server",
    onStream: (stream) => stream.reset(ResetStatus.REFUSED_STREAM),
  });
  await peer.send(synStream(1, peer.blocks.of()), data(1, "x"), fin(1));
  await peer.expect(rstStream(1, 3));
  assertEquals(session.streamCount, 0);
  await peer.settle(1);
  session.abort();
});

Deno.test("SpdySession refuses the stream that is one too many, and forgets finished ones", async () => {
  const { session, peer, streams } = withClient();
  const most = 16_384;
  for (let i = 0; i < most; i++) await peer.send(synStream(2 * i + 1, peer.blocks.of()));
  await peer.settle(1);
  assertEquals([streams.length, session.streamCount], [most, most]);
  await peer.send(synStream(2 * most + 1, peer.blocks.of()));
  await peer.expect(rstStream(2 * most + 1, 3));
  await peer.send(rstStream(1), synStream(2 * most + 3, peer.blocks.of()));
  await peer.settle(1);
  assertEquals([streams.length, session.streamCount], [most + 1, most]);
  session.abort();
});

Deno.test("SpdySession refuses a stream whose headers make those of all too large, and forgets those of finished ones", async () => {
  const { session, peer, streams } = withClient();
  const large = peer.blocks.of.bind(peer.blocks, ["n", "x".repeat(1 << 20)]);
  for (let i = 0; i < 15; i++) await peer.send(synStream(2 * i + 1, large()));
  await peer.settle(1);
  assertEquals(streams.length, 15);
  await peer.send(synStream(31, large()));
  await peer.expect(rstStream(31, 3));
  await peer.send(rstStream(1), synStream(33, large()));
  await peer.settle(1);
  assertEquals([streams.length, session.streamCount], [16, 15]);
  session.abort();
});

Deno.test("SpdySession holds some 64 MiB for the readers of all streams, however many there are", async () => {
  const { session, peer, streams } = withClient();
  const part = new Uint8Array(128 * 1024);
  let sent = 0;
  const send = (async () => {
    for (; sent < 2_000; sent++) await peer.send(synStream(2 * sent + 1, peer.blocks.of()), data(2 * sent + 1, part));
  })();
  while (!session.stall) await new Promise((resolve) => setTimeout(resolve));
  // The first whose share of 64 MiB is less than what is sent to it.
  assertEquals([session.stall.stream.id, streams.length], [2 * 512 + 1, 513]);
  session.abort();
  await send.catch(() => {});
});

Deno.test("SpdySession forgets 20,000 streams opened and ended one after another", async () => {
  const { session, peer, streams } = withClient();
  for (let i = 0; i < 20_000; i++) {
    const id = 2 * i + 1;
    await peer.send(synStream(id, peer.blocks.of(["n", `${i}`]), 1));
    while (streams.length === 0) await new Promise<void>((resolve) => queueMicrotask(resolve));
    const stream = streams.pop()!;
    stream.reply();
    await stream.closeWrite();
    const reply = await peer.frame();
    assertEquals([reply.type, reply.id], [2, id]);
    await peer.expect(fin(id));
  }
  assertEquals(session.streamCount, 0);
  session.abort();
});

Deno.test("SpdyStream.incoming is the stream's bytes as a Web Stream", async () => {
  const { session, peer, stream } = await withStream();
  await peer.send(data(1, "hel"), data(1, "lo", 1));
  assertEquals(await new Response(stream.incoming.readable()).text(), "hello");
  session.abort();
});

Deno.test("SpdyStream.incoming can be cancelled; what comes is dropped and the rest goes on", async () => {
  const { session, peer, stream } = await withStream();
  await stream.incoming.readable().cancel();
  for (let i = 0; i < 20; i++) await peer.send(data(1, pattern(64 * 1024)));
  await peer.settle(2);
  await stream.write(utf8("x"));
  await peer.expect(data(1, "x"));
  await peer.send(fin(1));
  await stream.closeWrite();
  await peer.expect(fin(1));
  await peer.settle(2);
  assertEquals(session.streamCount, 0);
  session.abort();
});

Deno.test("SpdySession sends headers of 1 MiB, and reads them", async () => {
  const { session, peer, streams } = withClient();
  const value = Array.from(pattern(1 << 19), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const sending = peer.send(synStream(1, peer.blocks.of(["big", value])), data(1, "x", 1));
  while (streams.length === 0) await new Promise((resolve) => setTimeout(resolve));
  await sending;
  assert(streams[0]!.headers.big === value);
  streams[0]!.reply({ big: value });
  const { fields } = await peer.reply();
  assert(fields.big === value);
  assertEquals(toHex(await readAll(streams[0]!)), "78");
  session.abort();
});
