/**
 * A kubeconfig's text as the origin of errors.
 *
 * @module
 */
import { ConfigError } from "./errors.ts";

/** A text and its name: turns offsets into lines. */
export class Source {
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
  error(offset: number, text: string, key?: string): ConfigError {
    const line = this.line(offset);
    const where = key === undefined ? `line ${line}` : `line ${line}: ${key}`;
    return new ConfigError(`error loading config file "${this.file}": ${where}: ${text}`, {
      file: this.file,
      line,
      ...(key !== undefined && { key }),
    });
  }
}
