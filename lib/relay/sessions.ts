/**
 * The connections or flows of one relay: how many there may be, and how long they may be silent.
 *
 * @module
 */

/** A connection or a flow of datagrams. */
export interface Session {
  /** When something last went through it, by `performance.now()`. */
  touched: number;
  /** Ends it at once. */
  end(): void;
}

/** The open sessions of a relay. */
export class Sessions {
  readonly #most: number;
  readonly #idle: number;
  readonly #open = new Set<Session>();
  readonly #onIdle: () => void;
  #sweeper: ReturnType<typeof setInterval> | undefined;

  /**
   * At most `most` sessions, each ended after `idle` milliseconds without a byte, which `onIdle` is told; 0 never ends one.
   */
  constructor(most: number, idle: number, onIdle: () => void) {
    this.#most = most;
    this.#idle = idle;
    this.#onIdle = onIdle;
  }

  /** How many there are. */
  get size(): number {
    return this.#open.size;
  }

  /** Whether there is no room for another one. */
  get full(): boolean {
    return this.#open.size >= this.#most;
  }

  /** Adds one. */
  add(session: Session): void {
    this.#open.add(session);
    if (this.#idle > 0) this.#sweeper ??= setInterval(() => this.#sweep(), Math.max(20, this.#idle / 4));
  }

  /** Takes one out. */
  remove(session: Session): void {
    this.#open.delete(session);
    if (this.#open.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  /** Ends the one that has been silent for the longest, if that is `least` milliseconds or more. */
  evict(least: number): boolean {
    let oldest: Session | undefined;
    for (const session of this.#open) if (!oldest || session.touched < oldest.touched) oldest = session;
    if (!oldest || performance.now() - oldest.touched < least) return false;
    this.#end(oldest);
    return true;
  }

  /** Ends all. */
  endAll(): void {
    for (const session of [...this.#open]) this.#end(session);
  }

  #sweep(): void {
    const limit = performance.now() - this.#idle;
    for (const session of [...this.#open]) {
      if (session.touched > limit) continue;
      this.#onIdle();
      this.#end(session);
    }
  }

  #end(session: Session): void {
    this.remove(session);
    session.end();
  }
}
