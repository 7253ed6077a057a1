/**
 * What a WebSocket frame is made of: opcodes, masking, the payload of a Close frame
 * (RFC 6455 section 5). Pure: no I/O, no timers.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";

/** Which end of the connection: a client masks what it sends, a server does not (RFC 6455 section 5.1). */
export type Role = "client" | "server";

/** The opcodes of RFC 6455 section 5.2. */
export const Opcode = {
  CONTINUATION: 0x0,
  TEXT: 0x1,
  BINARY: 0x2,
  CLOSE: 0x8,
  PING: 0x9,
  PONG: 0xa,
} as const;

/** One of the opcodes of RFC 6455 section 5.2. */
export type Opcode = typeof Opcode[keyof typeof Opcode];

/** The status codes of RFC 6455 section 7.4.1 that podwire itself sends or reports. */
export const CloseCode = {
  /** The purpose is fulfilled. */
  NORMAL: 1000,
  /** A frame broke the protocol. */
  PROTOCOL_ERROR: 1002,
  /** Reported where the Close frame had no code; never sent. */
  NO_STATUS: 1005,
  /** Text that is no UTF-8. */
  INVALID_PAYLOAD: 1007,
  /** A message over the limit. */
  TOO_BIG: 1009,
} as const;

/** The largest payload of a Close, Ping or Pong frame, in bytes (RFC 6455 section 5.5). */
export const MAX_CONTROL_PAYLOAD = 125;

/** The peer broke RFC 6455; the connection has failed. */
export class WebSocketProtocolError extends PodwireError {
  /** The class's name. */
  override name = "WebSocketProtocolError";
  /** The status code that tells the peer: 1002, 1007 or 1009. */
  readonly closeCode: number;

  /** An error that is told to the peer with `closeCode`. */
  constructor(closeCode: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.closeCode = closeCode;
  }
}

/** Whether `code` may stand in a Close frame (RFC 6455 section 7.4 and the IANA registry). */
export function isCloseCode(code: number): boolean {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The text of a message or a reason.
 *
 * @throws {WebSocketProtocolError} With code 1007 if `bytes` is no UTF-8.
 */
export function decodeText(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch (cause) {
    throw new WebSocketProtocolError(CloseCode.INVALID_PAYLOAD, "text of the peer is not valid UTF-8", { cause });
  }
}

/**
 * The payload of a Close frame; none at all for code 1005.
 *
 * @throws {RangeError} If the code may not be sent or the reason is longer than 123 bytes.
 */
export function encodeClosePayload(closeCode: number, reason: string): Uint8Array {
  if (closeCode === CloseCode.NO_STATUS && reason === "") return new Uint8Array(0);
  if (!isCloseCode(closeCode)) throw new RangeError(`Cannot send a Close frame with code ${closeCode}`);
  const text = new TextEncoder().encode(reason);
  if (text.length > MAX_CONTROL_PAYLOAD - 2) {
    throw new RangeError(`Cannot send a Close frame with a reason of ${text.length} bytes: 123 is the most`);
  }
  const payload = new Uint8Array(2 + text.length);
  payload[0] = closeCode >> 8;
  payload[1] = closeCode & 0xff;
  payload.set(text, 2);
  return payload;
}

/**
 * Masks or unmasks `bytes` from `start` to `end` in place (RFC 6455 section 5.3).
 *
 * @param key The four bytes of the masking key.
 * @param phase How many bytes of the payload came before `start`.
 */
export function applyMask(bytes: Uint8Array, start: number, end: number, key: Uint8Array, phase: number): void {
  let i = start;
  if (end - start >= WORDS_FROM) {
    while ((bytes.byteOffset + i) % 4 !== 0) {
      bytes[i]! ^= key[phase++ & 3]!;
      i++;
    }
    // Four bytes at a time: this is where a client's CPU goes. The word is built byte by byte, so that
    // it has the machine's own byte order.
    for (let j = 0; j < 4; j++) keyBytes[j] = key[(phase + j) & 3]!;
    const word = keyWord[0]!;
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset + i, (end - i) >> 2);
    const count = words.length;
    for (let j = 0; j < count; j++) words[j]! ^= word;
    i += count * 4;
  }
  for (; i < end; i++) bytes[i]! ^= key[phase++ & 3]!;
}

/** From this many bytes on, words pay. */
const WORDS_FROM = 32;
const keyBytes = new Uint8Array(4);
const keyWord = new Uint32Array(keyBytes.buffer);
