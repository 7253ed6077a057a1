/**
 * From bytes to frames: an incremental SPDY/3.1 decoder that owns the buffer it reads into.
 * Pure: no I/O, no timers.
 *
 * @module
 */
import { SpdyProtocolError } from "./errors.ts";
import { Flag, FrameType, HEAD_SIZE } from "./frame.ts";
import { HeaderDecompressor, type SpdyHeaders } from "./header_block.ts";

/** What a {@linkcode FrameDecoder} finds. */
export type Frame =
  /** Bytes of a stream. A large frame comes in parts, as they arrive; `fin` is with the last. */
  | { readonly type: "data"; readonly streamId: number; readonly data: Uint8Array; readonly fin: boolean }
  | {
    readonly type: "syn_stream";
    readonly streamId: number;
    readonly headers: SpdyHeaders;
    readonly fin: boolean;
    readonly unidirectional: boolean;
  }
  | { readonly type: "syn_reply"; readonly streamId: number; readonly headers: SpdyHeaders; readonly fin: boolean }
  | { readonly type: "headers"; readonly streamId: number; readonly headers: SpdyHeaders; readonly fin: boolean }
  | { readonly type: "rst_stream"; readonly streamId: number; readonly status: number }
  | { readonly type: "settings"; readonly count: number }
  | { readonly type: "ping"; readonly id: number }
  | { readonly type: "goaway"; readonly lastStreamId: number; readonly status: number }
  | { readonly type: "window_update"; readonly streamId: number; readonly delta: number };

/**
 * Takes frames apart. Whoever reads from the network reads straight into {@linkcode FrameDecoder.buffer}, says how
 * much came, and takes frames until there is none.
 *
 * What moby/spdystream accepts is accepted (it is on the other end of every Kubernetes), and what ends its
 * connections is a {@linkcode SpdyProtocolError}. A control frame waits until it is whole, in a buffer that grows with what has
 * arrived and not with what its head claims.
 *
 * @example
 * ```ts
 * import { FrameDecoder } from "./decoder.ts";
 *
 * const decoder = new FrameDecoder();
 * const frame = new Uint8Array([0, 0, 0, 3, 0, 0, 0, 5, 0x68, 0x65, 0x6c, 0x6c, 0x6f]);
 * decoder.buffer().set(frame);
 * decoder.advance(frame.length);
 * decoder.next(); // { type: "data", streamId: 3, data: "hello", fin: false }
 * decoder.next(); // undefined: more bytes are needed
 * ```
 */
export class FrameDecoder {
  readonly #headers = new HeaderDecompressor();
  #buffer = new Uint8Array(BUFFER_SIZE);
  #view = new DataView(this.#buffer.buffer);
  #start = 0;
  #end = 0;
  /** The DATA frame under way: whose it is, what is still to come of it, and whether it ends the stream. */
  #streamId = 0;
  #left = 0;
  #fin = false;

  /** Whether the bytes so far end between two frames. */
  get betweenFrames(): boolean {
    return this.#start === this.#end && this.#left === 0;
  }

  /** The space to read into, never empty. What {@linkcode FrameDecoder.next} gave before is valid until this call. */
  buffer(): Uint8Array {
    const rest = this.#buffer.subarray(this.#start, this.#end);
    if (rest.length === 0 && this.#buffer.length > BUFFER_SIZE) this.#allocate(BUFFER_SIZE, rest);
    else if (rest.length === this.#buffer.length) this.#allocate(2 * rest.length, rest);
    else this.#buffer.copyWithin(0, this.#start, this.#end);
    this.#start = 0;
    this.#end = rest.length;
    return this.#buffer.subarray(this.#end);
  }

  /** Says that `n` bytes have been read into {@linkcode FrameDecoder.buffer}. */
  advance(n: number): void {
    this.#end += n;
  }

  /**
   * The next frame, or `undefined` while it is incomplete. Its data is valid until the next
   * {@linkcode FrameDecoder.buffer}.
   *
   * @throws {SpdyProtocolError} If the peer broke the protocol; the decoder is of no more use then.
   */
  next(): Frame | undefined {
    if (this.#left > 0) return this.#dataPart();
    if (this.#end - this.#start < HEAD_SIZE) return undefined;
    const first = this.#view.getUint32(this.#start);
    const flags = this.#buffer[this.#start + 4]!;
    const length = this.#view.getUint32(this.#start + 4) & 0xff_ffff;
    if (first < 0x8000_0000) {
      if (first === 0) throw new SpdyProtocolError("DATA frame for stream 0");
      this.#start += HEAD_SIZE;
      this.#streamId = first;
      this.#left = length;
      this.#fin = (flags & Flag.FIN) !== 0;
      if (length > 0) return this.#dataPart();
      return { type: "data", streamId: first, data: EMPTY, fin: this.#fin };
    }
    if (this.#end - this.#start < HEAD_SIZE + length) return undefined;
    const body = this.#buffer.subarray(this.#start + HEAD_SIZE, this.#start + HEAD_SIZE + length);
    this.#start += HEAD_SIZE + length;
    return this.#control(first & 0xffff, flags, body); // The version is not looked at, as upstream.
  }

  #dataPart(): Frame | undefined {
    const n = Math.min(this.#left, this.#end - this.#start);
    if (n === 0) return undefined;
    const data = this.#buffer.subarray(this.#start, this.#start + n);
    this.#start += n;
    this.#left -= n;
    return { type: "data", streamId: this.#streamId, data, fin: this.#fin && this.#left === 0 };
  }

  #control(type: number, flags: number, body: Uint8Array): Frame {
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    const word = (at: number) => view.getUint32(at);
    const expect = (valid: boolean, what: string) => {
      if (!valid) throw new SpdyProtocolError(`invalid control frame: ${what}`);
    };
    const streamIdOf = (name: string): number => {
      const streamId = word(0) & 0x7fff_ffff;
      expect(streamId !== 0, `${name} for stream 0`);
      return streamId;
    };
    const fin = (flags & Flag.FIN) !== 0;
    switch (type) {
      case FrameType.SYN_STREAM: {
        expect(body.length >= 10, `SYN_STREAM of ${body.length} bytes`);
        const headers = this.#headers.decompress(body.subarray(10));
        const unidirectional = (flags & Flag.UNIDIRECTIONAL) !== 0;
        return { type: "syn_stream", streamId: streamIdOf("SYN_STREAM"), headers, fin, unidirectional };
      }
      case FrameType.SYN_REPLY:
        expect(body.length >= 4, `SYN_REPLY of ${body.length} bytes`);
        return {
          type: "syn_reply",
          streamId: streamIdOf("SYN_REPLY"),
          headers: this.#headers.decompress(body.subarray(4)),
          fin,
        };
      case FrameType.HEADERS:
        expect(body.length >= 4, `HEADERS of ${body.length} bytes`);
        return {
          type: "headers",
          streamId: streamIdOf("HEADERS"),
          headers: this.#headers.decompress(body.subarray(4)),
          fin,
        };
      case FrameType.RST_STREAM: {
        expect(body.length >= 8, `RST_STREAM of ${body.length} bytes`);
        const status = word(4);
        expect(status !== 0, "RST_STREAM with status 0");
        return { type: "rst_stream", streamId: streamIdOf("RST_STREAM"), status };
      }
      case FrameType.SETTINGS: {
        const count = body.length >= 4 ? word(0) : -1;
        expect(body.length === 4 + 8 * count, `SETTINGS of ${body.length} bytes for ${count} entries`);
        return { type: "settings", count };
      }
      case FrameType.PING: {
        expect(body.length === 4 && flags === 0, `PING of ${body.length} bytes with flags ${flags}`);
        expect(word(0) !== 0, "PING 0");
        return { type: "ping", id: word(0) };
      }
      case FrameType.GOAWAY:
        expect(body.length === 8 && flags === 0, `GOAWAY of ${body.length} bytes with flags ${flags}`);
        return { type: "goaway", lastStreamId: word(0) & 0x7fff_ffff, status: word(4) };
      case FrameType.WINDOW_UPDATE:
        expect(body.length === 8 && flags === 0, `WINDOW_UPDATE of ${body.length} bytes with flags ${flags}`);
        return { type: "window_update", streamId: word(0) & 0x7fff_ffff, delta: word(4) & 0x7fff_ffff };
      default:
        throw new SpdyProtocolError(`invalid control frame: type ${type}`);
    }
  }

  #allocate(size: number, rest: Uint8Array): void {
    const buffer = new Uint8Array(size);
    buffer.set(rest);
    this.#buffer = buffer;
    this.#view = new DataView(buffer.buffer);
  }
}

/** What is read from the network at once, in bytes; a larger control frame gets a buffer of its own. */
const BUFFER_SIZE = 256 * 1024;

const EMPTY = new Uint8Array(0);
