/**
 * From bytes to messages: an incremental RFC 6455 decoder that owns the buffer it reads
 * from. Pure: no I/O, no timers.
 *
 * @module
 */
import {
  applyMask,
  CloseCode,
  decodeText,
  isCloseCode,
  MAX_CONTROL_PAYLOAD,
  Opcode,
  type Role,
  WebSocketProtocolError,
} from "./frame.ts";
import type { CloseInfo } from "./message_socket.ts";

/** A frame that is no part of a message. */
export type ControlFrame =
  | { readonly type: "ping" | "pong"; readonly data: Uint8Array }
  | { readonly type: "close"; readonly info: CloseInfo };

/** What a {@linkcode FrameDecoder} finds: a binary message, a text message, a control frame. */
export type Decoded = Uint8Array | string | ControlFrame;

/** Options of a {@linkcode FrameDecoder}. */
export interface FrameDecoderOptions {
  /** The end that decodes: a server expects masked frames, a client unmasked ones. */
  readonly role: Role;
  /** The largest message in bytes; the fragments of one count together. Default 32 MiB. */
  readonly maxMessageSize?: number;
  /**
   * Binary messages are valid only until the next {@linkcode FrameDecoder.buffer}, which uses their memory again. For
   * readers that copy anyway: it spares them the garbage, tens of megabytes of it at full speed. Default `false`.
   */
  readonly reuseBuffer?: boolean;
}

/**
 * Takes frames apart and puts fragments together.
 *
 * Whoever reads from the network reads straight into {@linkcode FrameDecoder.buffer}, says how
 * much came, and takes what is complete. Binary messages are views of that buffer,
 * without a copy, and stay valid for ever: a used-up buffer is replaced, not reused (but for
 * {@linkcode FrameDecoderOptions.reuseBuffer}). Only
 * a message that is not whole yet moves to the next buffer. The fragments of a message are pushed
 * together in place. A message larger than the buffer gets one that grows with
 * what has arrived, not with what its header claims.
 *
 * @example
 * ```ts
 * import { FrameDecoder } from "./decoder.ts";
 *
 * const decoder = new FrameDecoder({ role: "client" });
 * const frame = new Uint8Array([0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]); // RFC 6455 section 5.7
 * decoder.buffer().set(frame);
 * decoder.advance(frame.length);
 * decoder.next(); // "Hello"
 * decoder.next(); // undefined: more bytes are needed
 * ```
 */
export class FrameDecoder {
  readonly #expectsMask: boolean;
  readonly #maxMessageSize: number;
  readonly #reuses: boolean;

  #buffer: Uint8Array = new Uint8Array(0);
  /** The end of what has arrived. */
  #end = 0;
  /** Where the next frame starts, and how many bytes of it must be there to go on. */
  #frame = 0;
  #needed = SHORT_HEADER;
  /** The size of that frame's header once it is read, or 0. */
  #headerSize = 0;
  /** The fragmented message under way: its opcode, or 0, and where its bytes are. */
  #opcode = 0;
  #messageStart = 0;
  #messageEnd = 0;

  /** A decoder for one end of a connection. */
  constructor(options: FrameDecoderOptions) {
    this.#expectsMask = options.role === "server";
    this.#maxMessageSize = options.maxMessageSize ?? DEFAULT_MAX_MESSAGE_SIZE;
    this.#reuses = options.reuseBuffer ?? false;
  }

  /** The space to read into, never empty. Valid until the next call of any method. */
  buffer(): Uint8Array {
    if (this.#reuses && this.#frame === this.#end && this.#opcode === 0) this.#frame = this.#end = 0;
    const free = this.#buffer.length - this.#end;
    if (free < MIN_READ) {
      const kept = this.#messageEnd - this.#messageStart + this.#end - this.#frame;
      const fits = this.#frame + this.#needed <= this.#buffer.length;
      // What is almost there and large is not worth moving.
      if (free === 0 || !fits || kept < MIN_READ) this.#replaceBuffer(kept);
    }
    return this.#buffer.subarray(this.#end);
  }

  /** Says that `n` bytes have been read into {@linkcode FrameDecoder.buffer}. */
  advance(n: number): void {
    this.#end += n;
  }

  /**
   * The next message or control frame, or `undefined` while it is incomplete.
   *
   * @throws {WebSocketProtocolError} If the peer broke the protocol; the decoder is of no more use then.
   */
  next(): Decoded | undefined {
    while (this.#end - this.#frame >= this.#needed) {
      if (this.#headerSize === 0) {
        this.#readHeader();
      } else {
        const decoded = this.#takeFrame();
        if (decoded !== undefined) return decoded;
      }
    }
    return undefined;
  }

  /** Reads the header at `#frame`, or learns how many bytes it has. */
  #readHeader(): void {
    const buffer = this.#buffer;
    const at = this.#frame;
    const first = buffer[at]!;
    const second = buffer[at + 1]!;
    const shortLength = second & 0x7f;
    let size = SHORT_HEADER + (shortLength === 127 ? 8 : shortLength === 126 ? 2 : 0);
    if (this.#needed === SHORT_HEADER) this.#checkStart(first, second);
    if (second & MASK) size += 4;
    if (this.#end - at < size) {
      this.#needed = size;
      return;
    }
    const length = shortLength < 126 ? shortLength : this.#readLength(at + 2, shortLength);
    const max = this.#maxMessageSize - (this.#messageEnd - this.#messageStart);
    if (length > max && !(first & CONTROL)) {
      throw new WebSocketProtocolError(
        CloseCode.TOO_BIG,
        `a message of the peer is larger than the limit of ${this.#maxMessageSize} bytes`,
      );
    }
    this.#headerSize = size;
    this.#needed = size + length;
  }

  /** Checks what the first two bytes of a frame tell. */
  #checkStart(first: number, second: number): void {
    const opcode = first & 0x0f;
    const fin = (first & FIN) !== 0;
    if (first & RSV) throw violation(`a reserved bit is set (first byte 0x${first.toString(16)})`);
    switch (opcode) {
      case Opcode.CONTINUATION:
        if (this.#opcode === 0) throw violation("a continuation frame without a message to continue");
        break;
      case Opcode.TEXT:
      case Opcode.BINARY:
        if (this.#opcode !== 0) throw violation("a new message before the last fragment of the one before");
        break;
      case Opcode.CLOSE:
      case Opcode.PING:
      case Opcode.PONG:
        if (!fin) throw violation(`a fragmented control frame (opcode ${opcode})`);
        if ((second & 0x7f) > MAX_CONTROL_PAYLOAD) {
          throw violation(`a control frame of more than ${MAX_CONTROL_PAYLOAD} bytes (opcode ${opcode})`);
        }
        break;
      default:
        throw violation(`the reserved opcode ${opcode}`);
    }
    if (((second & MASK) !== 0) !== this.#expectsMask) {
      throw violation(this.#expectsMask ? "a frame of a client without a mask" : "a masked frame of a server");
    }
  }

  /** The extended payload length at `at`. */
  #readLength(at: number, shortLength: number): number {
    const view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset);
    if (shortLength === 126) {
      const length = view.getUint16(at);
      if (length < 126) throw violation(`a length of ${length} in three bytes instead of one`);
      return length;
    }
    const high = view.getUint32(at);
    if (high >= 0x8000_0000) throw violation("a length of 2^63 bytes or more");
    const length = high * 0x1_0000_0000 + view.getUint32(at + 4);
    if (length < 0x1_0000) throw violation(`a length of ${length} in nine bytes instead of three or one`);
    return length;
  }

  /** Takes the frame at `#frame`, which has arrived whole. */
  #takeFrame(): Decoded | undefined {
    const buffer = this.#buffer;
    const first = buffer[this.#frame]!;
    const start = this.#frame + this.#headerSize;
    const end = this.#frame + this.#needed;
    if (this.#expectsMask) applyMask(buffer, start, end, buffer.subarray(start - 4, start), 0);
    this.#frame = end;
    this.#needed = SHORT_HEADER;
    this.#headerSize = 0;

    const opcode = first & 0x0f;
    if (first & CONTROL) return controlFrame(opcode, buffer.slice(start, end));
    if (opcode !== Opcode.CONTINUATION) {
      if (first & FIN) return message(opcode, buffer.subarray(start, end));
      this.#opcode = opcode;
      this.#messageStart = start;
      this.#messageEnd = end;
      return undefined;
    }
    buffer.copyWithin(this.#messageEnd, start, end);
    this.#messageEnd += end - start;
    if (!(first & FIN)) return undefined;
    const whole = message(this.#opcode, buffer.subarray(this.#messageStart, this.#messageEnd));
    this.#opcode = 0;
    this.#messageStart = this.#messageEnd = 0;
    return whole;
  }

  /** Moves the message and the frame that are under way, `kept` bytes together, to a new buffer. */
  #replaceBuffer(kept: number): void {
    const messageSize = this.#messageEnd - this.#messageStart;
    // The end of an unfragmented message is known: its buffer need not be larger.
    const most = this.#opcode === 0 ? this.#needed : Infinity;
    const size = Math.max(BUFFER_SIZE, Math.min(most, 2 * kept));
    const next = this.#reuses && size === this.#buffer.length ? this.#buffer : new Uint8Array(size);
    next.set(this.#buffer.subarray(this.#messageStart, this.#messageEnd));
    next.set(this.#buffer.subarray(this.#frame, this.#end), messageSize);
    this.#buffer = next;
    this.#messageStart = 0;
    this.#messageEnd = messageSize;
    this.#frame = messageSize;
    this.#end = kept;
  }
}

/** The largest message unless an option says otherwise, in bytes: that of Kubernetes' own servers. */
const DEFAULT_MAX_MESSAGE_SIZE = 32 * 1024 * 1024;

/** The size of a buffer in bytes: large reads cost fewer system calls. */
const BUFFER_SIZE = 256 * 1024;

/** With less space than this, in bytes, a read is not worth its system call. */
const MIN_READ = 16 * 1024;

/** The size of a header without extended length and mask, in bytes. */
const SHORT_HEADER = 2;

const FIN = 0x80;
const RSV = 0x70;
const CONTROL = 0x08;
const MASK = 0x80;

function violation(what: string): WebSocketProtocolError {
  return new WebSocketProtocolError(CloseCode.PROTOCOL_ERROR, `the peer broke the WebSocket protocol: ${what}`);
}

function message(opcode: number, payload: Uint8Array): Uint8Array | string {
  return opcode === Opcode.TEXT ? decodeText(payload) : payload;
}

function controlFrame(opcode: number, data: Uint8Array): ControlFrame {
  if (opcode === Opcode.PING) return { type: "ping", data };
  if (opcode === Opcode.PONG) return { type: "pong", data };
  if (data.length === 0) return { type: "close", info: { closeCode: CloseCode.NO_STATUS, reason: "" } };
  if (data.length === 1) throw violation("a Close frame with half a status code");
  const closeCode = data[0]! << 8 | data[1]!;
  if (!isCloseCode(closeCode)) throw violation(`a Close frame with the status code ${closeCode}`);
  return { type: "close", info: { closeCode, reason: decodeText(data.subarray(2)) } };
}
