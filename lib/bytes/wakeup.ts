/**
 * Waiting for something to change.
 *
 * @module
 */

/** Wakes all who wait. */
export class Wakeup {
  readonly #waiting = new Set<() => void>();

  /** Something has changed. */
  wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /** Waits for the next change; `false` if the signal was first. */
  async wait(signal?: AbortSignal): Promise<boolean> {
    if (signal?.aborted) return false;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = () => resolve();
    this.#waiting.add(wake);
    signal?.addEventListener("abort", wake, { once: true });
    try {
      await promise;
      return !signal?.aborted;
    } finally {
      this.#waiting.delete(wake);
      signal?.removeEventListener("abort", wake);
    }
  }
}
