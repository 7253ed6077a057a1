/**
 * Two connected ends in memory.
 *
 * @module
 */
import type { Duplex } from "./duplex.ts";
import { PodwireError } from "./errors.ts";
import { ByteQueue, type ByteQueueOptions } from "./queue.ts";

/**
 * Two connected {@linkcode Duplex} ends: what one writes, the other reads. Each
 * direction holds at most the queue's capacity.
 *
 * @example
 * ```ts
 * import { duplexPair } from "./pair.ts";
 *
 * const [left, right] = duplexPair();
 * await left.write(new Uint8Array([1, 2, 3]));
 * await left.closeWrite();
 * const buffer = new Uint8Array(8);
 * await right.read(buffer); // 3
 * await right.read(buffer); // null
 * ```
 */
export function duplexPair(options: ByteQueueOptions = {}): [Duplex, Duplex] {
  const there = new ByteQueue(options);
  const back = new ByteQueue(options);
  return [new PairEnd(back, there), new PairEnd(there, back)];
}

class PairEnd implements Duplex {
  readonly #incoming: ByteQueue;
  readonly #outgoing: ByteQueue;

  constructor(incoming: ByteQueue, outgoing: ByteQueue) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#incoming.read(into);
  }

  async write(data: Uint8Array): Promise<void> {
    if (this.#outgoing.cancelled) {
      throw new PodwireError("the other end is closed");
    }
    await this.#outgoing.write(data);
  }

  closeWrite(): Promise<void> {
    this.#outgoing.close();
    return Promise.resolve();
  }

  close(): void {
    this.#outgoing.close();
    this.#incoming.fail(new PodwireError("the connection is closed"));
  }
}
