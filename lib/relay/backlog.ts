/**
 * What waits in memory for something slow, and how much of it may.
 *
 * @module
 */

/** What an array costs besides its bytes, about: so that empty datagrams are bounded too. */
const OVERHEAD = 256;

/** Datagrams that wait, bounded in bytes; those of several flows also together. */
export class Backlog {
  readonly #most: number;
  readonly #shared: Backlog | undefined;
  #bytes = 0;
  #datagrams = 0;

  /** At most `most` bytes, which count in `shared` too. */
  constructor(most: number, shared?: Backlog) {
    this.#most = most;
    this.#shared = shared;
  }

  /** Makes room for a datagram of so many bytes, or says `false`: too much waits already. */
  take(bytes: number): boolean {
    const cost = bytes + OVERHEAD;
    if (this.#bytes + cost > this.#most) return false;
    if (this.#shared && !this.#shared.take(bytes)) return false;
    this.#bytes += cost;
    this.#datagrams++;
    return true;
  }

  /** So many datagrams, with so many bytes together, wait no longer. */
  give(datagrams: number, bytes: number): void {
    this.#bytes -= bytes + datagrams * OVERHEAD;
    this.#datagrams -= datagrams;
    this.#shared?.give(datagrams, bytes);
  }

  /** Nothing waits any longer; returns how many datagrams did. */
  clear(): number {
    const datagrams = this.#datagrams;
    this.give(datagrams, this.#bytes - datagrams * OVERHEAD);
    return datagrams;
  }
}
