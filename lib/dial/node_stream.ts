/**
 * Between Node's streams and duplexes, both ways. Types only come from Node: a bundle of podwire has to load in a
 * browser.
 *
 * @module
 */
import type { Socket } from "node:net";
import type { Duplex as NodeStream } from "node:stream";
import { type Duplex, orAbort, PodwireError } from "../bytes/mod.ts";

/** Waits until `stream` has emitted `event`; an abort destroys it. */
export async function opened(stream: NodeStream, event: string, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const closed = () => reject(new PodwireError("the connection ended"));
  stream.once(event, resolve).once("error", reject).once("close", closed);
  try {
    await orAbort(promise, signal);
  } catch (error) {
    stream.on("error", () => {}); // It is being thrown away.
    stream.destroy();
    throw error;
  } finally {
    stream.off(event, resolve).off("error", reject).off("close", closed);
  }
}

/** A Node stream (a socket of `node:net` or `node:tls`) as a duplex. */
export class NodeDuplex implements Duplex {
  readonly #stream: NodeStream;
  readonly #onRead: (() => void) | undefined;
  readonly #onIdle: ((idle: boolean) => void) | undefined;
  #failure: { readonly reason: unknown } | undefined;
  #rest: Uint8Array | undefined;
  #wake: (() => void) | undefined;

  /**
   * Takes over `stream`; `onRead` is called whenever something has been taken out of it, `onIdle` instead of the socket's own
   * `ref()` and `unref()`.
   */
  constructor(stream: NodeStream, onRead?: () => void, onIdle?: (idle: boolean) => void) {
    this.#stream = stream;
    this.#onRead = onRead;
    this.#onIdle = onIdle;
    const wake = () => {
      this.#wake?.();
      this.#wake = undefined;
    };
    stream.on("readable", wake).on("end", wake).on("close", wake);
    stream.on("error", (reason) => {
      this.#failure ??= { reason };
      wake();
    });
  }

  /** Reads into `into`. */
  async read(into: Uint8Array): Promise<number | null> {
    const chunk = await this.readChunk();
    if (chunk === null) return null;
    const n = Math.min(chunk.length, into.length);
    into.set(chunk.subarray(0, n));
    this.#rest = n < chunk.length ? chunk.subarray(n) : undefined;
    return n;
  }

  /** Reads what there is, without a copy. */
  async readChunk(): Promise<Uint8Array | null> {
    for (;;) {
      const chunk: Uint8Array | null = this.#rest ?? this.#stream.read();
      if (chunk !== null) {
        this.#rest = undefined;
        this.#onRead?.();
        return chunk;
      }
      if (this.#failure) throw this.#failure.reason;
      if (this.#stream.readableEnded) return null;
      if (this.#stream.destroyed) throw new PodwireError("the connection is closed");
      const woken = new Promise<void>((resolve) => this.#wake = resolve);
      this.#onRead?.();
      await woken;
    }
  }

  /** Writes all of `data`, after the writes before it. */
  write(data: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.write(data, (error) => error ? reject(this.#failure?.reason ?? error) : resolve());
    });
  }

  /** Ends the outgoing direction. */
  closeWrite(): Promise<void> {
    return new Promise((resolve, reject) => {
      const closed = () => reject(this.#failure?.reason ?? new PodwireError("the connection is closed"));
      if (this.#stream.destroyed) return closed(); // Node would never call back.
      this.#stream.end((error?: Error | null) => error && !this.#stream.writableFinished ? closed() : resolve());
    });
  }

  /** Closes both directions. */
  close(): void {
    this.#stream.destroy();
  }

  /** See {@linkcode Duplex}. */
  setIdle(idle: boolean): void {
    if (this.#onIdle) return this.#onIdle(idle);
    const socket = this.#stream as Partial<Socket>;
    if (idle) socket.unref?.();
    else socket.ref?.();
  }

  /** Closes both directions so that the peer learns of it as an error: TCP's RST, where the socket has one. */
  reset(): void {
    const socket = this.#stream as Partial<Socket>;
    if (socket.remoteAddress !== undefined && socket.resetAndDestroy) socket.resetAndDestroy();
    else this.close();
  }
}

/**
 * A duplex as a Node stream, for `node:tls` to run over. It reads on only while `hasRoom` says so:
 * Deno's `node:tls` takes whatever its lower stream gives, however much lies unread above.
 */
export class LowerStream {
  /** The stream; it owns the duplex. */
  readonly stream: NodeStream;
  /** Whether more may be read. */
  hasRoom: () => boolean = () => true;
  readonly #duplex: Duplex;
  readonly #buffer = new Uint8Array(32 * 1024);
  #wanted = false;
  #reading = false;

  /** A stream of Node's class `Stream` over `duplex`. */
  constructor(duplex: Duplex, Stream: typeof NodeStream) {
    this.#duplex = duplex;
    this.stream = new Stream({
      allowHalfOpen: true,
      read: () => {
        this.#wanted = true;
        this.poke();
      },
      write: (chunk: Uint8Array, _encoding, done) => void duplex.write(chunk).then(() => done(), done),
      final: (done) => void duplex.closeWrite().then(() => done(), done),
      destroy: (error, done) => {
        duplex.close();
        done(error);
      },
    });
  }

  /** Says it to what is below. */
  setIdle(idle: boolean): void {
    this.#duplex.setIdle?.(idle);
  }

  /** Looks again whether there is room. */
  poke(): void {
    if (this.#wanted && !this.#reading && this.hasRoom()) void this.#pull();
  }

  async #pull(): Promise<void> {
    this.#reading = true;
    this.#wanted = false;
    try {
      const n = await this.#duplex.read(this.#buffer);
      this.#reading = false;
      this.stream.push(n === null ? null : this.#buffer.slice(0, n));
    } catch (error) {
      this.#reading = false;
      this.stream.destroy(error as Error);
    }
  }
}
