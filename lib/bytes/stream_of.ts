/**
 * Streams of what is not one yet.
 *
 * @module
 */

/**
 * The values of `source` as a stream: `ReadableStream.from()`, which Chromium does not have.
 *
 * @example
 * ```ts
 * import { streamOf } from "./stream_of.ts";
 *
 * await new Response(streamOf([Uint8Array.of(104, 105)])).text(); // "hi"
 * ```
 */
export function streamOf<T>(source: Iterable<T> | AsyncIterable<T>): ReadableStream<T> {
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  return new ReadableStream<T>({
    async pull(controller) {
      const { done, value } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel(reason) {
      await iterator.return?.(reason);
    },
  }, { highWaterMark: 0 });
}
