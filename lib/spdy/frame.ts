/**
 * SPDY/3.1 frames as bytes: the numbers, and how a frame is written down. Pure.
 *
 * The order of the fields is that of the SPDY protocol draft 3.1, section 2.2 and 2.6; what Kubernetes makes of
 * it is moby/spdystream's `spdy/types.go`. All integers are big-endian.
 *
 * @module
 */

/** Which end of a session: a client's streams have odd numbers, a server's even ones. */
export type Role = "client" | "server";

/** The types of control frames. */
export const FrameType = {
  SYN_STREAM: 1,
  SYN_REPLY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  HEADERS: 8,
  WINDOW_UPDATE: 9,
} as const;

/** Flags of a frame. */
export const Flag = {
  /** The sender sends no more on this stream. */
  FIN: 0x01,
  /** SYN_STREAM: the peer sends nothing on this stream. */
  UNIDIRECTIONAL: 0x02,
} as const;

/** Why a stream is reset (section 2.6.3). */
export const ResetStatus = {
  /** The frame was wrong. */
  PROTOCOL_ERROR: 1,
  /** There is no such stream. */
  INVALID_STREAM: 2,
  /** The stream was refused before anything was done with it. */
  REFUSED_STREAM: 3,
  /** SPDY of another version. */
  UNSUPPORTED_VERSION: 4,
  /** Nobody needs the stream any more. */
  CANCEL: 5,
  /** The endpoint failed. */
  INTERNAL_ERROR: 6,
  /** More was sent than anybody reads. */
  FLOW_CONTROL_ERROR: 7,
  /** A second SYN_REPLY. */
  STREAM_IN_USE: 8,
  /** Data behind a FIN. */
  STREAM_ALREADY_CLOSED: 9,
  /** Never sent here. */
  INVALID_CREDENTIALS: 10,
  /** A frame that cannot be held. */
  FRAME_TOO_LARGE: 11,
} as const;

/** Bytes of the head of every frame. */
export const HEAD_SIZE = 8;

/** The most that a frame can carry behind its head, in bytes. */
export const MAX_LENGTH = (1 << 24) - 1;

/** The highest stream id. */
export const MAX_STREAM_ID = 0x7fff_ffff;

/** The head of a DATA frame of `length` bytes (section 2.2.2). */
export function encodeDataHead(streamId: number, length: number, fin: boolean): Uint8Array {
  const head = new Uint8Array(HEAD_SIZE);
  const view = new DataView(head.buffer);
  view.setUint32(0, streamId);
  view.setUint32(4, length);
  head[4] = fin ? Flag.FIN : 0;
  return head;
}

/** A SYN_STREAM of priority 0 without an associated stream (section 2.6.1). */
export function encodeSynStream(streamId: number, block: Uint8Array, fin: boolean): Uint8Array {
  const frame = control(FrameType.SYN_STREAM, fin ? Flag.FIN : 0, 10 + block.length);
  new DataView(frame.buffer).setUint32(HEAD_SIZE, streamId);
  frame.set(block, HEAD_SIZE + 10);
  return frame;
}

/** A SYN_REPLY (section 2.6.2). */
export function encodeSynReply(streamId: number, block: Uint8Array, fin: boolean): Uint8Array {
  const frame = control(FrameType.SYN_REPLY, fin ? Flag.FIN : 0, 4 + block.length);
  new DataView(frame.buffer).setUint32(HEAD_SIZE, streamId);
  frame.set(block, HEAD_SIZE + 4);
  return frame;
}

/** A RST_STREAM (section 2.6.3); `status` is one of {@linkcode ResetStatus}. */
export function encodeRstStream(streamId: number, status: number): Uint8Array {
  return pair(FrameType.RST_STREAM, streamId, status);
}

/** A PING (section 2.6.5). */
export function encodePing(id: number): Uint8Array {
  const frame = control(FrameType.PING, 0, 4);
  new DataView(frame.buffer).setUint32(HEAD_SIZE, id);
  return frame;
}

/** A GOAWAY (section 2.6.6); `status` 0 is an end in order, 1 a protocol error, 2 an internal error. */
export function encodeGoAway(lastStreamId: number, status: number): Uint8Array {
  return pair(FrameType.GOAWAY, lastStreamId, status);
}

function pair(type: number, first: number, second: number): Uint8Array {
  const frame = control(type, 0, 8);
  const view = new DataView(frame.buffer);
  view.setUint32(HEAD_SIZE, first);
  view.setUint32(HEAD_SIZE + 4, second);
  return frame;
}

/** A control frame with its head filled in (section 2.2.1). */
function control(type: number, flags: number, length: number): Uint8Array<ArrayBuffer> {
  if (length > MAX_LENGTH) throw new RangeError(`a SPDY control frame holds at most ${MAX_LENGTH} bytes`);
  const frame = new Uint8Array(HEAD_SIZE + length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, 0x8003_0000 | type);
  view.setUint32(4, length);
  frame[4] = flags;
  return frame;
}
