/**
 * Recordings of what real Kubernetes peers put on the wire, as test vectors for both sides.
 *
 * `NAME.jsonl` holds one case. Its first line tells who spoke with whom and how the client ended; each further line
 * holds bytes that one side sent, or the end of that direction, in the order seen by a proxy between the two
 * (inside TLS; line boundaries mean nothing).
 *
 * HTTP heads and WebSocket frames are parsed here by the RFCs, without podwire's parsers.
 *
 * @module
 */
import { concat } from "../../lib/bytes/mod.ts";

/** Which side sent something. */
export type Side = "client" | "server";

/** The first line of a recording. */
export interface RecordingInfo {
  /** What the case is about. */
  readonly case: string;
  /** The client: `kubectl 1.36.3`, `client-node 2.0.1`, `own client` … */
  readonly client: string;
  /** API server and node, `default/node1`. */
  readonly row: string;
  /** What was run. */
  readonly command: string;
  /** The client's exit code and output. */
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
  /** How many connections there are. */
  readonly connections: number;
  readonly note?: string;
}

/** Bytes that one side sent, or the end of its direction. */
export interface RecordedLine {
  readonly side: Side;
  /** Milliseconds after the first byte of the file. */
  readonly ms: number;
  /** The bytes; empty for an end. */
  readonly bytes: Uint8Array;
  /** How the direction ended: `close-notify`, `fin`, `reset`, `not-delivered: …`. */
  readonly event?: string;
}

/** One recorded case. */
export interface Recording {
  readonly name: string;
  readonly info: RecordingInfo;
  /** The lines of each connection, in order. */
  readonly connections: ReadonlyArray<readonly RecordedLine[]>;
}

const FOLDER = new URL("./", import.meta.url);

/** The names of all recordings, sorted. */
export async function recordingNames(): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(FOLDER)) {
    if (name.endsWith(".jsonl")) names.push(name.slice(0, -".jsonl".length));
  }
  return names.sort();
}

/** Reads a recording. */
export async function loadRecording(name: string): Promise<Recording> {
  const text = await Deno.readTextFile(new URL(`${name}.jsonl`, FOLDER));
  const [info, ...lines] = text.trim().split("\n").map((line) => JSON.parse(line));
  const connections = Array.from(
    { length: info.connections },
    (_, conn) =>
      lines.filter((line) => line.conn === conn).map((line): RecordedLine => ({
        side: line.dir,
        ms: line.ms,
        bytes: Uint8Array.fromHex(line.hex ?? ""),
        ...(line.event !== undefined && { event: line.event }),
      })),
  );
  return { name, info, connections };
}

/** All bytes that `side` sent. */
export function bytesOf(lines: readonly RecordedLine[], side: Side): Uint8Array {
  return concat(lines.filter((line) => line.side === side).map((line) => line.bytes));
}

/** A request's or a response's start line and header lines (RFC 9112). */
export interface HttpHead {
  readonly startLine: string;
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
}

/** Splits off the HTTP head; `undefined` if it is not complete. */
export function parseHead(bytes: Uint8Array): { head: HttpHead; rest: Uint8Array } | undefined {
  const text = new TextDecoder("latin1").decode(bytes);
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [startLine = "", ...lines] = text.slice(0, end).split("\r\n");
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  return { head: { startLine, headers }, rest: bytes.subarray(end + 4) };
}

/** A head's header lines without those in `without` (lower-case), with lower-case names, sorted. */
export function headerSet(head: HttpHead, without: readonly string[]): string[] {
  return head.headers.map(([name, value]) => [name.toLowerCase(), value])
    .filter(([name]) => !without.includes(name!)).map(([name, value]) => `${name}: ${value}`).sort();
}

/** The value of a head's first header line of that name. */
export function headerValue(head: HttpHead, name: string): string | undefined {
  return head.headers.find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1];
}

/** The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 section 4.2.2). */
export async function acceptOf(key: string): Promise<string> {
  const text = new TextEncoder().encode(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  return new Uint8Array(await crypto.subtle.digest("SHA-1", text)).toBase64();
}

/** One WebSocket frame (RFC 6455 section 5.2). */
export interface Frame {
  readonly fin: boolean;
  readonly rsv: number;
  readonly opcode: number;
  readonly masked: boolean;
  /** Unmasked. */
  readonly payload: Uint8Array;
}

export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

/** Takes frames apart; `rest` is what is not a whole frame. */
export function parseFrames(bytes: Uint8Array): { frames: Frame[]; rest: Uint8Array } {
  const frames: Frame[] = [];
  let at = 0;
  for (;;) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, bytes.length - at);
    if (view.byteLength < 2) break;
    const masked = (view.getUint8(1) & 0x80) !== 0;
    let length = view.getUint8(1) & 0x7f;
    let size = 2;
    if (length === 126) {
      if (view.byteLength < 4) break;
      length = view.getUint16(2);
      size = 4;
    } else if (length === 127) {
      if (view.byteLength < 10) break;
      length = Number(view.getBigUint64(2));
      size = 10;
    }
    const key = at + size;
    if (masked) size += 4;
    if (view.byteLength < size + length) break;
    const payload = bytes.slice(at + size, at + size + length);
    if (masked) { for (let i = 0; i < length; i++) payload[i]! ^= bytes[key + i % 4]!; }
    const first = view.getUint8(0);
    frames.push({ fin: (first & 0x80) !== 0, rsv: first >> 4 & 7, opcode: first & 15, masked, payload });
    at += size + length;
  }
  return { frames, rest: bytes.subarray(at) };
}

/** Builds a frame as a client would: masked, unless `options` say otherwise. */
export function buildFrame(
  opcode: number,
  payload: Uint8Array,
  options: { readonly fin?: boolean; readonly masked?: boolean } = {},
): Uint8Array {
  const { fin = true, masked = true } = options;
  const extended = payload.length > 0xffff ? 8 : payload.length > 125 ? 2 : 0;
  const key = masked ? crypto.getRandomValues(new Uint8Array(4)) : new Uint8Array(0);
  const head = new Uint8Array(2 + extended);
  const view = new DataView(head.buffer);
  view.setUint8(0, (fin ? 0x80 : 0) | opcode);
  view.setUint8(1, (masked ? 0x80 : 0) | (extended === 8 ? 127 : extended === 2 ? 126 : payload.length));
  if (extended === 8) view.setBigUint64(2, BigInt(payload.length));
  if (extended === 2) view.setUint16(2, payload.length);
  const body = masked ? payload.map((byte, i) => byte ^ key[i % 4]!) : payload;
  return concat([head, key, body]);
}

/** What a row of frames says: the data of each channel joined, the Close codes and the Pongs. */
export interface Conversation {
  /** Each channel's data, joined, as one character a byte (latin1). */
  readonly channels: Readonly<Record<number, string>>;
  /** The channels that a v5 close signal ended. */
  readonly closedChannels: readonly number[];
  /** The channel of the first message. */
  readonly firstChannel: number | undefined;
  /** Payloads of Pings and Pongs. */
  readonly pings: readonly string[];
  readonly pongs: readonly string[];
  /** The codes of Close frames; 1005 for one without. */
  readonly closes: readonly number[];
  /** What the order must not break: `data` (any output), then `status` (channel 3), then `close`. */
  readonly order: readonly string[];
}

/** Reads frames as messages of a Kubernetes subprotocol; a base64 one starts each message with a digit. */
export function readConversation(frames: readonly Frame[], protocol: string): Conversation {
  const channels: Record<number, string> = {};
  const closedChannels: number[] = [];
  const pings: string[] = [];
  const pongs: string[] = [];
  const closes: number[] = [];
  const order: string[] = [];
  let firstChannel: number | undefined;
  let message = "";
  for (const { opcode, payload, fin } of frames) {
    const text = new TextDecoder("latin1").decode(payload);
    if (opcode === Opcode.PING) pings.push(text);
    else if (opcode === Opcode.PONG) pongs.push(text);
    else if (opcode === Opcode.CLOSE) {
      closes.push(payload.length < 2 ? 1005 : payload[0]! << 8 | payload[1]!);
      order.push("close");
    } else {
      message += text;
      if (!fin) continue;
      const whole = message;
      message = "";
      if (whole === "") continue;
      const isBase64 = protocol.includes("base64");
      const channel = isBase64 ? Number(whole[0]) : whole.charCodeAt(0);
      const data = isBase64 ? atob(whole.slice(1)) : whole.slice(1);
      firstChannel ??= channel;
      if (channel === 255) closedChannels.push(data.charCodeAt(0));
      else channels[channel] = (channels[channel] ?? "") + data;
      if (data !== "") order.push(channel === 3 ? "status" : "data");
    }
  }
  const steps = order.filter((step, i) => step !== order[i - 1]);
  return { channels, closedChannels, firstChannel, pings, pongs, closes, order: steps };
}
