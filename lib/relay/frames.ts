/**
 * Datagrams over a stream: each after its length, two bytes, big-endian, as DNS does it over TCP (RFC 7766 section 8).
 *
 * @module
 */
import { concat, type Duplex } from "../bytes/mod.ts";
import { RelayError } from "./errors.ts";

/** The longest datagram that the length can say, in bytes. */
export const MAX_DATAGRAM = 0xffff;

/** The bytes that the length takes. */
const LENGTH = 2;

/** A datagram after its length. */
export function encodeFrame(datagram: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(LENGTH + datagram.length);
  frame[0] = datagram.length >> 8;
  frame[1] = datagram.length & 255;
  frame.set(datagram, LENGTH);
  return frame;
}

/** Reads datagrams out of a stream. */
export class FrameReader {
  readonly #from: Duplex;
  readonly #buffer = new Uint8Array(LENGTH + MAX_DATAGRAM);
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
    if (!await this.#have(LENGTH)) return null;
    const length = (this.#buffer[this.#start] ?? 0) << 8 | (this.#buffer[this.#start + 1] ?? 0);
    if (!await this.#have(LENGTH + length)) return null;
    const datagram = this.#buffer.subarray(this.#start + LENGTH, this.#start + LENGTH + length);
    this.#start += LENGTH + length;
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

/** What a {@linkcode FrameWriter} tells about its datagrams. */
export interface FrameWriterEvents {
  /** So many of them, with so many bytes together, have been written. */
  readonly onWritten: (datagrams: number, bytes: number) => void;
  /** The stream has broken; those that have not been written are lost. */
  readonly onError: (error: unknown) => void;
}

/** Writes datagrams to a stream without making their sender wait; it is the sender who bounds what waits. */
export class FrameWriter {
  readonly #to: Duplex;
  #waiting: Uint8Array[] = [];
  #writing = false;
  readonly #events: FrameWriterEvents;

  /** A writer to `to`. */
  constructor(to: Duplex, events: FrameWriterEvents) {
    this.#to = to;
    this.#events = events;
  }

  /** Takes a datagram, or says `false`: it is too long. */
  push(datagram: Uint8Array): boolean {
    if (datagram.length > MAX_DATAGRAM) return false;
    this.#waiting.push(encodeFrame(datagram));
    if (!this.#writing) void this.#write();
    return true;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    try {
      while (this.#waiting.length > 0) {
        const frames = this.#waiting;
        this.#waiting = [];
        const batch = concat(frames);
        await this.#to.write(batch);
        this.#events.onWritten(frames.length, batch.length - frames.length * LENGTH);
      }
      this.#writing = false;
    } catch (error) {
      this.#waiting = []; // Still writing, as far as the next ones are concerned: the stream is not tried again.
      this.#events.onError(error);
    }
  }
}
