/**
 * Waiting with an end: what never comes fails a test, and does not hang it.
 *
 * @module
 */

/** How long a test waits for anything, in milliseconds: far more than it takes on a busy machine. */
const PATIENCE = 10_000;

/** Waits until `condition` holds; fails with `what` if it does not within `milliseconds`. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  milliseconds: number = PATIENCE,
): Promise<void> {
  const end = performance.now() + milliseconds;
  while (!await condition()) {
    if (performance.now() > end) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** What `promise` resolves with; fails with `what` if that takes longer than `milliseconds`. */
export async function within<T>(what: string, promise: Promise<T>, milliseconds: number = PATIENCE): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not within ${milliseconds} ms: ${what}`)), milliseconds);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until `count` has not grown for a while, and gives what it came to. On a busy machine that may be too early. */
export async function standstill(count: () => number): Promise<number> {
  for (let before = -1; before !== count();) {
    before = count();
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return count();
}
