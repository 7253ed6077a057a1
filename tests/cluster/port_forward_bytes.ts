/**
 * What the server in the pod and its clients have to agree on.
 *
 * @module
 */

/** The ports of `port_forward_server.ts`. */
export const PORTS = {
  /** Sends back what it gets. */
  echo: 7001,
  /** Answers a line with a line, as HTTP/1.0, and ends. */
  fetch: 7002,
  /** `COUNT PAUSE`: sends so many lines, with so many milliseconds between them, and ends. */
  drip: 7003,
  /** `SIZE`: sends so many bytes of {@linkcode pattern}, and ends. */
  source: 7004,
  /** `SIZE`: takes so many bytes, answers with their SHA-256, and ends. */
  sink: 7005,
  /** Says `held`, and nothing more as long as the client stays. */
  hold: 7006,
  /** Answers the first bytes with 1000 bytes of {@linkcode pattern} and a reset. */
  reset: 7007,
  /** Nobody listens here. */
  refused: 7999,
} as const;

/** One period of the bytes that are sent. Its odd size keeps it from lining up with any buffer. */
export const PATTERN: Uint8Array<ArrayBuffer> = makePattern(1024 * 1024 - 3);

/** `size` bytes: {@linkcode PATTERN} again and again. */
export function* pattern(size: number): Generator<Uint8Array<ArrayBuffer>> {
  for (let left = size; left > 0; left -= PATTERN.length) yield PATTERN.subarray(0, Math.min(left, PATTERN.length));
}

/** The same bytes everywhere (xorshift32). */
function makePattern(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let state = 2463534242;
  for (let i = 0; i < size; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
}
