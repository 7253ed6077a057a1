/** Keys and the work on them: never two at once on one key, few keys at once, later each time after a failure. */
import { assertEquals } from "@std/assert";
import { WorkQueue } from "../../lib/relay/work_queue.ts";
import { FakeClock } from "../client/fake_clock.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Work that ends when the test says so. */
class Bench {
  readonly started: string[] = [];
  readonly failures: string[] = [];
  readonly #ends = new Map<string, PromiseWithResolvers<void>>();
  readonly queue: WorkQueue = new WorkQueue((key) => {
    this.started.push(key);
    const end = Promise.withResolvers<void>();
    this.#ends.set(key, end);
    return end.promise;
  }, {
    concurrency: 2,
    onFailure: (key, error, delay) => this.failures.push(`${key} ${(error as Error).message} ${delay}`),
  });

  end(key: string, error?: Error): void {
    const end = this.#ends.get(key);
    error ? end?.reject(error) : end?.resolve();
  }
}

async function withBench(work: (bench: Bench, clock: FakeClock) => Promise<void>): Promise<void> {
  using clock = new FakeClock();
  const bench = new Bench();
  await work(bench, clock);
  const closed = bench.queue.close();
  for (const key of bench.started) bench.end(key);
  await closed;
}

Deno.test("WorkQueue works on so many keys at once", async () => {
  await withBench(async (bench, clock) => {
    for (const key of ["a", "b", "c"]) bench.queue.add(key);
    await clock.settle();
    assertEquals(bench.started, ["a", "b"]);
    bench.end("a");
    await clock.settle();
    assertEquals(bench.started, ["a", "b", "c"]);
  });
});

Deno.test("WorkQueue works once more on a key that was added while it was worked on, and once only", async () => {
  await withBench(async (bench, clock) => {
    bench.queue.add("a");
    await clock.settle();
    for (let i = 0; i < 5; i++) bench.queue.add("a");
    await clock.settle();
    assertEquals(bench.started, ["a"]);
    bench.end("a");
    await clock.settle();
    assertEquals(bench.started, ["a", "a"]);
    bench.end("a");
    await clock.pass(100_000);
    assertEquals(bench.started, ["a", "a"]);
  });
});

Deno.test("WorkQueue tries again after a failure, later each time, and soon again after a success", async () => {
  await withBench(async (bench, clock) => {
    bench.queue.add("a");
    for (let i = 0; i < 12; i++) {
      await clock.settle();
      bench.end("a", new Error("no"));
      await clock.pass(60_000);
    }
    const delays = bench.failures.map((line) => Number(line.split(" ")[2]));
    assertEquals(delays, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000, 60000]);
    bench.end("a");
    await clock.settle();
    bench.queue.add("a");
    await clock.settle();
    bench.end("a", new Error("no"));
    await clock.settle();
    assertEquals(bench.failures.at(-1), "a no 200");
  });
});

Deno.test("WorkQueue takes a key that waits after a failure at once when it is added", async () => {
  await withBench(async (bench, clock) => {
    bench.queue.add("a");
    await clock.settle();
    bench.end("a", new Error("no"));
    await clock.settle();
    bench.queue.add("a");
    await clock.settle();
    assertEquals(bench.started, ["a", "a"]);
    assertEquals(clock.pending, 0);
  });
});

Deno.test("WorkQueue.close() waits for what is under way and starts nothing more", async () => {
  using clock = new FakeClock();
  const bench = new Bench();
  for (const key of ["a", "b", "c"]) bench.queue.add(key);
  await clock.settle();
  let closed = false;
  const closing = bench.queue.close().then(() => closed = true);
  bench.end("a", new Error("no"));
  await clock.settle();
  assertEquals(closed, false);
  bench.end("b");
  await closing;
  bench.queue.add("d");
  await clock.pass(10_000);
  assertEquals([bench.started, bench.failures, clock.pending], [["a", "b"], [], 0]);
});
