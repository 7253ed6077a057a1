/**
 * From one stream to another, one direction at a time.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";

/**
 * The sizes of buffers, in bytes. A read that fills its buffer makes the next one larger, one that leaves most of it
 * empty makes it smaller: a connection that is waiting holds little, and one that is busy needs few system calls.
 */
const SIZES = [1024, 16 * 1024, 128 * 1024] as const;

/** Unused buffers are kept for the next connection, up to so many of each size. */
const KEPT = [1024, 64, 32] as const;

const free: Uint8Array<ArrayBuffer>[][] = SIZES.map(() => []);

function take(size: number): Uint8Array<ArrayBuffer> {
  return free[size]?.pop() ?? new Uint8Array(SIZES[size] ?? SIZES[0]);
}

function give(size: number, buffer: Uint8Array<ArrayBuffer>): void {
  const kept = free[size];
  if (kept && kept.length < (KEPT[size] ?? 0)) kept.push(buffer);
}

/**
 * Passes on what `from` says until it ends its direction, then ends that of `to`. The next bytes are read when the last ones
 * have been taken: a slow reader slows the sender, and nothing piles up in between.
 *
 * @param passed Told how many bytes went through, each time.
 * @returns Whether it went well; else `from` has broken, or `to` takes no more, which may still have something to say.
 */
export async function pump(from: Duplex, to: Duplex, passed: (bytes: number) => void): Promise<boolean> {
  let size = 0;
  let buffer = take(size);
  for (;;) {
    let n: number | null;
    try {
      n = await from.read(buffer);
    } catch {
      await endWrite(to);
      return false; // The buffer may still be in use: it is not given back.
    }
    if (n === null) break;
    try {
      await to.write(n === buffer.length ? buffer : buffer.subarray(0, n));
    } catch {
      return false;
    }
    passed(n);
    const next = n === buffer.length
      ? Math.min(size + 1, SIZES.length - 1)
      : n <= (SIZES[size - 1] ?? 0)
      ? size - 1
      : size;
    if (next === size) continue;
    give(size, buffer);
    buffer = take(size = next);
  }
  give(size, buffer);
  return await endWrite(to);
}

async function endWrite(to: Duplex): Promise<boolean> {
  try {
    await to.closeWrite();
    return true;
  } catch {
    return false;
  }
}

/** Takes what `from` still says, for nobody, until it ends or breaks. */
export async function discard(from: Duplex): Promise<void> {
  const buffer = new Uint8Array(SIZES[1]);
  try {
    while (await from.read(buffer) !== null);
  } catch {
    // It is over either way.
  }
}
