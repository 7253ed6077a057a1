import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { type ByteSink, copyAll, OutputClosedError, writeAll } from "../../lib/cli/standard_streams.ts";

/** A sink that takes at most `most` bytes a call, and breaks after `total`. */
class Sink implements ByteSink {
  readonly taken: number[] = [];
  readonly #most: number;
  readonly #total: number;

  constructor(most: number, total = Infinity) {
    this.#most = most;
    this.#total = total;
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.taken.length >= this.#total) return Promise.reject(new Deno.errors.BrokenPipe("nobody reads"));
    const part = bytes.subarray(0, this.#most);
    this.taken.push(...part);
    return Promise.resolve(part.length);
  }
}

const BYTES = Uint8Array.from({ length: 1000 }, (_, i) => i & 255);

Deno.test("writeAll() writes on until everything is written", async () => {
  const sink = new Sink(7);
  await writeAll(sink, BYTES);
  assertEquals(sink.taken, [...BYTES]);
});

Deno.test("writeAll() tells a reader that went away from other errors", async () => {
  await assertRejects(() => writeAll(new Sink(7, 70), BYTES), OutputClosedError);
  const full = new Error("no space left");
  const error = await assertRejects(() => writeAll({ write: () => Promise.reject(full) }, BYTES));
  assertStrictEquals(error, full);
});

Deno.test("copyAll() writes everything, and cancels its source when nobody reads", async () => {
  let cancelled: unknown;
  const source = () =>
    new ReadableStream({
      type: "bytes",
      start(controller: ReadableByteStreamController) {
        controller.enqueue(BYTES.slice(0, 300));
        controller.enqueue(BYTES.slice(300));
      },
      pull: (controller: ReadableByteStreamController) => {
        controller.close();
        controller.byobRequest?.respond(0);
      },
      cancel: (reason) => void (cancelled = reason),
    });
  const sink = new Sink(128);
  await copyAll(source(), sink);
  assertEquals(sink.taken, [...BYTES]);
  const error = await assertRejects(() => copyAll(source(), new Sink(128, 256)), OutputClosedError);
  assertStrictEquals(cancelled, error);
});
