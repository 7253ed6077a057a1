/**
 * What the SPDY tests share: frames written by hand, header blocks without our own compressor, and a peer that sees
 * nothing but bytes.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { constants, inflateSync } from "node:zlib";
import { type Duplex, duplexPair } from "../../lib/bytes/mod.ts";
import { type Frame, FrameDecoder } from "../../lib/spdy/decoder.ts";
import { DICTIONARY } from "../../lib/spdy/dictionary.ts";
import { SpdySession, type SpdySessionOptions } from "../../lib/spdy/mod.ts";
import { concat, hex, pattern, RawPeer, utf8 } from "../websocket/harness.ts";

export { concat, hex, pattern, utf8 };

/** A name and its value, in their order on the wire. */
export type Field = readonly [name: string, value: string];

/** `text` with every character as one byte: what UTF-8 cannot say. */
export function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** A number of four bytes. */
export function u32(value: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255);
}

/** A control frame, right or wrong. */
export function control(
  type: number,
  body: Uint8Array,
  { flags = 0, version = 3, length = body.length }: { flags?: number; version?: number; length?: number } = {},
): Uint8Array<ArrayBuffer> {
  return concat(u32(((0x8000 | version) << 16) | type), u32((flags << 24) | length), body);
}

/** SYN_STREAM. */
export function synStream(streamId: number, block: Uint8Array, flags = 0): Uint8Array<ArrayBuffer> {
  return control(1, concat(u32(streamId), u32(0), hex("0000"), block), { flags });
}

/** SYN_REPLY. */
export function synReply(streamId: number, block: Uint8Array, flags = 0): Uint8Array<ArrayBuffer> {
  return control(2, concat(u32(streamId), block), { flags });
}

/** RST_STREAM. */
export function rstStream(streamId: number, status = 5): Uint8Array<ArrayBuffer> {
  return control(3, concat(u32(streamId), u32(status)));
}

/** PING. */
export function ping(id: number): Uint8Array<ArrayBuffer> {
  return control(6, u32(id));
}

/** GOAWAY. */
export function goAway(lastStreamId: number, status = 0): Uint8Array<ArrayBuffer> {
  return control(7, concat(u32(lastStreamId), u32(status)));
}

/** DATA. */
export function data(streamId: number, bytes: Uint8Array | string = "", flags = 0): Uint8Array<ArrayBuffer> {
  const payload = typeof bytes === "string" ? utf8(bytes) : bytes;
  return concat(u32(streamId), u32((flags << 24) | payload.length), payload);
}

/** FIN, as spdystream sends it: an empty DATA frame. */
export function fin(streamId: number): Uint8Array<ArrayBuffer> {
  return data(streamId, "", 1);
}

/** Header fields as they are before they are compressed; each character is one byte. */
export function plain(fields: readonly Field[], count = fields.length): Uint8Array<ArrayBuffer> {
  return concat(u32(count), ...fields.flat().flatMap((text) => [u32(text.length), latin1(text)]));
}

/**
 * The blocks of one direction without any compression (RFC 1951 section 3.2.4): the head of level 0 with the
 * dictionary's id (RFC 1950 section 2.2), and each block stored, with the empty stored block of a sync flush behind it.
 */
export class StoredBlocks {
  #first = true;

  /** The block of `fields`. */
  of(...fields: readonly Field[]): Uint8Array<ArrayBuffer> {
    return this.raw(plain(fields));
  }

  /** The block that holds exactly `bytes`. */
  raw(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    const parts = [hex(this.#first ? "783f e3c6a7c2" : "")];
    this.#first = false;
    for (let at = 0; at < bytes.length; at += 65535) {
      const part = bytes.slice(at, at + 65535);
      const [low, high] = [part.length & 255, part.length >> 8];
      parts.push(Uint8Array.of(0, low, high, 255 - low, 255 - high), part);
    }
    return concat(...parts, hex("00 0000ffff"));
  }
}

/** Reads the blocks of one direction with zlib. (The dictionary is verified by its checksum in header_block_test.ts.) */
export class BlockReader {
  #blocks: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #plain = 0;

  /** What the next block holds. */
  plain(block: Uint8Array): Uint8Array<ArrayBuffer> {
    this.#blocks = concat(this.#blocks, block);
    const all = inflateSync(this.#blocks, { dictionary: DICTIONARY, finishFlush: constants.Z_SYNC_FLUSH });
    const next = Uint8Array.from(all.subarray(this.#plain));
    this.#plain = all.length;
    return next;
  }

  /** The fields of the next block. */
  fields(block: Uint8Array): Record<string, string> {
    const bytes = this.plain(block);
    const view = new DataView(bytes.buffer);
    let at = 4;
    const text = () => {
      const end = at + 4 + view.getUint32(at);
      const value = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(at + 4, end));
      at = end;
      return value;
    };
    const fields: Record<string, string> = {};
    for (let left = view.getUint32(0); left > 0; left--) fields[text()] = text();
    assertEquals(at, bytes.length, "a header block has bytes behind its fields");
    return fields;
  }
}

/** What `decoder` makes of `bytes` when they come in pieces of `size`. */
export function decode(bytes: Uint8Array, size = bytes.length, decoder: FrameDecoder = new FrameDecoder()): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length;) {
    const space = decoder.buffer();
    const n = Math.min(size, space.length, bytes.length - at);
    space.set(bytes.subarray(at, at + n));
    decoder.advance(n);
    at += n;
    for (let frame; (frame = decoder.next()) !== undefined;) {
      frames.push(frame.type === "data" ? { ...frame, data: frame.data.slice() } : frame);
    }
  }
  return frames;
}

/** A frame as it stands on the wire. */
export interface RawFrame {
  /** 0 for DATA. */
  readonly type: number;
  readonly flags: number;
  /** The stream or ping id; the last good stream id of GOAWAY. */
  readonly id: number;
  /** What follows the head. */
  readonly body: Uint8Array;
}

/** The other end of a session, by hand. */
export class BytePeer {
  readonly duplex: Duplex;
  readonly #reader: RawPeer;
  /** For what is sent. */
  readonly blocks = new StoredBlocks();
  /** For what is received. */
  readonly received = new BlockReader();

  constructor(duplex: Duplex) {
    this.duplex = duplex;
    this.#reader = new RawPeer(duplex);
  }

  /** Sends `frames` in one write. */
  async send(...frames: readonly Uint8Array[]): Promise<void> {
    await this.duplex.write(concat(...frames));
  }

  /** The next `count` bytes. */
  bytes(count: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#reader.bytes(count);
  }

  /** Everything up to the end. */
  rest(): Promise<Uint8Array> {
    return this.#reader.rest();
  }

  /** The next frame. */
  async frame(): Promise<RawFrame> {
    const view = new DataView((await this.bytes(8)).buffer);
    const body = await this.bytes(view.getUint32(4) & 0xff_ffff);
    const first = view.getUint32(0);
    const flags = view.getUint8(4);
    if (first < 0x8000_0000) return { type: 0, flags, id: first, body };
    assertEquals(first >>> 16, 0x8003, "version 3");
    return { type: first & 0xffff, flags, id: new DataView(body.buffer).getUint32(0), body };
  }

  /** Asserts that the next bytes are exactly `frames`. */
  async expect(...frames: readonly Uint8Array[]): Promise<void> {
    for (const frame of frames) assertEquals(toHex(await this.bytes(frame.length)), toHex(frame));
  }

  /** Takes a SYN_STREAM; gives its id and fields. */
  async accept(): Promise<{ id: number; flags: number; fields: Record<string, string> }> {
    const { type, flags, id, body } = await this.frame();
    assertEquals(type, 1, "SYN_STREAM");
    assertEquals(toHex(body.subarray(4, 10)), "000000000000", "no associated stream, priority and slot 0");
    return { id, flags, fields: this.received.fields(body.subarray(10)) };
  }

  /** Takes a SYN_REPLY; gives its id and fields. */
  async reply(): Promise<{ id: number; flags: number; fields: Record<string, string> }> {
    const { type, flags, id, body } = await this.frame();
    assertEquals(type, 2, "SYN_REPLY");
    return { id, flags, fields: this.received.fields(body.subarray(4)) };
  }

  /** Sends a PING of its own parity and waits for the echo: everything sent before has been handled by then. */
  async settle(id: number): Promise<void> {
    await this.send(ping(id));
    await this.expect(ping(id));
  }
}

/** Bytes as hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A session over memory and the bytes at its other end. */
export function withPeer(
  options: Partial<SpdySessionOptions> = {},
  capacity = 256 * 1024,
): { session: SpdySession; peer: BytePeer } {
  const [near, far] = duplexPair({ capacity });
  return { session: new SpdySession(near, { role: "client", ...options }), peer: new BytePeer(far) };
}

/** Two sessions that speak to each other. */
export function pair(
  options: Omit<SpdySessionOptions, "role">,
  capacity = 256 * 1024,
): readonly [client: SpdySession, server: SpdySession] {
  const [near, far] = duplexPair({ capacity });
  return [new SpdySession(near, { role: "client" }), new SpdySession(far, { ...options, role: "server" })];
}

/** Reads a stream to its end. */
export async function readAll(stream: Pick<Duplex, "read">): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(64 * 1024);
  for (let n; (n = await stream.read(buffer)) !== null;) parts.push(buffer.slice(0, n));
  return concat(...parts);
}

/** Reads a stream to its end, as text. */
export async function readText(stream: Pick<Duplex, "read">): Promise<string> {
  return new TextDecoder().decode(await readAll(stream));
}
