/**
 * One stream of a session.
 *
 * @module
 */
import { ByteQueue, type ByteQueueOptions, type Duplex } from "../bytes/mod.ts";
import { StreamResetError } from "./errors.ts";
import { ResetStatus } from "./frame.ts";
import type { SpdyHeaders } from "./header_block.ts";

/**
 * A stream of a {@linkcode SpdySession}: a {@linkcode Duplex} with headers, one of many over one connection.
 *
 * After the peer's FIN `read` returns `null`; after its RST_STREAM, or the end of the session, it throws; both after what has
 * arrived before. What the peer sends waits in {@linkcode SpdyStream.incoming}, at most 256 KiB of it.
 */
export interface SpdyStream extends Duplex {
  /** The stream's number. */
  readonly id: number;
  /** The headers that it was opened with. */
  readonly headers: SpdyHeaders;
  /**
   * The headers of the peer's SYN_REPLY. Rejects with {@linkcode StreamResetError} if the peer refuses the stream or
   * does not answer in time. Of a stream that the peer opened: what it was replied with.
   */
  readonly opened: Promise<SpdyHeaders>;
  /** What {@linkcode Duplex.read} reads: a stream of bytes where that fits better. */
  readonly incoming: ByteQueue;
  /** Whether nothing can be written any more: it was ended here, or the peer opened it for its own direction only. */
  readonly localEnd: boolean;
  /** Accepts a stream that the peer opened. Kubernetes drops what is sent on one before. */
  reply(headers?: SpdyHeaders): void;
  /**
   * Ends both directions at once, with RST_STREAM where that is not done yet. What has arrived can still be read;
   * {@linkcode Duplex.close} drops it too. Writes that are under way reject: what has not left is not sent any more.
   *
   * @param status One of {@linkcode ResetStatus}. Default `CANCEL`.
   */
  reset(status?: number): void;
}

/** What a stream asks of its session. */
export interface StreamWire {
  /** Sends a SYN_REPLY. */
  reply(streamId: number, headers: SpdyHeaders): void;
  /** Sends DATA. */
  data(streamId: number, data: Uint8Array, fin: boolean): Promise<void>;
  /** Takes back DATA that has not left; whoever waits for it is told `reason`. */
  dropData(streamId: number, reason: unknown): void;
  /** Sends RST_STREAM. */
  reset(streamId: number, status: number): void;
  /** Nothing more will come or go on the stream. */
  finished(streamId: number): void;
}

/** A stream, as its session sees it. */
export class Stream implements SpdyStream {
  readonly id: number;
  readonly headers: SpdyHeaders;
  readonly opened: Promise<SpdyHeaders>;
  readonly incoming: ByteQueue;
  readonly #wire: StreamWire;
  readonly #settle: { resolve(headers: SpdyHeaders): void; reject(reason: unknown): void };
  #replied = false;
  #localEnd = false;
  #remoteEnd = false;
  #finished = false;
  #failure: { readonly reason: unknown } | undefined;

  constructor(id: number, headers: SpdyHeaders, wire: StreamWire, localEnd: boolean, queue?: ByteQueueOptions) {
    this.id = id;
    this.incoming = new ByteQueue(queue);
    this.headers = headers;
    this.#wire = wire;
    this.#localEnd = localEnd;
    const { promise, resolve, reject } = Promise.withResolvers<SpdyHeaders>();
    this.opened = promise;
    this.opened.catch(() => {}); // read() and write() tell the same.
    this.#settle = { resolve, reject };
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.incoming.read(into);
  }

  async write(data: Uint8Array): Promise<void> {
    const parts: Promise<void>[] = [];
    for (let start = 0; start < data.length; start += MAX_DATA) {
      this.#checkWritable();
      parts.push(this.#wire.data(this.id, data.subarray(start, start + MAX_DATA), false));
    }
    await Promise.all(parts);
  }

  async closeWrite(): Promise<void> {
    if (this.#failure) throw this.#failure.reason;
    if (this.#localEnd) return;
    this.#localEnd = true;
    const sent = this.#wire.data(this.id, NOTHING, true);
    this.#checkFinished();
    await sent;
  }

  reply(headers: SpdyHeaders = {}): void {
    if (this.#replied || this.#failure) return;
    this.#replied = true;
    this.#wire.reply(this.id, headers);
    this.#settle.resolve(headers);
  }

  reset(status: number = ResetStatus.CANCEL): void {
    const reason = new StreamResetError(`stream ${this.id} was reset here`, this.id, status);
    if (!this.#localEnd || !this.#remoteEnd) {
      this.#wire.dropData(this.id, reason);
      this.#wire.reset(this.id, status);
    }
    this.fail(reason);
  }

  close(): void {
    this.reset();
    this.incoming.cancel();
  }

  /** Bytes from the peer. Returns a promise while there is no room for them. */
  receive(data: Uint8Array, fin: boolean): Promise<void> | void {
    if (this.#remoteEnd) return; // Behind a FIN: as upstream, nobody reads it.
    const waiting = data.length > 0 ? this.#queue(data) : undefined;
    if (!fin) return waiting;
    this.#remoteEnd = true;
    if (waiting) return waiting.then(() => this.#end());
    this.#end();
  }

  /** The peer's SYN_REPLY. */
  replied(headers: SpdyHeaders, fin: boolean): void {
    if (this.#replied) return;
    this.#replied = true;
    this.#settle.resolve(headers);
    if (fin) this.receive(NOTHING, true);
  }

  /** Ends both directions with `reason`; what has arrived can still be read. */
  fail(reason: unknown): void {
    if (this.#failure) return;
    this.#failure = { reason };
    this.#localEnd = true;
    this.#remoteEnd = true;
    this.incoming.fail(reason);
    this.#settle.reject(reason);
    this.#finish();
  }

  /** Whether a FIN or RST_STREAM of ours is out. */
  get localEnd(): boolean {
    return this.#localEnd;
  }

  /** Whether the peer has answered, or has been answered. */
  get isReplied(): boolean {
    return this.#replied;
  }

  /** Queues bytes; those of a stream that ends meanwhile need no room any more. */
  #queue(data: Uint8Array): Promise<void> | void {
    return this.incoming.write(data)?.catch((error) => {
      if (!this.#failure) throw error;
    });
  }

  #end(): void {
    this.incoming.close();
    this.#checkFinished();
  }

  #checkFinished(): void {
    if (!this.#localEnd || !this.#remoteEnd) return;
    this.#settle.reject(
      new StreamResetError(`stream ${this.id} ended without an answer`, this.id, ResetStatus.PROTOCOL_ERROR),
    ); // Does nothing to one that was answered.
    this.#finish();
  }

  /** Once: a peer may use the number again. */
  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#wire.finished(this.id);
  }

  #checkWritable(): void {
    if (this.#failure) throw this.#failure.reason;
    if (this.#localEnd) throw new TypeError(`Cannot write to stream ${this.id} after its end`);
  }
}

/** The largest DATA frame to send, in bytes: what Kubernetes' own copies are made of. */
const MAX_DATA = 32 * 1024;

const NOTHING = new Uint8Array(0);
