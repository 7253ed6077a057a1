/**
 * From messages to bytes: RFC 6455 frames into one reusable buffer. Pure: no I/O, no timers.
 *
 * @module
 */
import { applyMask, type Opcode, type Role } from "./frame.ts";

/**
 * Puts frames one after another into a buffer: small ones gather there for one write,
 * a large one passes through in pieces. A client's are masked on the way (RFC 6455 section 5.3).
 *
 * @example
 * ```ts
 * import { FrameEncoder } from "./encoder.ts";
 * import { Opcode } from "./frame.ts";
 *
 * const encoder = new FrameEncoder("server");
 * const payload = new TextEncoder().encode("Hello");
 * encoder.start(Opcode.TEXT, payload.length); // true: there is room
 * encoder.add(payload); // 5
 * encoder.take(); // 81 05 48 65 6c 6c 6f
 * ```
 */
export class FrameEncoder {
  readonly #masks: boolean;
  readonly #buffer: Uint8Array = new Uint8Array(BUFFER_SIZE);
  readonly #keys: MaskingKeys = new MaskingKeys();
  #size = 0;
  #key: Uint8Array = new Uint8Array(4);
  /** How many bytes of the frame's payload are in. */
  #phase = 0;

  /** An encoder for one end of a connection. */
  constructor(role: Role) {
    this.#masks = role === "client";
  }

  /** How many bytes wait to be taken. */
  get size(): number {
    return this.#size;
  }

  /** Starts a frame of `length` payload bytes, not fragmented; `false` if its header has no room before {@linkcode take}. */
  start(opcode: Opcode, length: number): boolean {
    const buffer = this.#buffer;
    if (buffer.length - this.#size < MAX_HEADER) return false;
    const mask = this.#masks ? 0x80 : 0;
    let at = this.#size;
    buffer[at++] = 0x80 | opcode;
    if (length < 126) {
      buffer[at++] = mask | length;
    } else if (length < 0x1_0000) {
      buffer[at++] = mask | 126;
      buffer[at++] = length >> 8;
      buffer[at++] = length & 0xff;
    } else {
      buffer[at++] = mask | 127;
      const view = new DataView(buffer.buffer);
      view.setUint32(at, Math.floor(length / 0x1_0000_0000));
      view.setUint32(at + 4, length % 0x1_0000_0000);
      at += 8;
    }
    if (this.#masks) {
      this.#key = this.#keys.next();
      buffer.set(this.#key, at);
      at += 4;
    }
    this.#size = at;
    this.#phase = 0;
    return true;
  }

  /** Adds the next bytes of the payload, as many as there is room for; returns how many. */
  add(payload: Uint8Array): number {
    const start = this.#size;
    const count = Math.min(payload.length, this.#buffer.length - start);
    this.#buffer.set(count === payload.length ? payload : payload.subarray(0, count), start);
    this.#size += count;
    if (this.#masks) applyMask(this.#buffer, start, this.#size, this.#key, this.#phase);
    this.#phase += count;
    return count;
  }

  /** The bytes so far, valid until the next call of {@linkcode start} or {@linkcode add}. */
  take(): Uint8Array {
    const taken = this.#buffer.subarray(0, this.#size);
    this.#size = 0;
    return taken;
  }
}

/** The size of the buffer in bytes: Kubernetes' largest message twice. */
const BUFFER_SIZE = 64 * 1024 + 64;

/** The size of the longest header in bytes. */
const MAX_HEADER = 14;

/** Unpredictable masking keys, drawn many at a time. */
class MaskingKeys {
  readonly #pool = new Uint8Array(1024);
  #used = this.#pool.length;

  next(): Uint8Array {
    if (this.#used === this.#pool.length) {
      crypto.getRandomValues(this.#pool);
      this.#used = 0;
    }
    this.#used += 4;
    return this.#pool.subarray(this.#used - 4, this.#used);
  }
}
