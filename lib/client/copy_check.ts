/**
 * Whether a file in a container is what was copied: by size and by checksums of its segments, so that the container
 * sums up one segment while the next is on its way.
 *
 * @module
 */
import type { Digest } from "./copy_digest.ts";
import type { ContainerShell } from "./copy_shell.ts";

/** The bytes that one checksum is of; a smaller file has one checksum. A multiple of what `dd` is told to read at once. */
export const SEGMENT: number = 32 * 1024 * 1024;

/** The checksums of bytes that come by. */
export class SegmentDigest {
  readonly #make: () => Digest;
  readonly #segment: number;
  readonly #sums: string[] = [];
  #digest: Digest;
  #left: number;

  /** Makes a digest for every `segment` bytes. */
  constructor(make: () => Digest, segment: number) {
    this.#make = make;
    this.#segment = this.#left = segment;
    this.#digest = make();
  }

  /** The checksums of the segments that are complete. */
  get complete(): readonly string[] {
    return this.#sums;
  }

  /** Takes more bytes. */
  update(data: Uint8Array): void {
    let rest = data;
    while (rest.length >= this.#left) {
      this.#digest.update(rest.subarray(0, this.#left));
      rest = rest.subarray(this.#left);
      this.#sums.push(this.#digest.finish());
      this.#digest = this.#make();
      this.#left = this.#segment;
    }
    this.#digest.update(rest);
    this.#left -= rest.length;
  }

  /** All checksums: at least one, the last of what is behind the last whole segment. */
  finish(): readonly string[] {
    if (this.#left < this.#segment || this.#sums.length === 0) this.#sums.push(this.#digest.finish());
    return this.#sums;
  }
}

/** Compares a large file of a container with what is known of it so far. */
export class FileCheck {
  readonly #shell: ContainerShell;
  readonly #name: string;
  readonly #right = new Map<number, Promise<boolean>>();

  /** @param name The file, a byte string. */
  constructor(shell: ContainerShell, name: string) {
    this.#shell = shell;
    this.#name = name;
  }

  /** Has the first segments compared that have not been yet. That they are wrong says nothing so far: they may not be there yet. */
  begin(sums: readonly string[]): void {
    for (let i = this.#right.size; i < sums.length; i++) {
      const right = this.#shell.segmentSum(this.#name, i).then((sum) => sum === sums[i]);
      right.catch(() => {}); // It is compared again.
      this.#right.set(i, right);
    }
  }

  /**
   * Whether the file's first `size` bytes are those of `sums`.
   *
   * @param whole Whether it may have no more of them.
   */
  async holds(sums: readonly string[], size: number, whole: boolean): Promise<boolean> {
    const there = await this.#shell.size(this.#name);
    if (whole ? there !== size : there < size) return false;
    for (const [i, sum] of sums.entries()) {
      if (await this.#right.get(i)?.catch(() => false)) continue;
      if (await this.#shell.segmentSum(this.#name, i) === sum) continue;
      // Behind the last segment's end there may be more by now.
      const end = size - i * this.#shell.segment;
      if (whole || there === size || await this.#shell.segmentSum(this.#name, i, end) !== sum) return false;
    }
    return true;
  }
}
