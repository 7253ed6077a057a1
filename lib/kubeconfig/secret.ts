/**
 * A value that must not be shown.
 *
 * @module
 */

/** Holds a secret, so that printing or serializing what contains it shows nothing. */
export class Secret {
  readonly #value: string;

  /** Hides `value`. */
  constructor(value: string) {
    this.#value = value;
  }

  /** The secret itself. */
  reveal(): string {
    return this.#value;
  }

  /** What is shown instead. */
  toString(): string {
    return "[secret]";
  }

  /** What is serialized instead. */
  toJSON(): string {
    return "[secret]";
  }
}
