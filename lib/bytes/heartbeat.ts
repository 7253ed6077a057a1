/**
 * Whether the peer is still there.
 *
 * @module
 */
/** How a connection makes sure that its peer is alive; times in milliseconds. */
export interface PingOptions {
  /** A Ping is sent this often while there is nothing to hear. */
  readonly interval: number;
  /** The peer may be silent this long while we read; checked once an interval. */
  readonly timeout: number;
  /**
   * The same while the peer has not yet taken what we sent before: it may be waiting for its own
   * consumer, and answers no Ping before that. Default ten times `timeout`.
   */
  readonly stallTimeout?: number;
}

/** What a {@linkcode Heartbeat} asks of its connection, and tells it. */
export interface HeartbeatTarget {
  /** Whether a read is waiting for the network. */
  isReading(): boolean;
  /** How many bytes, Pings left out, the transport has taken so far. */
  bytesSent(): number;
  /** When it last took some, as `performance.now()`. */
  lastWrite(): number;
  /** Sends a Ping whose Pong is told by {@linkcode Heartbeat.confirm} with this `bytesSent`. */
  ping(bytesSent: number): void;
  /** The peer was silent for too long, in milliseconds. */
  dead(silence: number): void;
}

/**
 * Pings, and watches for silence.
 *
 * * Every inbound byte is life, not only a Pong (client-go takes only Pongs, and kills
 *   healthy sessions after 61 s).
 * * While bytes come, or lie unread, there is no Ping: a server that has sent all its output and closed answers one with a
 *   reset, and what is still on its way, through proxies that hold megabytes, is lost (`kubectl exec … | less` loses the
 *   end of its output so). Only where much of what we sent is unconfirmed a Ping has to ask. The price: nothing of ours
 *   tells a proxy, while nobody reads, that the connection is in use.
 * * While nobody reads, what the peer says lies unread in the socket: its silence means nothing, and
 *   counting starts anew when reading resumes.
 * * A peer that handles frames in order answers a Ping only after the messages before it, and a container that
 *   does not read its stdin can hold those up. A Ping therefore remembers how many bytes had been sent before it, its
 *   Pong confirms them, and while more than a little is unconfirmed the longer
 *   {@linkcode PingOptions.stallTimeout} counts, from when the transport last took some.
 */
export class Heartbeat {
  readonly #options: Required<PingOptions>;
  readonly #target: HeartbeatTarget;
  readonly #timer: ReturnType<typeof setInterval>;
  #lastHeard = performance.now();
  #lastBeat = performance.now();
  #confirmed = 0;
  /** When the peer last handled something, or had nothing to handle. */
  #lastProgress = performance.now();

  /** Starts; the first Ping leaves after one interval at the earliest. */
  constructor(options: PingOptions, target: HeartbeatTarget) {
    this.#options = { stallTimeout: 10 * options.timeout, ...options };
    this.#target = target;
    this.#timer = setInterval(() => this.#beat(), options.interval);
  }

  /** Something arrived. */
  heard(): void {
    this.#lastHeard = performance.now();
  }

  /** A Pong arrived: the peer has handled everything up to the Ping before which `bytesSent` had been sent. */
  confirm(bytesSent: number): void {
    if (!(bytesSent > this.#confirmed && bytesSent <= this.#target.bytesSent())) return; // No Ping of ours said so.
    this.#confirmed = bytesSent;
    this.#lastProgress = performance.now();
  }

  /** For how long the peer has left unhandled what it was sent, in milliseconds. */
  get stalledFor(): number {
    return performance.now() - this.#lastProgress;
  }

  /** Stops; nothing is called any more. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #beat(): void {
    const { interval, timeout, stallTimeout } = this.#options;
    const bytesSent = this.#target.bytesSent();
    const lastWrite = this.#target.lastWrite();
    const now = performance.now();
    const reading = this.#target.isReading();
    // A process that was stopped, or busy, for a while could not hear either.
    const late = now - this.#lastBeat > 2 * interval;
    this.#lastBeat = now;
    if (late || !reading) this.#lastHeard = this.#lastProgress = now;
    const stalled = bytesSent - this.#confirmed > LITTLE;
    const quiet = now - this.#lastHeard >= interval / 2; // A Pong for the last Ping is older than that.
    if (bytesSent === this.#confirmed || (!stalled && !quiet)) this.#lastProgress = now;

    const silence = now - (stalled ? Math.max(this.#lastHeard, lastWrite) : this.#lastHeard);
    if (silence >= (stalled ? stallTimeout : timeout)) return this.#target.dead(silence);

    if (reading && (quiet || stalled)) this.#target.ping(bytesSent);
  }
}

/**
 * Unconfirmed bytes that do not excuse silence: what a person types between two Pings, and too
 * little to fill a pipe.
 */
const LITTLE = 4096;
