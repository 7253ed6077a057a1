/**
 * Streams over which nothing passes for too long.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";
import type { UpgradableConnection } from "./upgrade.ts";

/** Nothing passed for too long. */
export class IdleError extends PodwireError {
  /** The class's name. */
  override name = "IdleError";
}

/**
 * Serves a connection by `work`, and drops what it is upgraded to once nothing has passed in either direction for `limit` milliseconds.
 * Pings count: a peer that sends any is there.
 */
export async function withIdleLimit(
  connection: UpgradableConnection,
  limit: number,
  work: (connection: UpgradableConnection) => Promise<void>,
): Promise<void> {
  let upgraded: LimitedDuplex | undefined;
  try {
    await work({
      respond: (response) => connection.respond(response),
      body: () => connection.body(),
      upgrade: async (headers) => upgraded = new LimitedDuplex(await connection.upgrade(headers), limit),
    });
  } finally {
    upgraded?.stop();
  }
}

class LimitedDuplex implements Duplex {
  readonly #duplex: Duplex;
  readonly #limit: number;
  #timer: ReturnType<typeof setTimeout>;
  #last = performance.now();
  #idle = false;

  constructor(duplex: Duplex, limit: number) {
    this.#duplex = duplex;
    this.#limit = limit;
    this.#timer = setTimeout(() => this.#check(), limit);
  }

  async read(into: Uint8Array): Promise<number | null> {
    const n = await this.#watch(this.#duplex.read(into));
    this.#last = performance.now();
    return n;
  }

  async write(data: Uint8Array): Promise<void> {
    await this.#watch(this.#duplex.write(data));
    this.#last = performance.now();
  }

  closeWrite(): Promise<void> {
    return this.#duplex.closeWrite();
  }

  close(): void {
    this.#duplex.close();
  }

  /** Watches no longer. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  /** What is under way when the stream is dropped fails, and says why. */
  async #watch<T>(operation: Promise<T>): Promise<T> {
    try {
      return await operation;
    } catch (cause) {
      if (!this.#idle) throw cause;
      throw new IdleError(`nothing has passed for ${this.#limit / 1000} s: the stream was dropped`, { cause });
    }
  }

  #check(): void {
    const left = this.#last + this.#limit - performance.now();
    if (left > 0) {
      this.#timer = setTimeout(() => this.#check(), left);
      return;
    }
    this.#idle = true;
    this.close();
  }
}
