/**
 * The outgoing half of a session: frames in order, Pings first.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";

interface Outgoing {
  /** The frame, or the head of one. */
  readonly head: Uint8Array;
  /** What follows a head. */
  data: Uint8Array | undefined;
  /** The stream of a frame with data. */
  readonly streamId: number | undefined;
  /** Called once the transport has taken the frame. */
  readonly resolve: (() => void) | undefined;
  readonly reject: ((reason: unknown) => void) | undefined;
}

/** What a {@linkcode FrameWriter} tells its session. */
export interface WriterEvents {
  /** The transport broke. Called once. */
  readonly broken: (cause: unknown) => void;
  /** What is about to leave fits into a packet and leaves it half empty. A Ping sent now goes with it. */
  readonly smallWrite?: () => void;
}

/**
 * Writes frames to a duplex, as many as fit into one write: what several streams send in one turn of the
 * event loop costs one system call, and one WebSocket message in a tunnel.
 *
 * Frames leave in the order of the calls (header blocks depend on it), but for Pings, which go
 * before whatever waits.
 */
export class FrameWriter {
  readonly #duplex: Duplex;
  readonly #events: WriterEvents;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  #size = 0;
  /** Frames of which the buffer holds the end; they are out with the next write. */
  #leaving: Outgoing[] = [];
  #waiting: Outgoing[] = [];
  /** The frame that is being put into the buffer. */
  #putting: Outgoing | undefined;
  /** The first of {@linkcode FrameWriter.#waiting} that is not in the buffer yet. */
  #next = 0;
  #ping: Uint8Array | undefined;
  readonly #pongs: Uint8Array[] = [];
  #running: Promise<void> | undefined;
  #failure: { readonly reason: unknown } | undefined;
  #backlog = 0;
  #bytesSent = 0;
  #lastWrite = 0;
  /** When the write that is under way began. */
  #writingSince: number | undefined;

  /** A writer to `duplex`. */
  constructor(duplex: Duplex, events: WriterEvents) {
    this.#duplex = duplex;
    this.#events = events;
  }

  /** How many bytes have left so far, or are leaving; Pings are not counted. */
  get bytesSent(): number {
    return this.#bytesSent;
  }

  /** When the transport last took some of them, as `performance.now()`. */
  get lastWrite(): number {
    return this.#lastWrite;
  }

  /** Since when the transport has been taking one write, as `performance.now()`; `undefined` while nothing is written. */
  get writingSince(): number | undefined {
    return this.#writingSince;
  }

  /** Bytes of frames that nobody waits for and that are not out yet. */
  get backlog(): number {
    return this.#backlog;
  }

  /** Sends a frame and waits for nothing. Look at {@linkcode FrameWriter.backlog} where a peer causes many. */
  send(frame: Uint8Array): void {
    this.#backlog += frame.length;
    this.#add({ head: frame, data: undefined, streamId: undefined, resolve: undefined, reject: undefined });
  }

  /** Sends a frame of two parts for a stream; resolves when the transport has taken it. */
  sendData(streamId: number, head: Uint8Array, data: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure.reason);
      this.#add({ head, data, streamId, resolve, reject });
    });
  }

  /** Takes back what has not left of a stream's data: whoever waits for that is told `reason`, and has the bytes back. */
  dropData(streamId: number, reason: unknown): void {
    const started = this.#putting;
    // Of a frame that has begun to leave, the rest has to follow.
    if (started?.streamId === streamId) started.data = started.data?.slice();
    const isOfStream = (frame: Outgoing) => frame.streamId === streamId;
    const waiting = this.#waiting.slice(this.#next);
    for (const frame of [...this.#leaving, ...waiting].filter(isOfStream)) frame.reject?.(reason);
    this.#waiting = waiting.filter((frame) => frame === started || !isOfStream(frame));
    this.#next = 0;
  }

  /** Sends a Ping before everything that waits. One that still waits itself is replaced. */
  ping(frame: Uint8Array): void {
    this.#ping = frame;
    this.#start();
  }

  /** Answers a Ping before everything that waits. */
  pong(frame: Uint8Array): void {
    this.#pongs.push(frame);
    if (this.#pongs.length > MAX_PONGS) this.#pongs.shift();
    this.#start();
  }

  /**
   * Resolves when everything so far is out.
   *
   * @throws What broke the transport.
   */
  async flushed(): Promise<void> {
    while (this.#running) await this.#running;
    if (this.#failure) throw this.#failure.reason;
  }

  /** Ends the writing: whatever waits, and whatever comes, is rejected with `reason`. */
  fail(reason: unknown): void {
    if (this.#failure) return;
    this.#failure = { reason };
    const lost = [...this.#leaving, ...this.#waiting.slice(this.#next)];
    this.#leaving = [];
    this.#waiting = [];
    this.#next = 0;
    for (const frame of lost) frame.reject?.(reason);
  }

  #add(frame: Outgoing): void {
    if (this.#failure) return;
    this.#waiting.push(frame);
    this.#start();
  }

  #start(): void {
    if (!this.#failure) this.#running ??= this.#run();
  }

  /** Writes until nothing waits. */
  async #run(): Promise<void> {
    try {
      await undefined; // Whatever else is sent in this turn goes into the same write.
      while (!this.#failure) {
        this.#addPings();
        if (this.#next < this.#waiting.length) {
          await this.#put(this.#putting = this.#waiting[this.#next]!);
          this.#putting = undefined;
          this.#next++; // Only now: a failure meanwhile is this frame's too.
        } else if (this.#size > 0) {
          if (this.#size < SMALL) this.#events.smallWrite?.();
          this.#addPings();
          await this.#flush();
        } else break;
        if (this.#next === this.#waiting.length || this.#next > MANY) {
          this.#waiting.splice(0, this.#next);
          this.#next = 0;
        }
      }
    } catch (error) {
      if (!this.#failure) this.#events.broken(error);
      this.fail(error);
    } finally {
      this.#running = undefined; // At once: whatever is sent from now on has to start anew.
    }
  }

  #addPings(): void {
    // Between two frames only: the buffer ends with a whole one here.
    while (this.#pongs.length > 0 && this.#size + PING_SIZE <= BUFFER_SIZE) this.#append(this.#pongs.shift()!);
    if (!this.#ping || this.#size + PING_SIZE > BUFFER_SIZE) return;
    this.#append(this.#ping);
    this.#ping = undefined;
  }

  /** Puts a frame into the buffer, which is written whenever it is full. */
  async #put(frame: Outgoing): Promise<void> {
    for (const part of ["head", "data"] as const) {
      const length = frame[part]?.length ?? 0;
      for (let done = 0; done < length && !this.#failure;) {
        if (this.#size === BUFFER_SIZE) await this.#flush();
        const n = Math.min(length - done, BUFFER_SIZE - this.#size);
        this.#append(frame[part]!.subarray(done, done + n)); // It may be another array than before, see dropData().
        this.#bytesSent += n;
        done += n;
      }
    }
    if (!frame.data) this.#backlog -= frame.head.length;
    if (!this.#failure) this.#leaving.push(frame);
  }

  #append(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#size);
    this.#size += bytes.length;
  }

  async #flush(): Promise<void> {
    const size = this.#size;
    this.#size = 0;
    this.#writingSince = performance.now();
    await this.#duplex.write(this.#buffer.subarray(0, size));
    this.#writingSince = undefined;
    this.#lastWrite = performance.now();
    const out = this.#leaving;
    this.#leaving = [];
    for (const frame of out) frame.resolve?.();
  }
}

/** As much is written at once, in bytes. */
const BUFFER_SIZE = 64 * 1024;

const PING_SIZE = 12;

/** A write of less than this leaves a packet half empty, in bytes. */
const SMALL = 1024;

/** So many frames that are out may stay in the list before it is tidied up. */
const MANY = 1024;

/** So many answers to Pings wait at most; then the oldest is left out. */
const MAX_PONGS = 64;
