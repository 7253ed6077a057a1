/**
 * Waiting for something to change.
 *
 * @module
 */

/** Wakes all who wait. */
export class Wakeup {
  #next = Promise.withResolvers<void>();

  /** Something has changed. */
  wake(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  /** Waits for the next change; `false` if the signal was first. */
  async wait(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    const { promise: aborted, resolve: abort } = Promise.withResolvers<void>();
    const onAbort = () => abort();
    signal.addEventListener("abort", onAbort, { once: true });
    await Promise.race([this.#next.promise, aborted]);
    signal.removeEventListener("abort", onAbort);
    return !signal.aborted;
  }
}
