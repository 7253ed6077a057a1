/**
 * Datagrams over a stream: each after its length, two bytes, big-endian, as DNS does it over TCP (RFC 7766 section 8).
 *
 * @module
 */
import { concat, type Duplex } from "../bytes/mod.ts";
import { RelayError } from "./errors.ts";

/** The longest datagram that the length can say, in bytes. */
export const MAX_DATAGRAM = 0xffff;

/** A datagram after its length. */
export function encodeFrame(datagram: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(2 + datagram.length);
  frame[0] = datagram.length >> 8;
  frame[1] = datagram.length & 255;
  frame.set(datagram, 2);
  return frame;
}

/** Reads datagrams out of a stream. */
export class FrameReader {
  readonly #from: Duplex;
  readonly #buffer = new Uint8Array(2 + MAX_DATAGRAM);
  #start = 0;
  #end = 0;

  /** A reader of `from`. */
  constructor(from: Duplex) {
    this.#from = from;
  }

  /**
   * The next datagram, valid until the next call; `null` at the end of the stream.
   *
   * @throws {RelayError} If the stream ends in the middle of one.
   */
  async next(): Promise<Uint8Array | null> {
    if (!await this.#have(2)) return null;
    const length = (this.#buffer[this.#start] ?? 0) << 8 | (this.#buffer[this.#start + 1] ?? 0);
    if (!await this.#have(2 + length)) return null;
    const datagram = this.#buffer.subarray(this.#start + 2, this.#start + 2 + length);
    this.#start += 2 + length;
    return datagram;
  }

  async #have(length: number): Promise<boolean> {
    while (this.#end - this.#start < length) {
      if (this.#start > 0) {
        this.#buffer.copyWithin(0, this.#start, this.#end);
        this.#end -= this.#start;
        this.#start = 0;
      }
      const n = await this.#from.read(this.#buffer.subarray(this.#end));
      if (n === null && this.#end === 0) return false;
      if (n === null) throw new RelayError("the stream ended in the middle of a datagram", "broken");
      this.#end += n;
    }
    return true;
  }
}

/** Bytes that may wait for a slow stream; what comes then is dropped, as a full socket does it. */
const MAX_WAITING = 256 * 1024;

/** Writes datagrams to a stream without making their sender wait. */
export class FrameWriter {
  readonly #to: Duplex;
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  #writing = false;
  readonly #onError: (error: unknown) => void;

  /** A writer to `to`; `onError` is told what breaks it. */
  constructor(to: Duplex, onError: (error: unknown) => void) {
    this.#to = to;
    this.#onError = onError;
  }

  /** Takes a datagram, or says `false`: it is too long, or too much waits. */
  push(datagram: Uint8Array): boolean {
    if (datagram.length > MAX_DATAGRAM || this.#bytes > MAX_WAITING) return false;
    const frame = encodeFrame(datagram);
    this.#waiting.push(frame);
    this.#bytes += frame.length;
    if (!this.#writing) void this.#write();
    return true;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    try {
      while (this.#waiting.length > 0) {
        const batch = concat(this.#waiting);
        this.#waiting = [];
        await this.#to.write(batch);
        this.#bytes -= batch.length;
      }
      this.#writing = false;
    } catch (error) {
      this.#onError(error);
    }
  }
}
