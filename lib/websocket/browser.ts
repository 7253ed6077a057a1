/**
 * The platform's own WebSocket as a {@linkcode MessageSocket}, where there are no sockets: browsers, edge functions.
 *
 * What is lost against a connection that podwire frames itself: request headers, Pings, and the status and body of a
 * refused upgrade (both kinds); with `WebSocket` also receive back-pressure, see {@linkcode openPlatformWebSocket}.
 *
 * @module
 */
import { concat } from "../bytes/mod.ts";
import { WebSocketConnectionError } from "./connection.ts";
import { CloseCode } from "./frame.ts";
import type { CloseInfo, MessageSocket } from "./message_socket.ts";

/** Options of {@linkcode openPlatformWebSocket}. */
export interface PlatformWebSocketOptions {
  /** Gives up the handshake. */
  readonly signal?: AbortSignal;
  /**
   * For `WebSocket`, which cannot slow the server down: with more unread bytes than this the connection
   * fails. Default 64 MiB.
   */
  readonly maxUnread?: number;
}

/**
 * Opens a WebSocket with what the platform has: `WebSocketStream` if there is one, else `WebSocket`.
 *
 * `WebSocketStream` has back-pressure both ways. `WebSocket` hands over messages unasked: those that nobody
 * receives are queued, up to a bound, beyond which the connection fails rather than grow without limit.
 *
 * @throws {WebSocketConnectionError} If the handshake fails; the platform does not say why.
 * @throws The reason of `options.signal`.
 *
 * @example
 * ```ts
 * import { openPlatformWebSocket } from "./browser.ts";
 *
 * async function hello(): Promise<void> {
 *   const socket = await openPlatformWebSocket("wss://gateway.example/shell", ["v5.channel.k8s.io"]);
 *   await socket.send(new Uint8Array([0, 104, 105]));
 *   await socket.close();
 * }
 * ```
 */
export async function openPlatformWebSocket(
  url: string | URL,
  protocols: readonly string[],
  options: PlatformWebSocketOptions = {},
): Promise<MessageSocket> {
  options.signal?.throwIfAborted();
  // Declared here rather than taken from a library: Deno's own types say `code` where the standard, and its run time,
  // say `closeCode`.
  const WebSocketStream = (globalThis as { WebSocketStream?: unknown }).WebSocketStream as
    | PlatformWebSocketStreamConstructor
    | undefined;
  return WebSocketStream === undefined
    ? await openEventSocket(url, protocols, options)
    : await openStreamSocket(WebSocketStream, url, protocols, options);
}

/** What podwire needs of the platform's `WebSocketStream` (WHATWG websockets, not yet in TypeScript's libraries). */
interface PlatformWebSocketStream {
  readonly opened: Promise<{
    readonly readable: ReadableStream<Uint8Array<ArrayBuffer> | ArrayBuffer | string>;
    readonly writable: WritableStream<Uint8Array<ArrayBuffer> | string>;
    readonly protocol: string;
  }>;
  readonly closed: Promise<CloseInfo>;
  close(info: Partial<CloseInfo>): void;
}

type PlatformWebSocketStreamConstructor = new (
  url: string,
  options: { protocols: string[]; signal?: AbortSignal },
) => PlatformWebSocketStream;

async function openStreamSocket(
  WebSocketStream: PlatformWebSocketStreamConstructor,
  url: string | URL,
  protocols: readonly string[],
  { signal }: PlatformWebSocketOptions,
): Promise<MessageSocket> {
  const stream = new WebSocketStream(String(url), { protocols: [...protocols], ...(signal ? { signal } : {}) });
  stream.closed.catch(() => {}); // A refused handshake rejects both promises: `opened` tells.
  try {
    const { readable, writable, protocol } = await stream.opened;
    return new StreamSocket(stream, readable.getReader(), writable.getWriter(), protocol);
  } catch (cause) {
    signal?.throwIfAborted();
    throw handshakeError(url, cause);
  }
}

/** What the two kinds of sockets share: one end, with one reason. */
abstract class PlatformSocket implements MessageSocket {
  readonly protocol: string;
  readonly closed: Promise<CloseInfo>;
  protected failure: { readonly reason: unknown } | undefined;
  protected closing = false;
  protected bytesReceived = 0;
  readonly #settle: { resolve(info: CloseInfo): void; reject(reason: unknown): void };

  constructor(protocol: string) {
    this.protocol = protocol;
    const { promise, resolve, reject } = Promise.withResolvers<CloseInfo>();
    this.closed = promise;
    this.closed.catch(() => {}); // Whoever wants to know awaits it; receive() tells the same.
    this.#settle = { resolve, reject };
  }

  abstract receive(): Promise<Uint8Array | string | undefined>;
  /** Hands one message to the platform and waits for room. */
  protected abstract write(message: Uint8Array<ArrayBuffer> | string): Promise<void>;
  /** Starts the platform's closing handshake. */
  protected abstract startClose(closeCode: number, reason: string): void;
  /** Lets go of the platform's object. */
  protected abstract release(reason: unknown): void;

  async send(...parts: readonly Uint8Array[] | readonly [string]): Promise<void> {
    if (this.failure) throw this.failure.reason;
    if (this.closing) throw this.error("the WebSocket is closing or closed");
    const [first] = parts;
    await this.write(typeof first === "string" ? first : concat(parts as readonly Uint8Array[]));
  }

  async close(info: Partial<CloseInfo> = {}): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    if (!this.closing && !this.failure) {
      this.startClose(info.closeCode ?? CloseCode.NORMAL, info.reason ?? "");
      this.closing = true;
      timer = setTimeout(
        () => this.fail(this.error(`no Close frame from the peer within ${CLOSE_TIMEOUT} ms`)),
        CLOSE_TIMEOUT,
      );
    }
    await this.closed.catch(() => {});
    clearTimeout(timer);
  }

  abort(reason: unknown = this.error("the WebSocket was aborted")): void {
    this.fail(reason);
  }

  protected end(info: CloseInfo): void {
    this.closing = true;
    this.#settle.resolve(info);
  }

  protected fail(reason: unknown): void {
    if (this.failure) return;
    this.failure = { reason };
    this.#settle.reject(reason);
    this.release(reason);
  }

  protected error(what: string, options?: ErrorOptions): WebSocketConnectionError {
    return new WebSocketConnectionError(`${what} (${this.bytesReceived} bytes received)`, this.bytesReceived, options);
  }
}

/** Over `WebSocketStream`. */
class StreamSocket extends PlatformSocket {
  readonly #stream: PlatformWebSocketStream;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer> | ArrayBuffer | string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer> | string>;

  constructor(
    stream: PlatformWebSocketStream,
    reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer> | ArrayBuffer | string>,
    writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer> | string>,
    protocol: string,
  ) {
    super(protocol);
    this.#stream = stream;
    this.#reader = reader;
    this.#writer = writer;
    // Both reject with what `closed` rejects with.
    reader.closed.catch(() => {});
    writer.closed.catch(() => {});
    stream.closed.then(
      ({ closeCode, reason }) => this.end({ closeCode, reason }),
      (cause) => this.fail(this.error("the connection ended without a Close frame", { cause })),
    );
  }

  async receive(): Promise<Uint8Array | string | undefined> {
    if (this.failure) throw this.failure.reason;
    try {
      const { value } = await this.#reader.read();
      if (value !== undefined) {
        const message = value instanceof ArrayBuffer ? new Uint8Array(value) : value;
        this.bytesReceived += message.length;
        return message;
      }
    } catch {
      // `closed` has the reason.
    }
    await this.closed;
    return undefined;
  }

  protected async write(message: Uint8Array<ArrayBuffer> | string): Promise<void> {
    await this.#writer.write(message);
  }

  protected startClose(closeCode: number, reason: string): void {
    this.#stream.close({ closeCode, reason });
  }

  protected release(reason: unknown): void {
    // There is no way to drop the connection: the platform's closing handshake goes on by itself.
    this.#writer.abort(reason).catch(() => {});
    this.#reader.cancel(reason).catch(() => {});
  }
}

async function openEventSocket(
  url: string | URL,
  protocols: readonly string[],
  { signal, maxUnread = 64 * 1024 * 1024 }: PlatformWebSocketOptions,
): Promise<MessageSocket> {
  const socket = new WebSocket(url, [...protocols]);
  socket.binaryType = "arraybuffer";
  return await new Promise((resolve, reject) => {
    const onAbort = () => {
      stop();
      socket.close();
      reject(signal?.reason);
    };
    const stop = () => {
      signal?.removeEventListener("abort", onAbort);
      socket.onopen = socket.onerror = null;
    };
    signal?.addEventListener("abort", onAbort);
    socket.onerror = (event) => {
      stop();
      const { message } = event as Partial<ErrorEvent>; // Deno says a little more than a browser.
      reject(handshakeError(url, message ? new Error(message) : undefined));
    };
    socket.onopen = () => {
      stop();
      resolve(new EventSocket(socket, maxUnread));
    };
  });
}

/** Over `WebSocket`. */
class EventSocket extends PlatformSocket {
  readonly #socket: WebSocket;
  readonly #maxUnread: number;
  readonly #queue: (Uint8Array | string)[] = [];
  #unread = 0;
  #wake: (() => void) | undefined;
  readonly #timers: Map<ReturnType<typeof setTimeout>, () => void> = new Map();

  constructor(socket: WebSocket, maxUnread: number) {
    super(socket.protocol);
    this.#socket = socket;
    this.#maxUnread = maxUnread;
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      this.#push(typeof data === "string" ? data : new Uint8Array(data));
    };
    socket.onclose = ({ code, reason, wasClean }) => {
      if (wasClean) this.end({ closeCode: code, reason });
      else this.fail(this.error("the connection ended without a Close frame"));
      this.#stopWaiting();
    };
  }

  async receive(): Promise<Uint8Array | string | undefined> {
    while (this.#queue.length === 0 && !this.failure && this.#socket.readyState !== WebSocket.CLOSED) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const message = this.#queue.shift();
    if (message !== undefined) this.#unread -= message.length;
    else await this.closed;
    return message;
  }

  protected async write(message: Uint8Array<ArrayBuffer> | string): Promise<void> {
    this.#socket.send(message);
    while (this.#socket.bufferedAmount > MAX_BUFFERED && !this.failure && !this.closing) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          this.#timers.delete(timer);
          resolve();
        }, POLL_INTERVAL);
        this.#timers.set(timer, resolve);
      });
    }
    if (this.failure) throw this.failure.reason;
  }

  protected startClose(closeCode: number, reason: string): void {
    this.#socket.close(closeCode, reason);
  }

  override abort(reason?: unknown): void {
    super.abort(reason);
    this.#queue.length = 0;
  }

  // What has arrived stays: of a connection that breaks, the last words may be the ones that matter.
  protected release(): void {
    this.#socket.onmessage = null;
    this.#socket.close();
    this.#stopWaiting();
  }

  #push(message: Uint8Array | string): void {
    this.bytesReceived += message.length;
    this.#unread += message.length;
    this.#queue.push(message);
    if (this.#unread > this.#maxUnread) {
      this.abort(
        this.error(`more than ${this.#maxUnread} bytes arrived unread, and a WebSocket cannot slow the server`),
      );
    }
    this.#wake?.();
  }

  #stopWaiting(): void {
    this.#wake?.();
    for (const [timer, resolve] of this.#timers) {
      clearTimeout(timer);
      resolve();
    }
    this.#timers.clear();
  }
}

/** How long the platform's closing handshake may take, in milliseconds. */
const CLOSE_TIMEOUT = 5000;

/** A `WebSocket` that holds more unsent bytes than this makes the sender wait. */
const MAX_BUFFERED = 1024 * 1024;

/** How often such a sender looks again, in milliseconds: a `WebSocket` does not tell. */
const POLL_INTERVAL = 5;

function handshakeError(url: string | URL, cause: unknown): WebSocketConnectionError {
  const { origin, pathname } = new URL(url);
  return new WebSocketConnectionError(
    `the WebSocket handshake with ${origin}${pathname} failed; the platform does not say why`,
    0,
    cause === undefined ? {} : { cause },
  );
}
