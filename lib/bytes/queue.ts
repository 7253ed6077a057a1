/**
 * A byte queue with a bound, one writer and one reader.
 *
 * @module
 */

/** Options of a {@linkcode ByteQueue}. */
export interface ByteQueueOptions {
  /** From this many queued bytes on, {@linkcode ByteQueue.write} waits. Default 256 KiB. */
  readonly highWaterMark?: number;
}

/**
 * A first-in, first-out queue of bytes between one writer and one reader.
 *
 * It takes any chunk, then makes the writer wait until the reader has brought it below
 * its bound: at most the bound plus one chunk is ever held. Chunks go in without a
 * copy and come out copied into the reader's buffer, several small ones at once.
 *
 * @example
 * ```ts
 * import { ByteQueue } from "./queue.ts";
 *
 * const queue = new ByteQueue();
 * await queue.write(new TextEncoder().encode("hello"));
 * queue.close();
 * const buffer = new Uint8Array(16);
 * const n = await queue.read(buffer); // 5, and null the next time
 * ```
 */
export class ByteQueue {
  readonly #highWaterMark: number;
  readonly #chunks: Uint8Array[] = [];
  #size = 0;
  #state: "open" | "closed" | "failed" | "cancelled" = "open";
  #reason: unknown;
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;

  /** A queue with the bound that `options` gives. */
  constructor(options: ByteQueueOptions = {}) {
    this.#highWaterMark = options.highWaterMark ?? 256 * 1024;
  }

  /** How many bytes are waiting to be read. */
  get size(): number {
    return this.#size;
  }

  /** Whether the reader has said that it wants no more. */
  get cancelled(): boolean {
    return this.#state === "cancelled";
  }

  /**
   * Adds `chunk`, which must not change afterwards, and waits while the queue is full.
   * What arrives after the reader cancelled is dropped. One call at a time.
   *
   * @throws The reason of {@linkcode ByteQueue.fail}, or a `TypeError` after {@linkcode ByteQueue.close}.
   */
  write(chunk: Uint8Array): Promise<void> | void {
    if (this.#state === "cancelled") return;
    if (this.#state === "failed") throw this.#reason;
    if (this.#state === "closed") {
      throw new TypeError("Cannot write to a closed ByteQueue");
    }
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    this.#notifyReader();
    if (this.#size >= this.#highWaterMark) {
      return new Promise((resolve) => this.#wakeWriter = resolve);
    }
  }

  /** Marks the end: the reader gets what is queued, then `null`. */
  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closed";
    this.#notifyReader();
  }

  /** Ends with an error: the reader gets what is queued, then `reason` is thrown. */
  fail(reason: unknown): void {
    if (this.#state !== "open") return;
    this.#state = "failed";
    this.#reason = reason;
    this.#notifyReader();
    this.#notifyWriter();
  }

  /** The reader wants no more: drops what is queued and frees the writer. */
  cancel(): void {
    if (this.#state === "closed" || this.#state === "open") {
      this.#state = "cancelled";
    }
    this.#chunks.length = 0;
    this.#size = 0;
    this.#notifyReader();
    this.#notifyWriter();
  }

  /**
   * Fills `into` with as much as is queued, waiting for at least one byte. One call at a time.
   *
   * @returns How many bytes, or `null` at the end.
   * @throws The reason of {@linkcode ByteQueue.fail}.
   */
  async read(into: Uint8Array): Promise<number | null> {
    while (this.#size === 0) {
      if (this.#state === "failed") throw this.#reason;
      if (this.#state !== "open") return null;
      await new Promise<void>((resolve) => this.#wakeReader = resolve);
    }
    let filled = 0;
    let taken = 0;
    while (filled < into.length) {
      const chunk = this.#chunks[taken];
      if (chunk === undefined) break;
      const room = into.length - filled;
      if (chunk.length > room) {
        into.set(chunk.subarray(0, room), filled);
        this.#chunks[taken] = chunk.subarray(room);
        filled += room;
      } else {
        into.set(chunk, filled);
        filled += chunk.length;
        taken++;
      }
    }
    this.#chunks.splice(0, taken);
    this.#size -= filled;
    if (this.#size < this.#highWaterMark) this.#notifyWriter();
    return filled;
  }

  /**
   * The reading side as a Web Stream of bytes (with BYOB readers). Cancelling it
   * cancels the queue. Use either this or {@linkcode ByteQueue.read}.
   */
  readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      type: "bytes",
      pull: async (controller) => {
        const request = controller.byobRequest;
        if (request?.view) {
          const view = request.view;
          const n = await this.read(
            new Uint8Array(view.buffer, view.byteOffset, view.byteLength),
          );
          if (n === null) controller.close();
          request.respond(n ?? 0);
          return;
        }
        if (this.#size === 0) {
          const probe = await this.read(new Uint8Array(0));
          if (probe === null) return controller.close();
        }
        const chunk = new Uint8Array(Math.min(this.#size, MAX_CHUNK));
        await this.read(chunk);
        controller.enqueue(chunk);
      },
      cancel: () => this.cancel(),
    }, { highWaterMark: 0 });
  }

  #notifyReader(): void {
    this.#wakeReader?.();
    this.#wakeReader = undefined;
  }

  #notifyWriter(): void {
    this.#wakeWriter?.();
    this.#wakeWriter = undefined;
  }
}

/** The largest chunk that a Web Stream hands out, in bytes. */
const MAX_CHUNK = 64 * 1024;
