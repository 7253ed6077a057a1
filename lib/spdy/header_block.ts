/**
 * Header blocks: names and values, compressed.
 *
 * All blocks of one direction are one zlib stream with a preset dictionary, cut by sync flushes, so they
 * have to be compressed in the order in which they are sent and decompressed in the order in which they
 * came, each exactly once.
 *
 * pako does the deflating: it is the one maintained library that knows preset dictionaries both ways in
 * Deno, Node and browsers (`node:zlib` in Deno ignores them when it compresses).
 *
 * @module
 */
import { Deflate, Inflate } from "pako";
import { concat } from "../bytes/mod.ts";
import { DICTIONARY } from "./dictionary.ts";
import { SpdyProtocolError } from "./errors.ts";

/**
 * Header fields by name. Names are lower-case; several values of one name are joined with NUL
 * (SPDY/3.1 section 2.6.10).
 */
export type SpdyHeaders = Readonly<Record<string, string>>;

/** The most names in a block (CVE-2026-35469, as moby/spdystream 0.5.1). */
export const MAX_HEADERS = 1000;

/** The longest name or value, in bytes (the same). */
export const MAX_HEADER_SIZE = 1024 * 1024;

/** The largest block, decompressed, in bytes: what a frame could hold of it if nothing were compressed. */
const MAX_BLOCK = (1 << 24) - 1;

/** `Z_SYNC_FLUSH`: all output is there, and the stream goes on. */
const SYNC_FLUSH = 2;

/** A typical block is smaller than this; pako asks for memory in such pieces. */
const CHUNK = 512;

/** Compresses the blocks of one direction. */
export class HeaderCompressor {
  readonly #deflate = new Deflate({ level: 9, dictionary: DICTIONARY, chunkSize: CHUNK });
  #chunks: Uint8Array[] = [];

  /** The start of a direction. */
  constructor() {
    this.#deflate.onData = (chunk) => this.#chunks.push(chunk);
  }

  /** The next block. */
  compress(headers: SpdyHeaders): Uint8Array {
    this.#chunks = [];
    this.#deflate.push(encodeFields(headers), SYNC_FLUSH);
    return concat(this.#chunks);
  }
}

/** Decompresses the blocks of one direction. */
export class HeaderDecompressor {
  readonly #inflate = new Inflate({ dictionary: DICTIONARY, chunkSize: CHUNK });
  #chunks: Uint8Array[] = [];
  #size = 0;

  /** The start of a direction. */
  constructor() {
    this.#inflate.onData = (chunk) => {
      this.#size += chunk.length;
      if (this.#size > MAX_BLOCK) throw new SpdyProtocolError(`header block is larger than ${MAX_BLOCK} bytes`);
      this.#chunks.push(chunk);
    };
  }

  /**
   * The fields of the next block.
   *
   * @throws {SpdyProtocolError} If it cannot be decompressed, or what comes out is no header block.
   */
  decompress(block: Uint8Array): SpdyHeaders {
    this.#chunks = [];
    this.#size = 0;
    const { ended } = this.#inflate;
    if (ended || !this.#inflate.push(block, SYNC_FLUSH)) {
      const why = ended ? "the zlib stream has ended" : this.#inflate.msg || "it is cut short";
      throw new SpdyProtocolError(`header block cannot be decompressed: ${why}`);
    }
    return decodeFields(concat(this.#chunks));
  }
}

function encodeFields(headers: SpdyHeaders): Uint8Array {
  const encoder = new TextEncoder();
  const fields = Object.entries(headers).flat().map((text) => encoder.encode(text));
  const block = new Uint8Array(fields.reduce((sum, field) => sum + 4 + field.length, 4));
  const view = new DataView(block.buffer);
  view.setUint32(0, fields.length / 2);
  let at = 4;
  for (const field of fields) {
    view.setUint32(at, field.length);
    block.set(field, at + 4);
    at += 4 + field.length;
  }
  return block;
}

function decodeFields(block: Uint8Array): SpdyHeaders {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  let at = 0;
  const number = (what: string, max: number): number => {
    if (at + 4 > block.length) throw new SpdyProtocolError(`header block is too short for the ${what}`);
    const value = view.getUint32(at);
    if (value > max) throw new SpdyProtocolError(`header block has a ${what} of ${value}; at most ${max} are allowed`);
    at += 4;
    return value;
  };
  const text = (what: string): string => {
    const length = number(`length of a ${what}`, MAX_HEADER_SIZE);
    if (at + length > block.length) throw new SpdyProtocolError(`header block is too short for a ${what}`);
    at += length;
    return decoder.decode(block.subarray(at - length, at));
  };
  const headers: Record<string, string> = Object.create(null); // A peer may name a field `__proto__`.
  for (let left = number("number of fields", MAX_HEADERS); left > 0; left--) {
    const name = text("name");
    const value = text("value");
    if (name === "") throw new SpdyProtocolError("header without a name");
    if (name !== name.toLowerCase()) throw new SpdyProtocolError(`header was not lowercased: ${JSON.stringify(name)}`);
    if (FORBIDDEN.has(name)) throw new SpdyProtocolError(`frame contained invalid header ${JSON.stringify(name)}`);
    headers[name] = name in headers ? `${headers[name]}\0${value}` : value;
  }
  if (at !== block.length) throw new SpdyProtocolError(`header block has ${block.length - at} bytes too many`);
  return headers;
}

/** What belongs to a connection and not to a stream (SPDY/3.1 section 3.2). */
const FORBIDDEN: ReadonlySet<string> = new Set([
  "connection",
  "host",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
]);

/** A mark of byte order at the start of a value is part of it. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
