/**
 * Work that is given up when it takes too long.
 *
 * @module
 */
import { MAX_DELAY } from "./max_delay.ts";

/**
 * Runs `work` with a signal that aborts when `signal` does, and after so many milliseconds (at most {@linkcode MAX_DELAY}) for the reason
 * that `late` gives. Ending at an abort is the work's own affair; once it has ended the deadline is off.
 *
 * @throws What `work` rejects with.
 *
 * @example
 * ```ts
 * import { withDeadline } from "./with_deadline.ts";
 *
 * async function version(url: URL, signal?: AbortSignal): Promise<Response> {
 *   const late = () => new Error(`no answer from ${url} within 5 s`);
 *   return await withDeadline(5000, late, signal, (signal) => fetch(url, { signal }));
 * }
 * ```
 */
export async function withDeadline<T>(
  milliseconds: number,
  late: () => unknown,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(late()), Math.min(milliseconds, MAX_DELAY));
  try {
    return await work(signal ? AbortSignal.any([signal, deadline.signal]) : deadline.signal);
  } finally {
    clearTimeout(timer);
  }
}
