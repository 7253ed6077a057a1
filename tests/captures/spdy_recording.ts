/**
 * SPDY/3.1 as it stands in recordings, parsed by the draft without any code of podwire's but the
 * dictionary, whose checksum has a test of its own.
 *
 * @module
 */
import { constants, inflateSync } from "node:zlib";
import { concat } from "../../lib/bytes/mod.ts";
import { DICTIONARY } from "../../lib/spdy/dictionary.ts";
import { type Frame, Opcode } from "./recording.ts";

/** The numbers of control frames. */
export const SpdyType = {
  SYN_STREAM: 1,
  SYN_REPLY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  HEADERS: 8,
} as const;

/** One frame; fields that its type has not are 0 or empty. */
export interface SpdyFrame {
  /** One of {@linkcode SpdyType}, or 0 for DATA. */
  readonly type: number;
  /** The stream, the id of a PING, or the last stream of a GOAWAY. */
  readonly id: number;
  readonly fin: boolean;
  /** Of RST_STREAM and GOAWAY. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Of DATA. */
  readonly data: Uint8Array;
}

/** Takes what one side sent apart; what is not a whole frame at the end is left out. */
export function parseSpdy(bytes: Uint8Array): SpdyFrame[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const frames: { frame: SpdyFrame; hasBlock: boolean }[] = [];
  const blocks: Uint8Array[] = [];
  for (let at = 0; at + 8 <= bytes.length;) {
    const isControl = bytes[at]! >= 0x80;
    const end = at + 8 + (view.getUint32(at + 4) & 0xffffff);
    if (end > bytes.length) break;
    const type = isControl ? view.getUint16(at + 2) : 0;
    const blockAt = type === SpdyType.SYN_STREAM ? at + 18 : at + 12;
    const hasBlock = type === SpdyType.SYN_STREAM || type === SpdyType.SYN_REPLY || type === SpdyType.HEADERS;
    if (hasBlock) blocks.push(bytes.subarray(blockAt, end));
    const hasStatus = type === SpdyType.RST_STREAM || type === SpdyType.GOAWAY;
    frames.push({
      hasBlock,
      frame: {
        type,
        id: (isControl ? view.getUint32(at + 8) : view.getUint32(at)) & 0x7fffffff,
        fin: (bytes[at + 4]! & 1) !== 0,
        status: hasStatus ? view.getUint32(at + 12) : 0,
        headers: {},
        data: isControl ? new Uint8Array(0) : bytes.slice(at + 8, end),
      },
    });
    at = end;
  }
  const headers = readBlocks(blocks);
  return frames.map(({ frame, hasBlock }) => hasBlock ? { ...frame, headers: headers.shift()! } : frame);
}

/** The headers of all blocks of one direction, which are one zlib stream. */
function readBlocks(blocks: readonly Uint8Array[]): Record<string, string>[] {
  if (blocks.length === 0) return [];
  const plain = inflateSync(concat(blocks), { dictionary: DICTIONARY, finishFlush: constants.Z_SYNC_FLUSH });
  const view = new DataView(plain.buffer, plain.byteOffset, plain.length);
  let at = 0;
  const number = () => {
    at += 4;
    return view.getUint32(at - 4);
  };
  const text = () => {
    const length = number();
    at += length;
    return new TextDecoder().decode(plain.subarray(at - length, at));
  };
  return blocks.map(() => {
    const pairs = Array.from({ length: number() }, (): [string, string] => [text(), text()]);
    return Object.fromEntries(pairs);
  });
}

/** The bytes that the binary messages of a tunnel carry. */
export function tunnelled(frames: readonly Frame[]): Uint8Array {
  return concat(
    frames.filter(({ opcode }) => opcode === Opcode.BINARY || opcode === Opcode.CONTINUATION)
      .map(({ payload }) => payload),
  );
}

/** What one side said on one stream. */
export interface SpdyStreamTalk {
  /** Whether there was a SYN_REPLY. */
  readonly replied: boolean;
  /** The data, joined, as one character a byte (latin1). */
  readonly data: string;
  /** Whether it ended, by FIN or RST_STREAM. */
  readonly ended: boolean;
}

/** What one side said in a connection. */
export interface SpdyTalk {
  readonly streams: Readonly<Record<number, SpdyStreamTalk>>;
  /** The ids of PINGs. */
  readonly pings: readonly number[];
  /** The last stream and the status of a GOAWAY. */
  readonly goAway: readonly [last: number, status: number] | undefined;
}

/** Sums up what one side said. */
export function readTalk(frames: readonly SpdyFrame[]): SpdyTalk {
  const streams: Record<number, SpdyStreamTalk> = {};
  for (const { type, id, fin, data } of frames) {
    if (type === SpdyType.PING || type === SpdyType.GOAWAY || type === SpdyType.SETTINGS) continue;
    const before = streams[id] ?? { replied: false, data: "", ended: false };
    streams[id] = {
      replied: before.replied || type === SpdyType.SYN_REPLY,
      data: before.data + new TextDecoder("latin1").decode(data),
      ended: before.ended || fin || type === SpdyType.RST_STREAM,
    };
  }
  const goAway = frames.find(({ type }) => type === SpdyType.GOAWAY);
  return {
    streams,
    pings: frames.filter(({ type }) => type === SpdyType.PING).map(({ id }) => id),
    goAway: goAway && [goAway.id, goAway.status],
  };
}
