/**
 * Where the body of an HTTP/1.1 response ends (RFC 9112 sections 6 and 7).
 *
 * @module
 */
import type { BufferedReader } from "./buffered_reader.ts";
import { HttpBreakError, HttpError } from "./errors.ts";
import { MAX_HEAD, quote, readFields, type ResponseHead } from "./http_head.ts";

/** The bytes of a body, one piece at a time. */
export interface BodyReader {
  /** Whether nothing will come. */
  readonly empty: boolean;
  /** Whether its end shows without the end of the connection. */
  readonly delimited: boolean;
  /**
   * The next bytes, or `undefined` at the end.
   *
   * @throws {HttpError} If the body is malformed or ends early.
   */
  next(): Promise<Uint8Array<ArrayBuffer> | undefined>;
}

/**
 * The body that comes after `head`, which answers a request with `method`.
 *
 * @throws {HttpError} If the head says something that cannot be understood.
 */
export function bodyReader(reader: BufferedReader, method: string, head: ResponseHead): BodyReader {
  const { status, headers } = head;
  if (method === "HEAD" || status === 204 || status === 304) return NO_BODY;
  const coding = headers.get("transfer-encoding");
  if (coding !== null) {
    if (coding.toLowerCase() !== "chunked") throw new HttpError(`unknown transfer coding ${JSON.stringify(coding)}`);
    return new Chunked(reader);
  }
  const length = headers.get("content-length");
  if (length === null) return new UntilEnd(reader);
  if (!/^\d{1,15}$/.test(length)) throw new HttpError(`malformed Content-Length ${JSON.stringify(length)}`);
  return Number(length) === 0 ? NO_BODY : new FixedLength(reader, Number(length));
}

/** A chunk's size and its extensions may take as many bytes. */
const MAX_CHUNK_LINE = 1024;

const NO_BODY: BodyReader = { empty: true, delimited: true, next: () => Promise.resolve(undefined) };

class FixedLength implements BodyReader {
  readonly empty = false;
  readonly delimited = true;
  readonly #reader: BufferedReader;
  readonly #length: number;
  #left: number;

  constructor(reader: BufferedReader, length: number) {
    this.#reader = reader;
    this.#length = length;
    this.#left = length;
  }

  async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#left === 0) return undefined;
    const piece = await this.#reader.piece(this.#left);
    if (!piece) {
      const got = this.#length - this.#left;
      throw new HttpBreakError(`the connection ended after ${got} of ${this.#length} bytes of the body`);
    }
    this.#left -= piece.length;
    return piece;
  }
}

class Chunked implements BodyReader {
  readonly empty = false;
  readonly delimited = true;
  readonly #reader: BufferedReader;
  #left = 0;
  #first = true;

  constructor(reader: BufferedReader) {
    this.#reader = reader;
  }

  async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#left === 0) {
      this.#left = await this.#nextSize();
      if (this.#left === 0) {
        await readFields(this.#reader, { limit: MAX_HEAD, left: MAX_HEAD }); // Trailers: nobody here needs them.
        return undefined;
      }
    }
    const piece = await this.#reader.piece(this.#left);
    if (!piece) throw new HttpBreakError(EARLY);
    this.#left -= piece.length;
    return piece;
  }

  async #nextSize(): Promise<number> {
    if (!this.#first) {
      const rest = await this.#line();
      if (rest !== "") throw new HttpError(`malformed end of a chunk: ${quote(rest)}`);
    }
    this.#first = false;
    const line = await this.#line();
    const size = /^([0-9a-f]{1,8})[ \t]*(?:;.*)?$/i.exec(line)?.[1];
    if (size === undefined) throw new HttpError(`malformed size of a chunk: ${quote(line)}`);
    return parseInt(size, 16);
  }

  async #line(): Promise<string> {
    const line = await this.#reader.line({ limit: MAX_CHUNK_LINE, left: MAX_CHUNK_LINE });
    if (line === undefined) throw new HttpBreakError(EARLY);
    return line;
  }
}

const EARLY = "the connection ended in the middle of a chunked body";

class UntilEnd implements BodyReader {
  readonly empty = false;
  readonly delimited = false;
  readonly #reader: BufferedReader;

  constructor(reader: BufferedReader) {
    this.#reader = reader;
  }

  next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#reader.piece(Infinity);
  }
}
