/**
 * Input for a decoder that gives out its own buffer to read into.
 *
 * @module
 */
import { assert } from "@std/assert";

/** Bytes, and how they are cut. */
export interface Pieces {
  readonly bytes: Uint8Array;
  /** The length of each piece. */
  readonly pieces: readonly number[];
}

/** Hands a decoder its input piece by piece; `take` takes what it has decoded. Asserts that its buffer stays a small multiple of what arrived. */
export function feed(
  decoder: { buffer(): Uint8Array; advance(n: number): void },
  { bytes, pieces }: Pieces,
  take: () => void,
): void {
  let at = 0;
  for (const piece of pieces) {
    for (let left = piece; left > 0;) {
      const space = decoder.buffer();
      assert(space.length > 0, "no space to read into");
      const limit = 2 * Math.max(256 * 1024, at);
      assert(space.buffer.byteLength <= limit, `${space.buffer.byteLength} bytes of buffer for ${at} bytes`);
      const n = Math.min(left, space.length);
      space.set(bytes.subarray(at, at + n));
      decoder.advance(n);
      at += n;
      left -= n;
      take();
    }
  }
}
