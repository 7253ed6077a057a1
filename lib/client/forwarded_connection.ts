/**
 * One connection to a port of a pod.
 *
 * @module
 */
import { type Duplex, toBytes, within } from "../bytes/mod.ts";
import { StreamResetError, StreamTimeoutError } from "../spdy/mod.ts";
import { ForwardError } from "./forward_error.ts";
import type { ForwardPair } from "./forward_wire.ts";

/** Options of a {@linkcode ForwardedConnection}. */
export interface ForwardedConnectionOptions {
  /** The port in the pod. */
  readonly port: number;
  /** How long the pod may take to answer before the FIN goes out, in milliseconds. Default 10 000. */
  readonly finDelay?: number;
}

/**
 * A connection to a port of a pod, as `Deno.Conn` is one to a port of a machine: `readable` and `writable`, or the plain
 * {@linkcode Duplex} under them. Use either. Both directions end separately.
 *
 * **What an end means.** `read` returns `null`, and `readable` closes, only if the pod ended its direction and the server
 * had nothing to say against it. A connection that is refused in the pod, reset, or cut
 * by what happens on the way ends with a {@linkcode ForwardError}, never as if all had arrived.
 *
 * **When the FIN goes out.** container runtimes pass no half-close on: containerd ends both directions one second
 * after the first has ended, whatever the pod still has to say. So the end of what is sent here is held back until
 * the pod ends its own direction, or has been quiet: for ten seconds if the last word was ours (an answer is due), for
 * two if it was the pod's (who ends then has most likely gone). A client that ends its sending first so gets all
 * of an answer that does not depend on that end. A server that says that it keeps half-closes (podwire's own host
 * does) is told at once.
 */
export class ForwardedConnection implements Duplex, AsyncDisposable {
  /** The port in the pod. */
  readonly port: number;
  /**
   * Settles once, when both directions have ended: rejects with a {@linkcode ForwardError} if the connection failed,
   * resolves if it ended well or was closed here.
   */
  readonly closed: Promise<void>;

  readonly #pair: ForwardPair;
  readonly #finDelay: number;
  readonly #settle: { resolve(): void; reject(reason: unknown): void };
  #bytesReceived = 0;
  #bytesSent = 0;
  /** How many bytes the last {@linkcode ForwardedConnection.readChunk} lent out. */
  #viewSize = 0;
  /** How each direction stands. */
  #remoteEnd = false;
  #localEnd = false;
  #finSent = false;
  #failure: { readonly reason: unknown } | undefined;
  #done = false;
  #finTimer: ReturnType<typeof setTimeout> | undefined;
  #lastReceived = 0;
  #lastSent = 0;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #writable: WritableStream<Uint8Array> | undefined;

  /** A connection that `pair` carries. Use `PortForward.connect`. */
  constructor(pair: ForwardPair, options: ForwardedConnectionOptions) {
    this.port = options.port;
    this.#pair = pair;
    this.#finDelay = options.finDelay ?? 10_000;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.closed = promise;
    this.closed.catch(() => {}); // Whoever wants to know awaits it; reading and writing tell the same.
    this.#settle = { resolve, reject };
    pair.verdict.then((text) => this.#judged(text), (reason) => this.#fail(reason));
    pair.opened.catch((reason) => this.#refused(reason));
  }

  /** Bytes that have been read from the pod so far. */
  get bytesReceived(): number {
    return this.#bytesReceived;
  }

  /** Bytes that the transport has taken so far. */
  get bytesSent(): number {
    return this.#bytesSent;
  }

  /** What the pod sends. It errors with {@linkcode ForwardError} if the connection fails. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= new ReadableStream({
      type: "bytes",
      pull: async (controller) => {
        const into = new Uint8Array(CHUNK);
        const n = await this.read(into);
        if (n !== null) return controller.enqueue(into.subarray(0, n));
        controller.close();
        controller.byobRequest?.respond(0);
      },
      cancel: () => this.close(),
    }, { highWaterMark: 0 });
  }

  /**
   * What goes to the pod. A write resolves when the transport has taken it; closing it ends this direction alone. It takes an
   * `ArrayBuffer` and every view; anything else is a `TypeError`, and drops the connection as an abort does.
   */
  get writable(): WritableStream<Uint8Array> {
    return this.#writable ??= new WritableStream({
      start: (controller) => {
        this.closed.catch((reason) => controller.error(reason));
        controller.signal.addEventListener("abort", () => this.close()); // `abort` comes after a write that is under way.
      },
      write: (chunk) => {
        try {
          return this.write(toBytes(chunk));
        } catch (error) {
          this.close(); // The stream has broken, and nobody is told to abort it.
          throw error;
        }
      },
      close: () => this.closeWrite(),
      abort: () => this.close(),
    });
  }

  /**
   * Reads at most `into.length` bytes; `null` at the end.
   *
   * @throws {ForwardError} If the connection failed.
   */
  async read(into: Uint8Array): Promise<number | null> {
    const chunk = await this.#peek();
    if (chunk === null) return null;
    const n = Math.min(into.length, chunk.length);
    into.set(n < chunk.length ? chunk.subarray(0, n) : chunk);
    this.#pair.incoming.consume(n);
    this.#bytesReceived += n;
    return n;
  }

  /**
   * Reads what there is, without a copy: a view that is valid until the next read. `null` at the end.
   *
   * @throws {ForwardError} If the connection failed.
   */
  async readChunk(): Promise<Uint8Array | null> {
    const chunk = await this.#peek();
    this.#viewSize = chunk?.length ?? 0;
    this.#bytesReceived += this.#viewSize;
    return chunk;
  }

  /**
   * Sends all of `data`, an `ArrayBuffer` or a view; resolves when the transport has taken it.
   *
   * @throws {ForwardError} If the connection failed, or the pod takes no more (code `EPIPE`).
   * @throws {TypeError} If `data` is something else, or the connection was ended here.
   */
  async write(data: ArrayBufferView | ArrayBuffer): Promise<void> {
    const bytes = toBytes(data);
    if (this.#failure) throw this.#failure.reason;
    if (this.#done) throw this.#takesNoMore();
    if (this.#localEnd) throw new TypeError("Cannot write to a connection after its end");
    try {
      await this.#pair.write(bytes);
    } catch (reason) {
      throw this.#done && !this.#failure ? this.#takesNoMore() : this.#fail(reason);
    }
    this.#bytesSent += bytes.length;
    this.#lastSent = performance.now();
  }

  /** Ends the sending direction: at once where the server keeps half-closes, else when the pod is done or quiet. */
  async closeWrite(): Promise<void> {
    if (this.#localEnd) return;
    this.#localEnd = true;
    if (this.#failure || this.#done) return;
    await this.#pair.opened.catch(() => {}); // Its failure is the connection's: the reader is told.
    if (this.#failure || this.#done) return;
    if (this.#pair.keepsHalfClose || this.#remoteEnd) return await this.#sendFin();
    this.#waitForQuiet();
  }

  /** Drops both directions. Reads and writes under way reject. */
  close(): void {
    this.#settle.resolve();
    this.#failure ??= { reason: this.#error("the connection was closed here") };
    this.#pair.close();
    clearTimeout(this.#finTimer);
  }

  /** As {@linkcode ForwardedConnection.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /** What is there to be read, as soon as something is; `null` at the end. */
  async #peek(): Promise<Uint8Array | null> {
    const { incoming } = this.#pair;
    incoming.consume(this.#viewSize);
    this.#viewSize = 0;
    let more: boolean;
    try {
      more = await incoming.ready();
    } catch (reason) {
      // What the server says of the connection explains more than the stream's end does.
      if (reason instanceof StreamResetError) await this.#verdict();
      throw this.#fail(reason);
    }
    if (!more) return await this.#endOfIncoming();
    this.#lastReceived = performance.now();
    this.#pair.lingering = false;
    return incoming.peek();
  }

  /** The server does not take the connection. Why, it may still say, and need not end the saying. */
  async #refused(reason: unknown): Promise<void> {
    await this.#verdict();
    this.#pair.reset();
    await this.#verdict();
    this.#fail(reason);
  }

  /** The pod has ended its direction: for good, unless the server says otherwise now. */
  async #endOfIncoming(): Promise<null> {
    if (!this.#pair.keepsHalfClose) await this.#verdict();
    if (this.#failure) throw this.#failure.reason;
    this.#remoteEnd = true;
    if (this.#localEnd) await this.#sendFin();
    if (this.#done || this.#finSent) this.#end();
    return null;
  }

  /** Waits for what the server says of the connection: it does so right behind the end of the pod's direction. */
  async #verdict(): Promise<void> {
    let settled = false;
    const settle = () => void (settled = true);
    const verdict = this.#pair.verdict.then(settle, settle); // A failure is handled where it arrives.
    do {
      await within(VERDICT_TIMEOUT, verdict);
    } while (!settled && this.#pair.held); // It may be among what has come and is not read.
  }

  /** The server is done with the connection; `text` is what it says against it. */
  #judged(text: string): void {
    this.#done = true;
    const error = text === "" ? undefined : ForwardError.fromServer(text, this.port);
    // The pod closed while something was still being sent to it. What it had to say has arrived.
    if (error && error.code !== "EPIPE") return void this.#fail(error);
    if (this.#remoteEnd) this.#end();
  }

  async #sendFin(): Promise<void> {
    if (this.#finSent || this.#failure || this.#done) return;
    this.#finSent = true;
    clearTimeout(this.#finTimer);
    try {
      await this.#pair.closeWrite();
    } catch (reason) {
      throw this.#explain(reason);
    }
    if (this.#remoteEnd) this.#end();
  }

  /** Sends the FIN once the pod has been quiet for long enough. */
  #waitForQuiet(): void {
    let busy = performance.now();
    const look = () => {
      const answered = this.#lastReceived >= this.#lastSent;
      this.#pair.lingering = answered && this.#pair.incoming.size === 0;
      const quiet = answered ? Math.min(SHORT_FIN_DELAY, this.#finDelay) : this.#finDelay;
      // What waits for a slow reader here is no silence of the pod's.
      if (this.#pair.incoming.size > 0 || this.#pair.held) busy = performance.now();
      const left = Math.max(busy, this.#lastReceived) + quiet - performance.now();
      if (left > 0) this.#finTimer = setTimeout(look, Math.min(left, SHORT_FIN_DELAY)); // An answer shortens it.
      else this.#sendFin().catch(() => {}); // The reader is told.
    };
    look();
  }

  /** Fails the connection, unless it has ended; returns why it failed. */
  #fail(reason: unknown): unknown {
    if (!this.#failure) {
      this.#failure = { reason: this.#explain(reason) };
      this.#pair.incoming.fail(this.#failure.reason); // Behind what has arrived.
      this.#end();
    }
    return this.#failure.reason;
  }

  #end(): void {
    clearTimeout(this.#finTimer);
    if (this.#failure) this.#settle.reject(this.#failure.reason);
    else this.#settle.resolve();
    if (!this.#finSent || !this.#remoteEnd) this.#pair.reset();
  }

  #explain(reason: unknown): unknown {
    if (reason instanceof ForwardError || !(reason instanceof Error)) return reason;
    if (reason instanceof StreamTimeoutError) {
      return this.#error(`the server did not answer: ${reason.message}`, "ETIMEDOUT", reason);
    }
    const what = reason instanceof StreamResetError ? "the connection was reset" : "the connection to the pod was lost";
    return this.#error(`${what}: ${reason.message}`, "ECONNRESET", reason);
  }

  #takesNoMore(): ForwardError {
    return this.#error("the pod has ended the connection", "EPIPE");
  }

  #error(message: string, code = "", cause?: Error): ForwardError {
    return new ForwardError(message, { port: this.port, code, ...(cause && { cause }) });
  }
}

/** A chunk of `readable` is at most this large, in bytes. */
const CHUNK = 64 * 1024;

/** How long the pod has to be quiet after its own last word before the FIN goes out, in milliseconds. */
const SHORT_FIN_DELAY = 2_000;

/** How long the server's word on a connection may take behind the end of its data, in milliseconds. */
const VERDICT_TIMEOUT = 1_000;
