/**
 * Stands in for `jsr:@std/encoding/base64` where JSR is out of reach.
 *
 * @module
 */

/** Standard base64 with padding of `data` (a string is taken as UTF-8). */
export function encodeBase64(data: ArrayBuffer | Uint8Array | string): string {
  const bytes = typeof data === "string"
    ? new TextEncoder().encode(data)
    : new Uint8Array(data instanceof ArrayBuffer ? data : data.slice());
  let binary = "";
  for (let i = 0; i < bytes.length; i += 0x2000) {
    binary += String.fromCharCode(...bytes.subarray(i, i + 0x2000));
  }
  return btoa(binary);
}

/** The bytes of standard base64 text; throws `TypeError` on any other text. */
export function decodeBase64(b64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(b64), (c) => c.charCodeAt(0));
  } catch (cause) {
    throw new TypeError("Cannot decode input as base64", { cause });
  }
}
