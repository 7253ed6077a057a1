/**
 * The chunked transfer coding, as it is written (RFC 9112 section 7.1).
 *
 * @module
 */
import { concat } from "../bytes/mod.ts";

const CRLF = Uint8Array.of(0x0d, 0x0a);

/** The end of a body, without trailers. */
export const LAST_CHUNK: Uint8Array = new TextEncoder().encode("0\r\n\r\n");

/** Bytes as one chunk; there must be some. */
export function toChunk(data: Uint8Array): Uint8Array {
  const size = new TextEncoder().encode(`${data.length.toString(16)}\r\n`);
  return concat([size, data, CRLF]);
}
