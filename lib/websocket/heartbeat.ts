/**
 * Whether the peer is still there.
 *
 * @module
 */
import type { FrameWriter } from "./writer.ts";

/** How a connection makes sure that its peer is alive; times in milliseconds. */
export interface PingOptions {
  /** A Ping is sent this often. */
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
  /** The peer was silent for too long, in milliseconds. */
  dead(silence: number): void;
}

/**
 * Pings, and watches for silence.
 *
 * * Every inbound byte is life, not only a Pong (protocol.md's I11: client-go takes only Pongs, and kills
 *   healthy sessions after 61 s).
 * * While nobody reads, what the peer says lies unread in the socket: its silence means nothing, and
 *   counting starts anew when reading resumes.
 * * A peer that handles frames in order answers a Ping only after the messages before it, and a container that
 *   does not read its stdin can hold those up. A Ping therefore carries how many bytes had been sent before it, its
 *   Pong confirms them, and while more than a little is unconfirmed the longer
 *   {@linkcode PingOptions.stallTimeout} counts, from when the transport last took some.
 */
export class Heartbeat {
  readonly #options: Required<PingOptions>;
  readonly #writer: FrameWriter;
  readonly #target: HeartbeatTarget;
  readonly #timer: ReturnType<typeof setInterval>;
  #lastHeard = performance.now();
  #lastBeat = performance.now();
  #confirmed = 0;
  /** When the peer last handled something, or had nothing to handle. */
  #lastProgress = performance.now();

  /** Starts; the first Ping leaves after one interval. */
  constructor(options: PingOptions, writer: FrameWriter, target: HeartbeatTarget) {
    this.#options = { stallTimeout: 10 * options.timeout, ...options };
    this.#writer = writer;
    this.#target = target;
    this.#timer = setInterval(() => this.#beat(), options.interval);
  }

  /** Something arrived. */
  heard(): void {
    this.#lastHeard = performance.now();
  }

  /** A Pong arrived; `data` is what its Ping carried. */
  confirm(data: Uint8Array): void {
    if (data.length !== 8) return; // Not an answer to a Ping of ours.
    const confirmed = new DataView(data.buffer, data.byteOffset).getFloat64(0);
    if (confirmed <= this.#confirmed || confirmed > this.#writer.bytesSent) return;
    this.#confirmed = confirmed;
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
    const { bytesSent, lastWrite } = this.#writer;
    const now = performance.now();
    // A process that was stopped, or busy, for a while could not hear either.
    const late = now - this.#lastBeat > 2 * interval;
    this.#lastBeat = now;
    if (late || !this.#target.isReading()) this.#lastHeard = this.#lastProgress = now;
    if (bytesSent === this.#confirmed) this.#lastProgress = now;

    const stalled = bytesSent - this.#confirmed > LITTLE;
    const silence = now - (stalled ? Math.max(this.#lastHeard, lastWrite) : this.#lastHeard);
    if (silence >= (stalled ? stallTimeout : timeout)) return this.#target.dead(silence);

    const data = new Uint8Array(8);
    new DataView(data.buffer).setFloat64(0, bytesSent);
    this.#writer.ping(data);
  }
}

/**
 * Unconfirmed bytes that do not excuse silence: what a person types between two Pings, and too
 * little to fill a pipe.
 */
const LITTLE = 4096;
