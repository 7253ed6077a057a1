/**
 * Outputs that somebody holds open behind the command that wrote to them.
 *
 * @module
 */

/** Notices that a command has ended and that nothing more is heard of those who hold its output open. */
export class Silence {
  readonly #patience: number;
  readonly #onSilence: () => void;
  #exited = false;
  #waiting = false;
  #timer: ReturnType<typeof setInterval> | undefined;

  /**
   * Listens.
   *
   * @param exit Resolves at the command's end.
   * @param patience How long nothing may be heard after that, in milliseconds.
   * @param onSilence Is told that nothing was.
   */
  constructor(exit: Promise<unknown>, patience: number, onSilence: () => void) {
    this.#patience = patience;
    this.#onSilence = onSilence;
    void exit.then(() => {
      this.#exited = true;
      this.#watch();
    });
  }

  /** The output is being read from: only that can be silent. */
  waits(): void {
    this.#waiting = true;
    this.#watch();
  }

  /** Something came, or the end. */
  hears(): void {
    this.#waiting = false;
    clearInterval(this.#timer);
  }

  #watch(): void {
    if (!this.#exited || !this.#waiting) return;
    let silence = 0;
    let last = performance.now();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      const now = performance.now();
      // Who was too busy to be in time may not have heard what is there.
      if (now - last < 2 * BEAT) silence += BEAT;
      last = now;
      if (silence < this.#patience) return;
      clearInterval(this.#timer);
      this.#onSilence();
    }, BEAT);
  }
}

/** How often to listen, in milliseconds. */
const BEAT = 50;
