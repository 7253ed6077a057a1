/**
 * Random input that a seed gives again.
 *
 * @module
 */

/** A small generator of random numbers (mulberry32): the same seed gives the same input. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A number from 0 up to, not including, `end`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return Math.floor(((x ^ (x >>> 14)) >>> 0) / 2 ** 32 * end);
  }

  /** One of `choices`. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  /** `true` once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  /** `size` random bytes. */
  bytes(size: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length: size }, () => this.below(256));
  }
}

/** Changes up to three of the first 400 bytes. */
export function mutate(random: Random, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  for (let i = random.below(3); i >= 0; i--) {
    const at = random.below(Math.min(bytes.length, 400));
    bytes[at] = random.oneIn(2) ? random.below(256) : bytes[at]! ^ (1 << random.below(8));
  }
}
