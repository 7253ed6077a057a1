/** Which connection goes over which session, by the rule that `PortForward` states. */
import { assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { PodwireError } from "../../lib/bytes/mod.ts";
import { ForwardError } from "../../lib/client/forward_error.ts";
import { ForwardPool } from "../../lib/client/forward_pool.ts";
import type { ForwardPair, ForwardSession } from "../../lib/client/forward_wire.ts";
import { ForwardedConnection } from "../../lib/client/forwarded_connection.ts";
import { pattern } from "../spdy/harness.ts";
import { FakeClock } from "./fake_clock.ts";
import { type ForwardPeer, readText, withSession } from "./forward_peer.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** A session that a test looks into. */
class FakeSession implements ForwardSession {
  readonly name: number;
  connections = 0;
  accepts = true;
  stuck = false;
  drops: number[] = [];
  closedWith: unknown;
  readonly closed: Promise<void>;
  readonly #settle: { resolve(): void; reject(reason: unknown): void };

  constructor(name: number) {
    this.name = name;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#settle = { resolve, reject };
  }

  open(port: number): ForwardPair {
    this.connections++;
    return { session: this.name, port } as unknown as ForwardPair;
  }

  dropStalled(milliseconds: number): void {
    this.drops.push(milliseconds);
  }

  close(reason: unknown): void {
    this.closedWith = reason;
    this.end();
  }

  /** The server ends it. */
  end(reason?: unknown): void {
    this.accepts = false;
    if (reason === undefined) this.#settle.resolve();
    else this.#settle.reject(reason);
  }
}

/** A pool of fake sessions, one of which is open. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly sessions: FakeSession[] = [];
  readonly lost: unknown[] = [];
  readonly pool: ForwardPool;
  /** What dialing comes to, where it is no session. */
  dial: (() => Promise<FakeSession>) | undefined;

  constructor() {
    this.pool = new ForwardPool(() => this.dial?.() ?? Promise.resolve(this.add()), (reason) => this.lost.push(reason));
    this.pool.add(this.add());
  }

  add(): FakeSession {
    const session = new FakeSession(this.sessions.length);
    this.sessions.push(session);
    return session;
  }

  /** Opens a connection; gives the number of its session. */
  async open(): Promise<number | undefined> {
    return (await this.pool.open(80) as unknown as { session: number } | undefined)?.session;
  }

  /** Opens some; gives the numbers of their sessions. */
  async openMany(count: number): Promise<Array<number | undefined>> {
    const all: Array<number | undefined> = [];
    for (let i = 0; i < count; i++) all.push(await this.open());
    return all;
  }

  [Symbol.dispose](): void {
    this.pool.close(new PodwireError("the test is over"));
    this.clock[Symbol.dispose]();
  }
}

Deno.test("ForwardPool gives each of eight connections a session of its own, and lets more share", async () => {
  using bench = new Bench();
  assertEquals(await bench.openMany(8), [0, 1, 2, 3, 4, 5, 6, 7]);
  assertEquals((await bench.openMany(8)).toSorted(), [0, 1, 2, 3, 4, 5, 6, 7]);
  bench.sessions[3]!.connections = 1;
  assertEquals(await bench.openMany(2), [3, 0], "the one with the fewest first");
  assertEquals(bench.sessions.length, 8);
});

Deno.test("ForwardPool counts sessions that are being dialed, also for a thousand connections at once", async () => {
  using bench = new Bench();
  await Promise.all(Array.from({ length: 1000 }, () => bench.open()));
  assertEquals(bench.sessions.length, 8);
  assertEquals(bench.sessions.reduce((sum, { connections }) => sum + connections, 0), 1000);
});

Deno.test("ForwardPool uses sessions without a connection again", async () => {
  using bench = new Bench();
  await bench.openMany(3);
  bench.sessions[1]!.connections = 0;
  assertEquals(await bench.openMany(2), [1, 3]);
});

Deno.test("ForwardPool avoids stuck sessions, and grows to 32 only while all are stuck", async () => {
  using bench = new Bench();
  await bench.openMany(8);
  for (const session of bench.sessions.slice(0, 7)) session.stuck = true;
  assertEquals(await bench.openMany(3), [7, 7, 7]);
  bench.sessions[7]!.stuck = true;
  assertEquals(await bench.open(), 8);
  assertEquals(await bench.open(), 8, "one is free to share");
  for (let i = 9; i < 32; i++) {
    bench.sessions[i - 1]!.stuck = true;
    assertEquals(await bench.open(), i);
  }
  bench.sessions[31]!.stuck = true;
  bench.sessions[20]!.connections = 0;
  assertEquals(await bench.open(), 20, "at the limit the emptiest of the stuck ones");
  assertEquals(bench.sessions.length, 32);
});

Deno.test("ForwardPool does not give a connection to a session that is stuck though it has none", async () => {
  using bench = new Bench();
  bench.sessions[0]!.stuck = true;
  assertEquals(await bench.open(), 1);
});

Deno.test("ForwardPool shares when dialing fails, and fails only when there is nothing to share", async () => {
  using bench = new Bench();
  await bench.open();
  const refusal = new PodwireError("refused");
  bench.dial = () => Promise.reject(refusal);
  assertEquals(await bench.openMany(3), [0, 0, 0]);
  bench.dial = () => {
    bench.sessions[0]!.end();
    return Promise.reject(refusal);
  };
  assertEquals(await assertRejects(() => bench.open()), refusal);
});

Deno.test("ForwardPool opens nothing over a session that has ended, and says when the last one has", async () => {
  using bench = new Bench();
  await bench.openMany(2);
  bench.sessions[0]!.end();
  await bench.clock.settle();
  assertEquals(bench.lost, []);
  const reason = new PodwireError("broken");
  bench.sessions[1]!.end(reason);
  await bench.clock.settle();
  assertEquals(bench.lost, [reason]);
  assertEquals(await bench.open(), undefined);
  assertEquals(bench.sessions.length, 2, "whoever wants a new first session dials it");
});

Deno.test("ForwardPool says that the server ended the last session where it did so in order", async () => {
  using bench = new Bench();
  bench.sessions[0]!.end();
  await bench.clock.settle();
  assertInstanceOf(bench.lost[0], PodwireError);
  assertStringIncludes(bench.lost[0].message, "the server ended the connection");
});

Deno.test("ForwardPool closes sessions without a connection after a minute, but for the last", async () => {
  using bench = new Bench();
  await bench.openMany(4);
  await bench.clock.pass(120_000);
  assertEquals(bench.sessions.filter(({ accepts }) => accepts).length, 4, "those in use stay");
  for (const session of bench.sessions) session.connections = 0;
  await bench.clock.pass(59_000);
  assertEquals(bench.sessions.filter(({ accepts }) => accepts).length, 4);
  assertEquals(await bench.open(), 0);
  await bench.clock.pass(3_000);
  assertEquals(bench.sessions.map(({ accepts }) => accepts), [true, false, false, false]);
  bench.sessions[0]!.connections = 0;
  await bench.clock.pass(600_000);
  assertEquals([bench.sessions[0]!.accepts, bench.lost], [true, []]);
});

Deno.test("ForwardPool asks its sessions every second to drop readers that stall for half a minute", async () => {
  using bench = new Bench();
  await bench.clock.pass(3_000);
  assertEquals(bench.sessions[0]!.drops, [30_000, 30_000, 30_000]);
});

Deno.test("ForwardPool.retire() lets sessions carry what they have, and gives new connections none of them", async () => {
  using bench = new Bench();
  await bench.openMany(2);
  bench.sessions[1]!.connections = 0;
  bench.pool.retire();
  assertEquals(await bench.open(), undefined);
  assertEquals(bench.sessions[0]!.accepts, true);
  bench.sessions[0]!.end();
  await bench.clock.settle();
  assertEquals(bench.lost, [], "it was not wanted any more");
});

Deno.test("ForwardPool.closeSessions() ends retired sessions too", () => {
  using bench = new Bench();
  bench.sessions[0]!.connections = 1;
  bench.pool.retire();
  const single = bench.add();
  bench.pool.addRetired(single);
  const reason = new PodwireError("the pod is gone");
  bench.pool.closeSessions(reason);
  assertEquals(bench.sessions.map(({ closedWith }) => closedWith), [reason, reason]);
});

Deno.test("ForwardPool.close() closes what comes later too", async () => {
  using bench = new Bench();
  await bench.open();
  const late = Promise.withResolvers<FakeSession>();
  bench.dial = () => late.promise;
  const opening = bench.open();
  const reason = new PodwireError("over");
  bench.pool.close(reason);
  const session = bench.add();
  late.resolve(session);
  assertEquals(await opening, undefined);
  const single = bench.add();
  bench.pool.addRetired(single);
  assertEquals(bench.sessions.map(({ closedWith }) => closedWith), [reason, reason, reason]);
  assertEquals(bench.lost, []);
});

/** Two connections over one session, whose first reader stalls. */
async function withStall(
  work: (
    clock: FakeClock,
    ends: { pool: ForwardPool; peer: ForwardPeer; session: ReturnType<typeof withSession>["session"] },
    stalled: ForwardedConnection,
    other: ForwardedConnection,
  ) => Promise<void>,
): Promise<void> {
  using clock = new FakeClock();
  const { session, peer } = withSession(4096);
  const pool = new ForwardPool(() => Promise.reject(new PodwireError("no more")), () => {});
  pool.add(session);
  const open = async () => {
    const connection = new ForwardedConnection((await pool.open(8080))!, { port: 8080 });
    return { connection, pair: await peer.accept() };
  };
  const [stalled, other] = [await open(), await open()];
  const sent = peer.data(stalled.pair.data, pattern(300_000));
  sent.then(() => peer.data(other.pair.data, "behind it")).then(() => peer.finish(other.pair)).catch(() => {});
  await work(clock, { pool, peer, session }, stalled.connection, other.connection);
  pool.close(new PodwireError("the test is over"));
  peer.close();
  await clock.pass(2_000);
  await peer.gone;
}

Deno.test("ForwardPool drops a reader that has kept others waiting for half a minute, and nothing of theirs", async () => {
  await withStall(async (clock, { session }, stalled, other) => {
    const reading = readText(other);
    await clock.pass(200);
    assertEquals(session.stuck, false);
    await clock.pass(100);
    assertEquals(session.stuck, true);
    await clock.pass(29_000);
    assertEquals(other.bytesReceived, 0);
    await clock.pass(2_000);
    assertEquals(await reading, "behind it");
    const error = await assertRejects(() => stalled.closed, ForwardError);
    assertEquals(error.code, "ECONNRESET");
    assertStringIncludes(error.message, "nobody read it for 30 s while other connections had to wait");
    assertEquals((await stalled.readChunk())?.length, 256 * 1024, "what had arrived can still be read");
    assertEquals(await assertRejects(() => stalled.readChunk()), error);
    assertEquals([session.stuck, session.connections], [false, 0]);
  });
});

Deno.test("ForwardPool drops no reader that is slow but reads", async () => {
  await withStall(async (clock, _ends, stalled, other) => {
    const reading = readText(other);
    const buffer = new Uint8Array(10_000);
    for (let i = 0; i < 5; i++) {
      await clock.pass(20_000);
      await stalled.read(buffer);
    }
    assertEquals(await reading, "behind it");
    stalled.close();
  });
});

Deno.test("ForwardPool lets a reader stall for as long as it likes where nobody waits for it", async () => {
  await withStall(async (clock, { peer }, stalled, other) => {
    other.close();
    await clock.pass(600_000);
    let size = 0;
    while (size < 300_000) size += (await stalled.readChunk())!.length;
    assertEquals(size, 300_000);
    stalled.close();
    await clock.settle();
    assertEquals(peer.openStreams, 0);
  });
});
