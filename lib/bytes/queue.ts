/**
 * A byte queue with a bound, one writer and one reader.
 *
 * @module
 */

/** Options of a {@linkcode ByteQueue}. */
export interface ByteQueueOptions {
  /** The most that the queue holds, in bytes. Default 256 KiB. */
  readonly capacity?: number;
}

/**
 * A first-in, first-out queue of bytes between one writer and one reader.
 *
 * It is a ring: what is written is copied in, what is read is copied out, and nothing is
 * allocated in between, however much passes. The ring grows to its capacity with what waits in it. A writer
 * waits while it is full, a reader while it is empty.
 *
 * @example
 * ```ts
 * import { ByteQueue } from "./queue.ts";
 *
 * const queue = new ByteQueue();
 * await queue.write(new TextEncoder().encode("hello"));
 * queue.close();
 * const buffer = new Uint8Array(16);
 * await queue.read(buffer); // 5
 * await queue.read(buffer); // null
 * ```
 */
export class ByteQueue {
  readonly #capacity: number;
  /** Allocated by the first write: many queues never see one. */
  #ring: Uint8Array | undefined;
  #start = 0;
  #size = 0;
  #state: "open" | "closed" | "failed" | "cancelled" = "open";
  #reason: unknown;
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;

  /** An empty queue. */
  constructor(options: ByteQueueOptions = {}) {
    this.#capacity = options.capacity ?? DEFAULT_CAPACITY;
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
   * Copies `data` into the queue. Returns nothing if there was room, else a promise that
   * resolves when all of it is in; `data` must not change before. What comes after the reader cancelled is
   * dropped. One call at a time.
   *
   * @throws The reason of {@linkcode ByteQueue.fail}, or a `TypeError` after {@linkcode ByteQueue.close}.
   */
  write(data: Uint8Array): Promise<void> | void {
    const taken = this.#put(data);
    if (taken < data.length) return this.#writeRest(data.subarray(taken));
  }

  /** Marks the end: the reader gets what is queued, then `null`. */
  close(): void {
    this.#end("closed");
  }

  /** Ends with an error: the reader gets what is queued, then `reason` is thrown. */
  fail(reason: unknown): void {
    if (this.#state === "open") this.#reason = reason;
    this.#end("failed");
  }

  /** The reader wants no more: drops what is queued and frees the writer. */
  cancel(): void {
    this.#end("cancelled");
    this.#size = 0;
    this.#ring = undefined;
  }

  /**
   * Waits until there is something to read, or the end.
   *
   * @returns Whether there is something to read.
   * @throws The reason of {@linkcode ByteQueue.fail}.
   */
  async ready(): Promise<boolean> {
    while (this.#size === 0 && this.#state === "open") {
      await new Promise<void>((resolve) => this.#wakeReader = resolve);
    }
    if (this.#size === 0 && this.#state === "failed") throw this.#reason;
    return this.#size > 0;
  }

  /**
   * Fills `into` with as much as is queued, waiting for at least one byte. One call at a time.
   *
   * @returns How many bytes, or `null` at the end.
   * @throws The reason of {@linkcode ByteQueue.fail}.
   */
  async read(into: Uint8Array): Promise<number | null> {
    await this.ready();
    return this.#size > 0 ? this.#take(into) : null; // Somebody else may have cancelled since it was ready.
  }

  /**
   * What can be read without a copy: a view of the oldest bytes, empty if there are none. It stays as it is until
   * {@linkcode ByteQueue.consume}.
   */
  peek(): Uint8Array {
    if (!this.#ring) return NOTHING;
    return this.#ring.subarray(this.#start, Math.min(this.#start + this.#size, this.#ring.length));
  }

  /** Removes the oldest `count` bytes, at most as many as {@linkcode ByteQueue.peek} gave. */
  consume(count: number): void {
    if (!this.#ring) return; // Cancelled meanwhile.
    this.#size -= count;
    this.#start = this.#size === 0 ? 0 : (this.#start + count) % this.#ring.length;
    this.#notify();
  }

  /**
   * The reading side as a Web Stream of bytes (with BYOB readers). Cancelling it
   * cancels the queue. Use either this or {@linkcode ByteQueue.read}.
   */
  readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      type: "bytes",
      pull: async (controller) => {
        await this.ready();
        const view = controller.byobRequest?.view;
        if (this.#size === 0) {
          controller.close();
          controller.byobRequest?.respond(0);
        } else if (view) {
          const into = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
          controller.byobRequest?.respond(this.#take(into));
        } else {
          const chunk = new Uint8Array(Math.min(this.#size, MAX_CHUNK));
          this.#take(chunk);
          controller.enqueue(chunk);
        }
      },
      cancel: () => this.cancel(),
    }, { highWaterMark: 0 });
  }

  #end(state: "closed" | "failed" | "cancelled"): void {
    // Who has cancelled has no use for an error, and an end can still be cancelled.
    if (this.#state === "open" || this.#state === "closed" && state === "cancelled") this.#state = state;
    this.#notify();
  }

  async #writeRest(data: Uint8Array): Promise<void> {
    for (let written = 0; written < data.length;) {
      await new Promise<void>((resolve) => this.#wakeWriter = resolve);
      written += this.#put(data.subarray(written));
    }
  }

  /** Copies in what there is room for; returns how much. */
  #put(data: Uint8Array): number {
    if (this.#state === "cancelled") return data.length;
    if (this.#state === "failed") throw this.#reason;
    if (this.#state === "closed") throw new TypeError("Cannot write to a closed ByteQueue");
    const ring = this.#makeRoom(data.length);
    const count = Math.min(data.length, ring.length - this.#size);
    const end = (this.#start + this.#size) % ring.length;
    const first = Math.min(count, ring.length - end);
    ring.set(data.subarray(0, first), end);
    ring.set(data.subarray(first, count), 0);
    this.#size += count;
    if (count > 0) this.#notify();
    return count;
  }

  /** Copies out what there is, at most `into.length` bytes; returns how much. */
  #take(into: Uint8Array): number {
    const ring = this.#ring!;
    const count = Math.min(into.length, this.#size);
    const first = Math.min(count, ring.length - this.#start);
    into.set(ring.subarray(this.#start, this.#start + first));
    into.set(ring.subarray(0, count - first), first);
    this.consume(count);
    return count;
  }

  /** The ring, with room for `count` bytes more if its capacity allows that. */
  #makeRoom(count: number): Uint8Array {
    const ring = this.#ring ?? NOTHING;
    const needed = this.#size + count;
    if (needed <= ring.length || ring.length === this.#capacity) return ring;
    const grown = new Uint8Array(Math.min(this.#capacity, Math.max(MIN_RING, 2 ** Math.ceil(Math.log2(needed)))));
    const first = Math.min(this.#size, ring.length - this.#start);
    grown.set(ring.subarray(this.#start, this.#start + first));
    grown.set(ring.subarray(0, this.#size - first), first);
    this.#start = 0;
    return this.#ring = grown;
  }

  /** Wakes whoever waits; they look for themselves. */
  #notify(): void {
    const [reader, writer] = [this.#wakeReader, this.#wakeWriter];
    this.#wakeReader = this.#wakeWriter = undefined;
    reader?.();
    writer?.();
  }
}

/** What a queue holds by default, in bytes: eight of Kubernetes' largest messages. */
export const DEFAULT_CAPACITY = 256 * 1024;

/** What a ring begins with, in bytes. */
const MIN_RING = 4 * 1024;

const NOTHING = new Uint8Array(0);

/** The largest chunk that a Web Stream hands out, in bytes. */
const MAX_CHUNK = 64 * 1024;
