/**
 * What is reported as an uncaught error, as a page's or a program's `error` listener hears it.
 *
 * @module
 */

/** Hears every such error as long as it lives, so that none ends the process. */
export class Reported implements Disposable {
  /** The errors, in order. */
  readonly errors: unknown[] = [];
  readonly #hear = (event: ErrorEvent) => {
    event.preventDefault();
    this.errors.push(event.error);
  };

  /** Hears from now on. */
  constructor() {
    globalThis.addEventListener("error", this.#hear);
  }

  /** Hears no more. */
  [Symbol.dispose](): void {
    globalThis.removeEventListener("error", this.#hear);
  }
}
