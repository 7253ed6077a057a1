/**
 * Waiting for something to change.
 *
 * @module
 */
import { orAbort } from "./or_abort.ts";

/** Wakes all who wait. */
export class Wakeup {
  #next = Promise.withResolvers<void>();

  /** Something has changed. */
  wake(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  /** Waits for the next change; `false` if the signal was first. */
  async wait(signal?: AbortSignal): Promise<boolean> {
    if (!signal) await this.#next.promise;
    else await orAbort(this.#next.promise, signal).catch(() => {}); // That it was aborted is the answer.
    return !signal?.aborted;
  }
}
