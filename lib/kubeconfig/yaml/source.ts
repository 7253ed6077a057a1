/**
 * A file's text as the origin of errors.
 *
 * @module
 */

/** A text and its name: turns offsets into lines. Who reads it says how its errors look. */
export abstract class Source {
  /** The file's name. */
  readonly file: string;
  readonly #starts: number[] = [0];

  /** Remembers where the lines of `text` start. */
  constructor(text: string, file: string) {
    this.file = file;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", end + 1)) this.#starts.push(end + 1);
  }

  /** The line of an offset, from 1. */
  line(offset: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  }

  /** The error for something at `offset` that makes the whole file unusable. */
  abstract error(offset: number, text: string, key?: string): Error;
}
