/**
 * The outgoing half of a connection: frames in order, control frames first.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";
import { FrameEncoder } from "./encoder.ts";
import { Opcode, type Role } from "./frame.ts";

interface OutgoingFrame {
  readonly opcode: Opcode;
  readonly parts: readonly Uint8Array[];
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Writes frames to a duplex, as many as its encoder holds in one write.
 *
 * Messages and the Close frame leave in the order of the calls. Pings and Pongs go before
 * waiting messages, but never into the middle of a frame; only one Ping and a few Pongs ever
 * wait, so nothing grows when the peer does not read.
 */
export class FrameWriter {
  readonly #duplex: Duplex;
  readonly #encoder: FrameEncoder;
  #messages: OutgoingFrame[] = [];
  /** What is in the encoder or with the transport. */
  #leaving: OutgoingFrame[] = [];
  #ping: Uint8Array | undefined;
  readonly #pongs: Uint8Array[] = [];
  #close: OutgoingFrame | undefined;
  #closed: Promise<void> | undefined;
  #failure: { readonly reason: unknown } | undefined;
  #running = false;
  #bytesSent = 0;
  #lastWrite = 0;

  /** A writer for one end of a connection. */
  constructor(duplex: Duplex, role: Role) {
    this.#duplex = duplex;
    this.#encoder = new FrameEncoder(role);
  }

  /** How many bytes of messages have left so far, or are leaving. */
  get bytesSent(): number {
    return this.#bytesSent;
  }

  /** When the transport last took some of a message, as `performance.now()`. */
  get lastWrite(): number {
    return this.#lastWrite;
  }

  /** Why nothing can be written any more. */
  get failure(): { readonly reason: unknown } | undefined {
    return this.#failure;
  }

  /** Sends a message; resolves when the transport has taken it. */
  message(opcode: Opcode, parts: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure.reason);
      this.#messages.push({ opcode, parts, resolve, reject });
      this.#start();
    });
  }

  /** Sends a Ping as soon as the frame under way is out, unless the connection is closing. */
  ping(data: Uint8Array): void {
    if (this.#closed) return;
    this.#ping = data;
    this.#start();
  }

  /** Sends a Pong as soon as the frame under way is out, unless the connection is closing. */
  pong(data: Uint8Array): void {
    if (this.#closed) return;
    this.#pongs.push(data);
    if (this.#pongs.length > MAX_PONGS) this.#pongs.shift();
    this.#start();
  }

  /** Sends a Close frame after the messages before it, and nothing after it; later calls change nothing. */
  close(payload: Uint8Array): Promise<void> {
    this.#closed ??= new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure.reason);
      this.#close = { opcode: Opcode.CLOSE, parts: [payload], resolve, reject };
      this.#start();
    });
    return this.#closed;
  }

  /** Refuses the messages that wait and do not leave yet. */
  refuseWaiting(reason: unknown): void {
    const waiting = this.#messages;
    this.#messages = [];
    for (const frame of waiting) frame.reject(reason);
  }

  /** Ends the writing: whatever waits, and whatever comes, is rejected with `reason`. */
  fail(reason: unknown): void {
    if (this.#failure) return;
    this.#failure = { reason };
    for (const frame of this.#leaving.splice(0)) frame.reject(reason);
    this.refuseWaiting(reason);
    this.#close?.reject(reason);
    this.#close = undefined;
  }

  #start(): void {
    if (this.#running || this.#failure) return;
    this.#running = true;
    void this.#run();
  }

  #next(): OutgoingFrame | undefined {
    const pong = this.#pongs.shift();
    if (pong) return controlFrame(Opcode.PONG, pong);
    const ping = this.#ping;
    this.#ping = undefined;
    if (ping) return controlFrame(Opcode.PING, ping);
    const message = this.#messages.shift();
    if (message) return message;
    const close = this.#close;
    this.#close = undefined;
    return close;
  }

  /** Writes until nothing waits. */
  async #run(): Promise<void> {
    const encoder = this.#encoder;
    try {
      while (!this.#failure) {
        const frame = this.#next();
        if (frame === undefined) {
          if (encoder.size === 0) break;
          await this.#flush(this.#leaving.length);
          continue;
        }
        this.#leaving.push(frame);
        const length = frame.parts.reduce((sum, part) => sum + part.length, 0);
        if (!encoder.start(frame.opcode, length)) {
          await this.#flush(this.#leaving.length - 1);
          encoder.start(frame.opcode, length);
        }
        for (const part of frame.parts) {
          let added = this.#add(frame, part);
          while (added < part.length) {
            await this.#flush(this.#leaving.length - 1);
            added += this.#add(frame, part.subarray(added));
          }
        }
      }
    } catch (error) {
      this.fail(error);
    } finally {
      this.#running = false;
    }
  }

  #add(frame: OutgoingFrame, bytes: Uint8Array): number {
    const added = this.#encoder.add(bytes);
    if (isMessage(frame)) this.#bytesSent += added;
    return added;
  }

  /** Writes what the encoder holds, with which the first `count` of the leaving frames are out. */
  async #flush(count: number): Promise<void> {
    await this.#duplex.write(this.#encoder.take());
    if (this.#leaving.some(isMessage)) this.#lastWrite = performance.now();
    for (const sent of this.#leaving.splice(0, count)) sent.resolve();
  }
}

/** So many Pongs wait at most; then the oldest is left out, which RFC 6455 section 5.5.3 allows. */
const MAX_PONGS = 64;

function isMessage(frame: OutgoingFrame): boolean {
  return frame.opcode === Opcode.TEXT || frame.opcode === Opcode.BINARY;
}

/** A Ping or a Pong; nobody waits for it. */
function controlFrame(opcode: Opcode, data: Uint8Array): OutgoingFrame {
  return { opcode, parts: [data], resolve() {}, reject() {} };
}
