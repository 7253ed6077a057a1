/**
 * Sharing the event loop: thousands of small files are read and written by calls that do not wait, and the connections have to be
 * heard in between.
 *
 * @module
 */

/** How long a loop may go on before others get their turn, in milliseconds. */
const LONGEST = 10;

/** The turn of a loop on the event loop. */
export class Turn {
  #started = performance.now();

  /** Lets others run, if this turn has been long enough. */
  share(): Promise<void> | undefined {
    if (performance.now() - this.#started < LONGEST) return undefined;
    return new Promise((resolve) =>
      setTimeout(() => {
        this.#started = performance.now();
        resolve();
      })
    );
  }
}
