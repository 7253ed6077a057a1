/**
 * What the other side of a connection says, as it comes.
 *
 * @module
 */
import { concat } from "../../lib/bytes/mod.ts";

/** Collects what `read` gives until the end; a break is an end. */
export class Received {
  /** All of it, at the end. */
  readonly whole: Promise<Uint8Array>;
  readonly #parts: Uint8Array[] = [];
  #arrived = Promise.withResolvers<void>();
  #hasEnded = false;

  constructor(read: () => Promise<Uint8Array | undefined>) {
    this.whole = this.#collect(read);
  }

  /** Whether there is nothing more to come. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Waits until `isEnough` is content with what has come so far, or the end. */
  async until(isEnough: (bytes: Uint8Array) => boolean): Promise<void> {
    while (!this.#hasEnded && !isEnough(concat(this.#parts))) await this.#arrived.promise;
  }

  async #collect(read: () => Promise<Uint8Array | undefined>): Promise<Uint8Array> {
    for (let part; (part = await read().catch(() => undefined));) {
      this.#parts.push(part);
      this.#arrived.resolve();
      this.#arrived = Promise.withResolvers();
    }
    this.#hasEnded = true;
    this.#arrived.resolve();
    return concat(this.#parts);
  }
}
