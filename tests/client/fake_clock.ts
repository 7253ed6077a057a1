/**
 * Time that passes only when a test lets it: what waits for half a minute is tested in a few milliseconds, and surely.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { setImmediate } from "node:timers";

interface Timer {
  readonly callback: () => void;
  at: number;
  /** Of an interval. */
  readonly every: number | undefined;
}

/** What the time is made of outside the tests. */
const real = { setTimeout, clearTimeout, setInterval, clearInterval };
const realNow = performance.now;

/** Numbers of timers that no real one has. */
const FIRST_ID = 1e12;

/**
 * Replaces `setTimeout`, `setInterval`, their ends and `performance.now()` until it is disposed of. Nothing may be waiting
 * for them then. Sockets and files keep to the real time.
 */
export class FakeClock implements Disposable {
  readonly #timers = new Map<number, Timer>();
  #now = 1_000_000;
  #nextId = FIRST_ID;

  /** Stops the time. */
  constructor() {
    const add = (callback: () => void, delay = 0, repeat: boolean) => {
      const every = repeat ? Math.max(1, delay) : undefined;
      this.#timers.set(this.#nextId, { callback, at: this.#now + Math.max(0, delay), every });
      return this.#nextId++;
    };
    const remove = (end: (id?: number) => void) => (id?: number) => {
      if (id === undefined || !this.#timers.delete(id)) end(id);
    };
    Object.assign(globalThis, {
      setTimeout: (callback: () => void, delay?: number) => add(callback, delay, false),
      setInterval: (callback: () => void, delay?: number) => add(callback, delay, true),
      clearTimeout: remove(real.clearTimeout),
      clearInterval: remove(real.clearInterval),
    });
    performance.now = () => this.#now;
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** How much time has passed, in milliseconds. */
  get now(): number {
    return this.#now;
  }

  /** Lets everything run that does not wait for time. */
  async settle(): Promise<void> {
    for (let i = 0; i < 3; i++) await new Promise<void>((resolve) => setImmediate(resolve));
  }

  /** Lets so much time pass, and whatever is due meanwhile happen in its order. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    await this.settle();
    for (let due = this.#due(end); due; due = this.#due(end)) {
      const [id, timer] = due;
      this.#now = Math.max(this.#now, timer.at);
      if (timer.every === undefined) this.#timers.delete(id);
      else timer.at += timer.every;
      timer.callback();
      await this.settle();
    }
    this.#now = end;
  }

  /** Brings the real time back. */
  [Symbol.dispose](): void {
    Object.assign(globalThis, real);
    performance.now = realNow;
    assertEquals(this.#timers.size, 0, "timers are left");
  }

  #due(end: number): [number, Timer] | undefined {
    const [first] = [...this.#timers].sort(([, a], [, b]) => a.at - b.at);
    return first && first[1].at <= end ? first : undefined;
  }
}
