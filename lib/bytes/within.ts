/**
 * Not waiting for longer than a while.
 *
 * @module
 */
import { MAX_DELAY } from "./max_delay.ts";

/**
 * What `work` comes to; if it has not come to anything after so many milliseconds (at most {@linkcode MAX_DELAY}), what `late` does. The
 * work goes on then, and nobody hears of its failure: where that matters, whoever calls ends it. {@linkcode withDeadline} is for work
 * that takes a signal.
 *
 * @throws What `work` rejects with in time, or what `late` throws.
 *
 * @example
 * ```ts
 * import { within } from "./within.ts";
 *
 * await within(1000, Promise.resolve(42)); // 42; undefined if it took longer
 * await within(10, new Promise<number>(() => {}), () => 0); // 0
 * ```
 */
export async function within<T, L = undefined>(milliseconds: number, work: Promise<T>, late?: () => L): Promise<T | L> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, Math.min(milliseconds, MAX_DELAY));
  try {
    return await Promise.race([work, over.then(late)]) as T | L;
  } finally {
    clearTimeout(timer);
  }
}
