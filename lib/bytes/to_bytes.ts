/**
 * What callers hand over as bytes.
 *
 * @module
 */

/**
 * `chunk` as bytes, without a copy: what every sink of Deno's takes. A stream's type does not keep other things out,
 * and a `length` that means something else would cost bytes in silence.
 *
 * @throws {TypeError} If it is neither an `ArrayBuffer` nor a view of one.
 *
 * @example
 * ```ts
 * import { toBytes } from "./to_bytes.ts";
 *
 * toBytes(Uint16Array.of(1, 2)).length; // 4
 * ```
 */
export function toBytes(chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk;
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (isArrayBuffer(chunk)) return new Uint8Array(chunk);
  throw new TypeError("Expected ArrayBuffer or ArrayBufferView");
}

/** Also one of another realm, such as a frame's. */
function isArrayBuffer(chunk: unknown): chunk is ArrayBuffer {
  return Object.prototype.toString.call(chunk) === "[object ArrayBuffer]";
}
