/**
 * Lines and pieces out of a duplex.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";
import { HttpBreakError, HttpError } from "./errors.ts";

/** How many bytes may still be taken. */
export interface Budget {
  /** In bytes, from the beginning. */
  readonly limit: number;
  /** In bytes, from now on. */
  left: number;
}

const BUFFER_SIZE = 16 * 1024;
const LF = 10;

/** Reads a duplex through one buffer, never further than it is asked to. */
export class BufferedReader {
  readonly #duplex: Duplex;
  readonly #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(BUFFER_SIZE);
  #start = 0;
  #end = 0;
  #received = 0;
  /** A read that nobody has asked for yet. */
  #ahead: Promise<boolean> | undefined;

  /** A reader of `duplex`. */
  constructor(duplex: Duplex) {
    this.#duplex = duplex;
  }

  /** How many bytes have been read and not been taken. */
  get size(): number {
    return this.#end - this.#start;
  }

  /** How many bytes have been read in all. */
  get received(): number {
    return this.#received;
  }

  /**
   * The next line without its end (CR LF or LF), its bytes as Latin-1, or `undefined` if nothing comes any more.
   *
   * @throws {HttpError} If it is longer than `budget`, or has no end.
   */
  async line(budget: Budget): Promise<string | undefined> {
    let line = "";
    for (;;) {
      const feed = this.#buffer.subarray(this.#start, this.#end).indexOf(LF);
      const stop = feed < 0 ? this.#end : this.#start + feed + 1;
      budget.left -= stop - this.#start;
      if (budget.left < 0) {
        throw new HttpError(`the answer has too long lines or too many headers: more than ${budget.limit} bytes`);
      }
      line += latin1(this.#buffer.subarray(this.#start, stop));
      this.#start = stop;
      if (feed >= 0) return line.slice(0, line.endsWith("\r\n") ? -2 : -1);
      if (await this.#fill()) continue;
      if (line === "") return undefined;
      throw new HttpBreakError("the connection ended in the middle of a line");
    }
  }

  /** Some of the next `most` bytes, in a buffer of their own and no larger, or `undefined` at the end. */
  async piece(most: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#start === this.#end && !await this.#fill()) return undefined;
    const stop = Math.min(this.#end, this.#start + most);
    const piece = this.#buffer.slice(this.#start, stop);
    this.#start = stop;
    return piece;
  }

  /**
   * Reads on while nothing is left to take and nobody asks; who asks next gets what comes. Resolves with whether anything has.
   *
   * @throws What the duplex's read rejects with.
   */
  ahead(): Promise<boolean> {
    return this.#ahead ??= this.#read();
  }

  /** The duplex from here on: what has been read and not been taken comes first. Not while a read {@linkcode ahead} waits. */
  unread(): Duplex {
    return this.size === 0 ? this.#duplex : withPrefix(this.#buffer.slice(this.#start, this.#end), this.#duplex);
  }

  #fill(): Promise<boolean> {
    const filled = this.#ahead ?? this.#read();
    this.#ahead = undefined;
    return filled;
  }

  async #read(): Promise<boolean> {
    this.#start = this.#end = 0;
    const n = await this.#duplex.read(this.#buffer);
    if (n === null) return false;
    this.#end = n;
    this.#received += n;
    return true;
  }
}

/** Bytes to text one by one (`TextDecoder`'s latin1 is windows-1252). */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return text;
}

function withPrefix(prefix: Uint8Array, duplex: Duplex): Duplex {
  let left = prefix;
  return {
    read(into) {
      if (left.length === 0) return duplex.read(into);
      const n = Math.min(left.length, into.length);
      into.set(left.subarray(0, n));
      left = left.subarray(n);
      return Promise.resolve(n);
    },
    write: (data) => duplex.write(data),
    closeWrite: () => duplex.closeWrite(),
    close: () => {
      left = left.subarray(left.length);
      duplex.close();
    },
  };
}
