/**
 * The sessions of a port-forward, and which connection goes over which.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import type { ForwardPair, ForwardSession } from "./forward_wire.ts";

/** A connection gets a session of its own while there are fewer than these. */
const OWN_SESSIONS = 8;

/** So many sessions there are at most, however many of them are stuck. */
const MAX_SESSIONS = 32;

/** A reader that has held up other connections for so long is dropped, in milliseconds. */
const MAX_STALL = 30_000;

/** A session without a connection is closed after this, in milliseconds, unless it is the last. */
const MAX_IDLE = 60_000;

/** How often to look for those, in milliseconds. */
const TICK = 1_000;

/**
 * Keeps the sessions to one pod, and opens connections over them by the rule that `PortForward` states.
 */
export class ForwardPool {
  readonly #dial: () => Promise<ForwardSession>;
  readonly #lost: (reason: unknown) => void;
  /** With when each was last seen with a connection. */
  readonly #sessions = new Map<ForwardSession, number>();
  /** Sessions that take no new connections, and carry those that they have to the end. */
  readonly #retired = new Set<ForwardSession>();
  #dialing = 0;
  #ticker: ReturnType<typeof setInterval> | undefined;
  #closed: { readonly reason: unknown } | undefined;

  /**
   * A pool without sessions.
   *
   * @param dial Opens one session more.
   * @param lost Is called when the last session has ended by itself.
   */
  constructor(dial: () => Promise<ForwardSession>, lost: (reason: unknown) => void) {
    this.#dial = dial;
    this.#lost = lost;
  }

  /** Takes over a session. */
  add(session: ForwardSession): void {
    if (this.#closed) return session.close(this.#closed.reason);
    this.#sessions.set(session, performance.now());
    this.#ticker ??= setInterval(() => this.#tick(), TICK);
    const ended = (reason: unknown) => {
      this.#retired.delete(session);
      if (this.#sessions.delete(session) && this.#sessions.size === 0) this.#lost(reason);
    };
    session.closed.then(() => ended(new PodwireError("the server ended the connection")), ended);
  }

  /** Takes over a session that carries one connection and will carry no other. */
  addRetired(session: ForwardSession): void {
    if (this.#closed) return session.close(this.#closed.reason);
    this.#retired.add(session);
    const ended = () => this.#retired.delete(session);
    session.closed.then(ended, ended);
  }

  /**
   * Opens a connection to `port`; `undefined` if there is no session.
   *
   * @throws What dialing threw, if another session is needed for it.
   */
  async open(port: number): Promise<ForwardPair | undefined> {
    const sessions = this.#usable();
    const free = sessions.find((session) => session.connections === 0 && !session.stuck);
    if (free) return free.open(port);
    const count = this.#sessions.size + this.#dialing;
    const stuck = sessions.every((session) => session.stuck);
    if (sessions.length > 0 && count < (stuck ? MAX_SESSIONS : OWN_SESSIONS)) {
      const session = await this.#grow();
      if (session) return session.open(port);
    }
    const [best] = this.#usable().toSorted((a, b) => rank(a) - rank(b));
    return best?.open(port);
  }

  /** Gives new connections other sessions from here on. */
  retire(): void {
    for (const session of this.#sessions.keys()) this.#retired.add(session); // One may linger even where none is counted.
    this.#sessions.clear();
  }

  /** Ends all sessions; their connections fail with `reason`. */
  closeSessions(reason: unknown): void {
    const sessions = [...this.#sessions.keys(), ...this.#retired];
    this.#sessions.clear();
    this.#retired.clear();
    for (const session of sessions) session.close(reason);
  }

  /** The same, for good. */
  close(reason: unknown): void {
    this.#closed ??= { reason };
    clearInterval(this.#ticker);
    this.closeSessions(reason);
  }

  #usable(): ForwardSession[] {
    return [...this.#sessions.keys()].filter((session) => session.accepts);
  }

  /** One session more; none if that fails, as there are others to share. */
  async #grow(): Promise<ForwardSession | undefined> {
    this.#dialing++;
    try {
      const session = await this.#dial();
      this.add(session);
      return session.accepts ? session : undefined;
    } catch (error) {
      if (this.#usable().length === 0) throw error;
      return undefined;
    } finally {
      this.#dialing--;
    }
  }

  #tick(): void {
    const now = performance.now();
    for (const [session, lastUsed] of this.#sessions) {
      session.dropStalled(MAX_STALL);
      if (session.connections > 0) this.#sessions.set(session, now);
      else if (now - lastUsed > MAX_IDLE && this.#sessions.size > 1) {
        this.#sessions.delete(session);
        session.close(new PodwireError("the session is not needed any more"));
      }
    }
  }
}

/** Fewest connections first, stuck sessions last. */
function rank(session: ForwardSession): number {
  return session.connections + (session.stuck ? 1e6 : 0);
}
