/**
 * HTTP/1.1 (RFC 9112) over a duplex, as much of it as an API server needs.
 *
 * @module
 */
import { type Duplex, hasToken, maskPath, MAX_DELAY, readRefusal } from "../bytes/mod.ts";
import { BufferedReader } from "./buffered_reader.ts";
import { LAST_CHUNK, toChunk } from "./chunk.ts";
import { HttpBreakError, HttpError, UpgradeRefusedError } from "./errors.ts";
import { bodyReader } from "./http_body.ts";
import { encodeRequest, type HttpRequest, isChunked, MAX_HEAD, readHead, type ResponseHead } from "./http_head.ts";
import { codeOf, reasonOf } from "./sockets.ts";

/** A response. */
export interface HttpResponse extends ResponseHead {
  /** The body: bytes, read from the network as they are asked for. It fails if it ends early. */
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** A stream after an upgrade. */
export interface Upgraded {
  /** The head of the 101. */
  readonly head: ResponseHead;
  /** What follows it, from the first byte on. */
  readonly duplex: Duplex;
}

/** Options of a request. */
export interface HttpOptions {
  /** Gives up the request and its response. After an upgrade it has no effect. */
  readonly signal?: AbortSignal;
  /** How long the server may take to answer, in milliseconds, counted from the last piece of the body. Default 60 000. */
  readonly timeout?: number;
  /** How long whoever reads the body may wait for its next piece, in milliseconds. Default: for ever. */
  readonly bodyTimeout?: number;
}

/**
 * An HTTP/1.1 connection: one request at a time, then perhaps the next, then perhaps an
 * upgrade that takes it over.
 *
 * @example
 * ```ts
 * import { duplexPair } from "../bytes/mod.ts";
 * import { HttpConnection } from "./http.ts";
 *
 * const [client, server] = duplexPair();
 * await server.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
 * const connection = new HttpConnection(client);
 * const { body } = await connection.request({ method: "GET", target: "/readyz", headers: [["Host", "x"]] });
 * await new Response(body).text(); // "ok", and the connection is reusable
 * ```
 */
export class HttpConnection {
  readonly #duplex: Duplex;
  readonly #reader: BufferedReader;
  #state: "idle" | "busy" | "closed" = "idle";
  #watch: Watch | undefined;
  /** Whether some of a body in pieces has not been sent, and perhaps never will. */
  #sending = false;
  #endedUnanswered = false;
  #retired = false;
  /** Whether somebody waits for the head of an answer, or for more of its body. */
  #awaited = false;

  /** A connection over `duplex`, which it owns from now on. */
  constructor(duplex: Duplex) {
    this.#duplex = duplex;
    this.#reader = new BufferedReader(duplex);
  }

  /** Whether the connection has ended or was closed. */
  get closed(): boolean {
    return this.#state === "closed";
  }

  /** Whether another request may be sent: the last response has been read to its end and the server keeps the connection. */
  get reusable(): boolean {
    return this.#state === "idle" && this.#reader.size === 0; // Bytes that are there already answer nothing.
  }

  /** Whether it is noticed at once that the server closes the idle connection. */
  get watched(): boolean {
    return this.#duplex.setIdle !== undefined;
  }

  /**
   * Whether the connection ended when a request had been sent and before any byte of an answer came. A server that has
   * closed an idle connection lets requests end so.
   */
  get endedUnanswered(): boolean {
    return this.#endedUnanswered;
  }

  /**
   * Sends a request and reads the head of the response.
   *
   * @throws {HttpError} If the answer is malformed, too late, or ends early; what broke the connection is its `cause`.
   * @throws {TypeError} If the request cannot be sent as it is.
   * @throws The signal's reason; or what the body in pieces failed with.
   */
  request(request: HttpRequest, options: HttpOptions = {}): Promise<HttpResponse> {
    return this.#exchange(request, options, ({ head, keepAlive }, watch) => {
      if (head.status === 101) throw new HttpError("the server switched protocols without being asked");
      return this.#response(request.method, head, keepAlive, watch);
    });
  }

  /**
   * Sends a request for an upgrade.
   *
   * @throws {UpgradeRefusedError} If the answer is not a 101 to the protocol that was asked for; the connection is closed then.
   * @throws {HttpError} As {@linkcode HttpConnection.request}.
   */
  upgrade(request: HttpRequest, options: HttpOptions = {}): Promise<Upgraded> {
    return this.#exchange(request, options, async ({ head, keepAlive }, watch) => {
      if (head.status === 101) return this.#switch(request, head, watch);
      const body = await readRefusal(this.#body(request.method, head, keepAlive, watch), options.signal);
      throw new UpgradeRefusedError({ ...head, body });
    });
  }

  /**
   * Sends a request for an upgrade; resolves with the stream if the server agrees, else with its answer. The connection ends
   * with that: a proxy on the way that passes on a refusal may end it without a word, as Kubernetes' does.
   *
   * @throws {UpgradeRefusedError} If it switches to something that was not asked for; the connection is closed then.
   * @throws {HttpError} As {@linkcode HttpConnection.request}.
   */
  negotiate(request: HttpRequest, options: HttpOptions = {}): Promise<Upgraded | HttpResponse> {
    return this.#exchange(request, options, ({ head }, watch) => {
      if (head.status === 101) return this.#switch(request, head, watch);
      return this.#response(request.method, head, false, watch);
    });
  }

  /**
   * Opens a tunnel through a proxy: CONNECT.
   *
   * @throws {UpgradeRefusedError} If the answer is not 2xx; the connection is closed then.
   * @throws {HttpError} As {@linkcode HttpConnection.request}.
   */
  tunnel(request: HttpRequest, options: HttpOptions = {}): Promise<Duplex> {
    return this.#exchange(request, options, ({ head }, watch) => {
      if (head.status < 200 || head.status >= 300) throw new UpgradeRefusedError({ ...head, body: "" });
      return this.#takeOver(watch);
    });
  }

  /** Drops the connection. One that an upgrade has taken over is left alone. */
  close(): void {
    this.#watch?.release();
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#duplex.close();
  }

  /** Closes the connection as soon as it is idle: now, or when the answer under way has been read to its end. */
  retire(): void {
    this.#retired = true;
    if (this.#state === "idle") this.close();
    else this.#await(this.#awaited);
  }

  /** A connection that has retired keeps no process running for an answer that nobody reads. */
  #await(awaited: boolean): void {
    this.#awaited = awaited;
    if (this.#retired && this.#state === "busy") this.#duplex.setIdle?.(!awaited);
  }

  /** Sends a request, reads the head of the answer, and drops the connection if `use` of it fails. */
  async #exchange<T>(
    request: HttpRequest,
    options: HttpOptions,
    use: (answer: Awaited<ReturnType<typeof readHead>>, watch: Watch) => Promise<T> | T,
  ): Promise<T> {
    if (this.#state !== "idle") throw new HttpError("the HTTP connection is busy or closed; open another one");
    const bytes = encodeRequest(request);
    options.signal?.throwIfAborted();
    this.#state = "busy";
    this.#awaited = true;
    this.#duplex.setIdle?.(false);
    const watch = new Watch(() => this.close(), `${request.method} ${pathOf(request)}`, options);
    this.#watch = watch;
    const received = this.#reader.received;
    try {
      await this.#duplex.write(bytes);
      const { body } = request;
      if (body && !(body instanceof Uint8Array)) void this.#send(body, isChunked(request), watch);
      const budget = { limit: MAX_HEAD, left: MAX_HEAD };
      let answer = await readHead(this.#reader, budget);
      // Interim responses (100, 103) announce the real one; 101 is one.
      while (answer.head.status < 200 && answer.head.status !== 101) answer = await readHead(this.#reader, budget);
      return await use(answer, watch);
    } catch (error) {
      this.#endedUnanswered = this.#reader.received === received && !watch.over;
      this.close();
      throw error instanceof UpgradeRefusedError ? error : watch.reason(error);
    }
  }

  /** Keeps the connection for the next request, and reads on meanwhile: the server may close it, and must not send anything. */
  async #rest(): Promise<void> {
    this.#state = "idle";
    if (!this.#duplex.setIdle) return;
    this.#duplex.setIdle(true);
    try {
      await this.#reader.ahead();
    } catch {
      // An end like any other; a request that has come meanwhile is told by its own read.
    }
    if (this.#state === "idle") this.close();
  }

  /** Sends a body in pieces, while the answer is awaited: it may come early. */
  async #send(pieces: AsyncIterable<Uint8Array>, chunked: boolean, watch: Watch): Promise<void> {
    this.#sending = true;
    try {
      for await (const piece of pieces) {
        if (piece.length > 0 && !await this.#tryWrite(chunked ? toChunk(piece) : piece)) return;
        watch.restartClock();
      }
      this.#sending = chunked && !await this.#tryWrite(LAST_CHUNK);
    } catch (error) {
      watch.fail(error);
    }
  }

  /** A server that closes early may have answered before: its answer, or the lack of one, says what is wrong. */
  async #tryWrite(data: Uint8Array): Promise<boolean> {
    try {
      await this.#duplex.write(data);
      return true;
    } catch {
      return false;
    }
  }

  #switch(request: HttpRequest, head: ResponseHead, watch: Watch): Upgraded {
    if (!isSwitch(request, head)) throw new UpgradeRefusedError({ ...head, body: "" });
    return { head, duplex: this.#takeOver(watch) };
  }

  #response(method: string, head: ResponseHead, keepAlive: boolean, watch: Watch): HttpResponse {
    const body = this.#body(method, head, keepAlive, watch);
    watch.stopClock();
    this.#await(false);
    return { ...head, body };
  }

  #takeOver(watch: Watch): Duplex {
    watch.release();
    this.#state = "closed";
    return this.#reader.unread();
  }

  #body(
    method: string,
    head: ResponseHead,
    keepAlive: boolean,
    watch: Watch,
  ): ReadableStream<Uint8Array<ArrayBuffer>> {
    const body = bodyReader(this.#reader, method, head);
    const end = () => {
      watch.release();
      // Bytes after the end belong to no request: whoever sent them cannot be followed any further.
      const clean = body.delimited && this.#reader.size === 0 && !this.#sending;
      if (keepAlive && clean && !this.#retired && this.#state === "busy") void this.#rest();
      else this.close();
    };
    if (body.empty) end();
    return new ReadableStream({
      type: "bytes",
      start: (controller) => {
        if (body.empty) controller.close();
      },
      pull: async (controller) => {
        this.#await(true);
        try {
          const piece = await watch.timed(body.next());
          watch.check(); // A closed duplex may look like one that has ended.
          if (piece) return controller.enqueue(piece);
          end();
          controller.close();
          controller.byobRequest?.respond(0);
        } catch (error) {
          this.close();
          throw watch.reason(error);
        } finally {
          this.#await(false);
        }
      },
      cancel: () => this.close(),
    }, { highWaterMark: 0 });
  }
}

/** Closes a connection when the caller gives up, or when the answer is late. */
class Watch {
  readonly #close: () => void;
  readonly #signal: AbortSignal | undefined;
  readonly #what: string;
  readonly #timeout: number;
  readonly #bodyTimeout: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failure: { readonly reason: unknown } | undefined;

  constructor(close: () => void, what: string, { signal, timeout = 60_000, bodyTimeout }: HttpOptions) {
    this.#close = close;
    this.#signal = signal;
    this.#what = what;
    this.#timeout = timeout;
    this.#bodyTimeout = bodyTimeout;
    signal?.addEventListener("abort", close, { once: true });
    this.#startClock();
  }

  /** The answer is there: from here on only the signal counts, and the time for each piece of the body. */
  stopClock(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** There was progress: the time counts from now, if it still does. */
  restartClock(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#startClock();
  }

  /** Waits for a piece of the body: not for longer than it may take, once the time of the answer no longer counts. */
  async timed<T>(piece: Promise<T>): Promise<T> {
    const timeout = this.#bodyTimeout;
    if (timeout === undefined || this.#timer !== undefined) return await piece;
    this.#timer = setTimeout(() => {
      this.fail(new HttpBreakError(`the answer to ${this.#what} stopped: nothing more of it within ${timeout} ms`));
    }, Math.min(timeout, MAX_DELAY));
    try {
      return await piece;
    } finally {
      this.stopClock();
    }
  }

  #startClock(): void {
    this.#timer = setTimeout(() => {
      this.fail(new HttpBreakError(`no answer to ${this.#what} within ${this.#timeout} ms`));
    }, Math.min(this.#timeout, MAX_DELAY));
  }

  /** Closes the connection, for that reason. */
  fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#close();
  }

  /** Nothing counts any more. */
  release(): void {
    this.stopClock();
    this.#signal?.removeEventListener("abort", this.#close);
  }

  /** Whether the caller has given up or the answer was late. */
  get over(): boolean {
    return Boolean(this.#signal?.aborted || this.#failure);
  }

  /** Throws if it is over. */
  check(): void {
    if (this.over) throw this.reason(undefined);
  }

  /** Why the connection really broke. */
  reason(error: unknown): unknown {
    if (this.#signal?.aborted) return this.#signal.reason;
    if (this.#failure) return this.#failure.reason;
    if (error instanceof HttpError) return error;
    const why = reasonOf(error, codeOf(error));
    return new HttpBreakError(`the connection broke before the answer to ${this.#what} was whole: ${why}`, {
      cause: error,
    });
  }
}

/** Whether a 101 switches to what was asked for (RFC 9110 section 7.8). */
function isSwitch(request: HttpRequest, { headers }: ResponseHead): boolean {
  const wanted = request.headers.find(([name]) => name.toLowerCase() === "upgrade")?.[1];
  return wanted !== undefined && hasToken(headers.get("upgrade"), wanted) &&
    hasToken(headers.get("connection"), "upgrade");
}

/** The target without its query, which may hold a command's arguments, and without a host's token. */
function pathOf(request: HttpRequest): string {
  return maskPath(request.target.replace(/\?.*/, ""));
}
