/**
 * Outputs that somebody holds open behind the command that wrote to them.
 *
 * @module
 */

/** Notices that a command has ended and that nothing more is heard of those who hold its outputs open. */
export class Silence {
  readonly #patience: number;
  readonly #onSilence: () => void;
  /** The outputs that are open, with whether each is being read from now. */
  readonly #outputs = new Map<object, boolean>();
  #exited = false;
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

  /** An output is being read from: only that can be silent. */
  waits(output: object): void {
    this.#outputs.set(output, true);
    this.#watch();
  }

  /** Something came on it: whoever is heard there is not silent on the others either. */
  hears(output: object): void {
    this.#outputs.set(output, false);
    this.#watch();
  }

  /** Nothing more comes on it, or nobody listens there any more. */
  ends(output: object): void {
    if (this.#outputs.delete(output)) this.#watch();
  }

  #watch(): void {
    clearInterval(this.#timer);
    // What waits in an output that its reader has not come back to may be a word of them.
    if (!this.#exited || this.#outputs.size === 0 || [...this.#outputs.values()].includes(false)) return;
    let silence = 0;
    let last = performance.now();
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
