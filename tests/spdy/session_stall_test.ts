/** Slow readers on either side: memory has bounds, nothing is lost, and everything goes on afterwards. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Duplex, PodwireError } from "../../lib/bytes/mod.ts";
import { SpdySession, type SpdyStream, StreamResetError } from "../../lib/spdy/mod.ts";
import { concat, data, fin, goAway, pair, pattern, ping, readAll, readText, rstStream } from "./harness.ts";
import { StoredBlocks, synReply, synStream, toHex, utf8, withPeer } from "./harness.ts";

/** What a stream's queue holds, in bytes. */
const QUEUE = 256 * 1024;

/** Two open streams; what the peer sends waits in as little as possible. */
async function withTwo(options: Parameters<typeof withPeer>[0] = {}) {
  const { session, peer } = withPeer(options, 4096);
  const [slow, fast] = [session.open({}), session.open({})];
  await peer.accept();
  await peer.accept();
  await peer.send(synReply(1, peer.blocks.of()), synReply(3, peer.blocks.of()));
  await Promise.all([slow.opened, fast.opened]);
  return { session, peer, slow, fast };
}

/** Lets everything that can go on go on. */
async function turn(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve));
}

/** Sends DATA on stream 1 until the session reads no more. */
async function fill(end: Awaited<ReturnType<typeof withTwo>>): Promise<{ sent: Uint8Array; rest: Promise<void> }> {
  const sent = pattern(QUEUE + 100_000);
  const rest = (async () => {
    for (let at = 0; at < sent.length; at += 10_000) await end.peer.send(data(1, sent.subarray(at, at + 10_000)));
  })();
  while (end.session.stall === undefined) await turn();
  return { sent, rest };
}

Deno.test("SpdySession reads on for the others while a slow stream's queue has room", async () => {
  const { session, peer, slow, fast } = await withTwo();
  for (let left = QUEUE; left > 0; left -= 4096) await peer.send(data(1, pattern(4096)));
  await peer.send(data(3, "fast"), ping(2), fin(3));
  assertEquals(await readText(fast), "fast");
  await peer.expect(ping(2));
  assertEquals([slow.incoming.size, session.stall], [QUEUE, undefined]);
  session.abort();
});

Deno.test("SpdySession stops reading when a stream's queue is full, says which, and goes on without loss", async () => {
  const end = await withTwo();
  const { session, peer, slow, fast } = end;
  const { sent, rest } = await fill(end);
  assertEquals(session.stall!.stream, slow);
  assert(session.stall!.since <= performance.now());
  assertEquals(slow.incoming.size, QUEUE);
  let settled = false;
  const others = rest.then(() => peer.send(data(3, "after", 1), fin(1))).then(() => settled = true);
  const reading = readText(fast);
  await turn();
  assertEquals(settled, false, "the peer is held up");
  // Ours still goes out.
  await fast.write(utf8("x"));
  await peer.expect(data(3, "x"));
  assertEquals(toHex(await readAll(slow)), toHex(sent));
  await others;
  assertEquals(await reading, "after");
  assertEquals(session.stall, undefined);
  session.abort();
});

for (const [how, kept] of [["reset", QUEUE], ["close", 0]] as const) {
  Deno.test(`SpdyStream.${how}() of the slow stream lets the session read on`, async () => {
    const end = await withTwo();
    const { session, peer, slow, fast } = end;
    const { rest } = await fill(end);
    slow[how]();
    await peer.expect(rstStream(1));
    await rest;
    await peer.send(data(3, "on", 1));
    assertEquals(await readText(fast), "on");
    assertEquals([slow.incoming.size, session.stall], [kept, undefined]);
    session.abort();
  });
}

Deno.test("SpdyStream.incoming.cancel() of the slow stream lets the session read on", async () => {
  const end = await withTwo();
  const { session, peer, slow, fast } = end;
  const { rest } = await fill(end);
  slow.incoming.cancel();
  await rest;
  await peer.send(data(3, "on", 1));
  assertEquals(await readText(fast), "on");
  session.abort();
});

for (const how of ["close", "abort"] as const) {
  Deno.test(`SpdySession.${how}() ends while a stream is full; what it holds can still be read`, async () => {
    const end = await withTwo({ closeTimeout: 50 });
    const { session, peer, slow } = end;
    const { rest } = await fill(end);
    const sending = rest.catch((error) => assert(error instanceof PodwireError));
    if (how === "close") await session.close();
    else session.abort();
    const buffer = new Uint8Array(2 * QUEUE);
    assertEquals(await slow.read(buffer), QUEUE);
    await assertRejects(() => slow.read(buffer));
    await Promise.allSettled([session.closed]);
    peer.duplex.close();
    await sending;
  });
}

Deno.test("SpdySession does not ping, and counts no silence, while it does not read", async () => {
  const end = await withTwo({ ping: { interval: 5, timeout: 30 } });
  const { session, slow } = end;
  const { rest } = await fill(end);
  const clock = await withTwo({ ping: { interval: 5, timeout: 2000 } });
  for (let i = 0; i < 20; i++) await clock.peer.send(ping((await clock.peer.frame()).id)); // 100 ms
  clock.session.abort();
  await end.fast.write(utf8("x"));
  await end.peer.expect(data(3, "x"));
  assertEquals(session.isClosed, false);
  const buffer = new Uint8Array(QUEUE);
  let received = 0;
  while (received < QUEUE + 100_000) received += (await slow.read(buffer))!;
  await rest;
  // Now it reads, and counts again.
  await assertRejects(() => slow.read(buffer), Error, "no sign of life");
});

Deno.test("SpdySession gives each of two equal sessions its bytes, whoever of the readers sleeps", async () => {
  const payload = pattern(2_000_000);
  const [client, server] = pair({
    onStream: (stream) => {
      stream.reply();
      readAll(stream).then((bytes) => stream.write(bytes)).then(() => stream.closeWrite()).catch(() => {});
    },
  }, 5000);
  const echoes = Array.from({ length: 10 }, async (_, i) => {
    const stream = client.open({ i: `${i}` });
    await stream.write(payload.subarray(0, 100_000 * i));
    await stream.closeWrite();
    if (i % 3 === 0) await turn();
    assertEquals(await readAll(stream), payload.slice(0, 100_000 * i));
  });
  await Promise.all(echoes);
  assertEquals([client.streamCount, server.streamCount], [0, 0]);
  await Promise.all([client.close(), server.closed]);
});

Deno.test("SpdyStream.write() waits for a peer that does not read", async () => {
  const { session, peer, slow } = await withTwo();
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < 20; i++) {
      await slow.write(pattern(50_000));
      written++;
    }
  })();
  await turn();
  assert(written <= 2, `${written} writes of 50,000 bytes resolved`);
  let received = 0;
  while (received < 1_000_000) received += (await peer.frame()).body.length;
  await writing;
  assertEquals(received, 1_000_000);
  session.abort();
});

Deno.test("SpdyStream.reset() takes back what a peer that does not read has not got, and keeps its frames whole", async () => {
  const { session, peer, slow, fast } = await withTwo();
  const sent = pattern(200_000);
  const lent = sent.slice();
  const writing = slow.write(lent);
  await turn();
  const other = fast.write(utf8("x"));
  slow.reset();
  await assertRejects(() => writing, StreamResetError, "was reset here");
  lent.fill(0); // Its owner has it back.
  const got: Uint8Array[] = [];
  for (let frame = await peer.frame(); frame.id === 1; frame = await peer.frame()) {
    if (frame.type === 0) got.push(frame.body);
  }
  await other;
  const bytes = concat(...got);
  assert(bytes.length > 0 && bytes.length < 100_000, `${bytes.length} bytes were sent`);
  assertEquals(toHex(bytes), toHex(sent.subarray(0, bytes.length)));
  await peer.expect(rstStream(1));
  session.abort();
});

/** A duplex that gives `make(i)` for its i-th read, without end, and takes nothing. */
function flood(make: (i: number) => Uint8Array): { duplex: Duplex; reads: () => number } {
  let reads = 0;
  const closed = Promise.withResolvers<never>();
  closed.promise.catch(() => {});
  const duplex: Duplex = {
    async read(into) {
      await new Promise((resolve) => setTimeout(resolve));
      const bytes = make(reads++);
      into.set(bytes);
      return bytes.length;
    },
    write: () => closed.promise,
    closeWrite: () => Promise.resolve(),
    close: () => closed.reject(new PodwireError("closed")),
  };
  return { duplex, reads: () => reads };
}

Deno.test("SpdySession does not read on from a peer that causes answers and reads none", async () => {
  // Each read is 1000 SYN_STREAMs: 1000 refusals of 16 bytes to send.
  const blocks = new StoredBlocks();
  const { duplex, reads } = flood((i) =>
    concat(...Array.from({ length: 1000 }, (_, j) => synStream(2 * (1000 * i + j) + 1, blocks.of())))
  );
  const session = new SpdySession(duplex, { role: "server" });
  for (let before = -1; before < reads();) {
    before = reads();
    for (let i = 0; i < 20; i++) await turn();
    assert(before < 100, "it reads on and on");
  }
  assert(reads() > 0);
  session.abort();
  await turn();
});

Deno.test("SpdySession forgets the oldest Pings of a peer that reads no answers", async () => {
  const { duplex, reads } = flood((i) =>
    concat(...Array.from({ length: 1000 }, (_, j) => ping(2 * (1000 * i + j) + 1)))
  );
  const session = new SpdySession(duplex, { role: "server" });
  const before = Deno.memoryUsage().heapUsed;
  while (reads() < 300) await turn();
  assert(Deno.memoryUsage().heapUsed - before < 32 << 20, "300,000 Pings are kept");
  session.abort();
  await turn();
});

Deno.test("SpdySession cannot see a reset behind bytes that it does not read, and sees it then", async () => {
  const end = await withTwo();
  const { session, peer, slow, fast } = end;
  const { rest } = await fill(end);
  const resetting = rest.then(() => peer.send(rstStream(1), data(3, "on", 1), goAway(0)));
  const buffer = new Uint8Array(QUEUE);
  await assertRejects(async () => {
    while (await slow.read(buffer) !== null);
  }, StreamResetError);
  await resetting;
  assertEquals(await readText(fast), "on");
  await session.closed;
});

Deno.test("SpdySession ends streams that nobody has read", async () => {
  const unread: SpdyStream[] = [];
  const [client, server] = pair({ onStream: (stream) => unread.push(stream) }, 1000);
  const streams = Array.from({ length: 20 }, () => client.open({}));
  const writes = streams.map((stream) => stream.write(pattern(10_000)));
  await Promise.all(writes);
  await client.close();
  await server.closed;
  for (const stream of unread) await assertRejects(() => readAll(stream));
  assertEquals([client.streamCount, server.streamCount], [0, 0]);
});
