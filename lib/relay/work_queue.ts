/**
 * Work that is named by keys: each key is worked on by one at a time, few keys at once, and a failure is tried again, later
 * each time (client-go `util/workqueue`).
 *
 * @module
 */

/** How a {@linkcode WorkQueue} works. */
export interface WorkQueueOptions {
  /** How many keys at once. */
  readonly concurrency: number;
  /** Is told of a failure, and when its key is tried again, in milliseconds from now. */
  readonly onFailure: (key: string, error: unknown, delay: number) => void;
}

/** A queue of keys. A key that is added while it waits is worked on once; while it is worked on, once more. */
export class WorkQueue {
  readonly #work: (key: string) => Promise<void>;
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  readonly #active = new Map<string, Promise<void>>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  #closed = false;

  /** A queue whose keys `work` works on. */
  constructor(work: (key: string) => Promise<void>, options: WorkQueueOptions) {
    this.#work = work;
    this.#options = options;
  }

  /** Adds a key, now, also if it waits to be tried again. */
  add(key: string): void {
    if (this.#closed) return;
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    this.#waiting.add(key);
    this.#start();
  }

  /** Takes no more keys, forgets those that wait, and resolves when the work under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#waiting.clear();
    await Promise.all(this.#active.values());
  }

  #start(): void {
    for (const key of this.#waiting) {
      if (this.#active.size >= this.#options.concurrency) return;
      if (this.#active.has(key)) continue;
      this.#waiting.delete(key);
      this.#active.set(key, this.#run(key));
    }
  }

  async #run(key: string): Promise<void> {
    try {
      await Promise.resolve(); // The caller has to be in the map first.
      await this.#work(key);
      this.#failures.delete(key);
    } catch (error) {
      if (!this.#closed) this.#fail(key, error);
    }
    this.#active.delete(key);
    this.#start();
  }

  #fail(key: string, error: unknown): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const delay = Math.min(FIRST_DELAY * 2 ** failures, MAX_DELAY);
    this.#options.onFailure(key, error, delay);
    if (this.#waiting.has(key)) return; // Something changed meanwhile: at once.
    this.#timers.set(key, setTimeout(() => this.add(key), delay));
  }
}

/** Before a key is tried again, in milliseconds: twice as long each time, up to the second. */
const FIRST_DELAY = 200;
const MAX_DELAY = 60_000;
