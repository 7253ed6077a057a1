/**
 * HTTP/1.1 (RFC 9112) over a duplex, as much of it as an API server needs.
 *
 * @module
 */
import { type Duplex, maskPath, MAX_DELAY } from "../bytes/mod.ts";
import { BufferedReader } from "./buffered_reader.ts";
import { HttpError, UpgradeRefusedError } from "./errors.ts";
import { bodyReader } from "./http_body.ts";
import { encodeRequest, hasToken, type HttpRequest, MAX_HEAD, readHead, type ResponseHead } from "./http_head.ts";

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
  /** How long the server may take to answer, in milliseconds. Default 60 000. */
  readonly timeout?: number;
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
    return this.#state === "idle";
  }

  /**
   * Sends a request and reads the head of the response.
   *
   * @throws {HttpError} If the answer is malformed, too late, or ends early.
   * @throws {TypeError} If the request cannot be sent as it is.
   * @throws The signal's reason; or what broke the connection.
   */
  request(request: HttpRequest, options: HttpOptions = {}): Promise<HttpResponse> {
    return this.#exchange(request, options, ({ head, keepAlive }, watch) => {
      if (head.status === 101) throw new HttpError("the server switched protocols without being asked");
      const body = this.#body(request.method, head, keepAlive, watch);
      watch.stopClock();
      return { ...head, body };
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
      if (head.status !== 101) {
        const body = await readText(this.#body(request.method, head, keepAlive, watch), options.signal);
        throw new UpgradeRefusedError({ ...head, body });
      }
      if (!isSwitch(request, head)) throw new UpgradeRefusedError({ ...head, body: "" });
      return { head, duplex: this.#takeOver(watch) };
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
    const watch = new Watch(() => this.close(), `${request.method} ${pathOf(request)}`, options);
    this.#watch = watch;
    try {
      await this.#duplex.write(bytes);
      const budget = { left: MAX_HEAD };
      let answer = await readHead(this.#reader, budget);
      // Interim responses (100, 103) announce the real one; 101 is one.
      while (answer.head.status < 200 && answer.head.status !== 101) answer = await readHead(this.#reader, budget);
      return await use(answer, watch);
    } catch (error) {
      this.close();
      throw error instanceof UpgradeRefusedError ? error : watch.reason(error);
    }
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
      if (keepAlive && body.delimited && this.#reader.size === 0 && this.#state === "busy") this.#state = "idle";
      else this.close();
    };
    if (body.empty) end();
    return new ReadableStream({
      type: "bytes",
      start: (controller) => {
        if (body.empty) controller.close();
      },
      pull: async (controller) => {
        try {
          const piece = await body.next();
          watch.check(); // A closed duplex may look like one that has ended.
          if (piece) return controller.enqueue(piece);
          end();
          controller.close();
          controller.byobRequest?.respond(0);
        } catch (error) {
          this.close();
          throw watch.reason(error);
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
  readonly #timer: ReturnType<typeof setTimeout>;
  #late: HttpError | undefined;

  constructor(close: () => void, what: string, { signal, timeout = 60_000 }: HttpOptions) {
    this.#close = close;
    this.#signal = signal;
    signal?.addEventListener("abort", close, { once: true });
    this.#timer = setTimeout(() => {
      this.#late = new HttpError(`no answer to ${what} within ${timeout} ms`);
      close();
    }, Math.min(timeout, MAX_DELAY));
  }

  /** The answer is there: from here on only the signal counts. */
  stopClock(): void {
    clearTimeout(this.#timer);
  }

  /** Nothing counts any more. */
  release(): void {
    this.stopClock();
    this.#signal?.removeEventListener("abort", this.#close);
  }

  /** Throws if the caller has given up or the answer was late. */
  check(): void {
    if (this.#signal?.aborted || this.#late) throw this.reason(undefined);
  }

  /** Why the connection really broke. */
  reason(error: unknown): unknown {
    return this.#signal?.aborted ? this.#signal.reason : this.#late ?? error;
  }
}

/** As much of a refusal's body is kept, in characters. */
const MAX_REFUSAL = 64 * 1024;

/** A refusal counts as far as it came: its status is what matters. */
async function readText(body: ReadableStream<Uint8Array>, signal: AbortSignal | undefined): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const piece of body) {
      text += decoder.decode(piece, { stream: true });
      if (text.length >= MAX_REFUSAL) break;
    }
  } catch {
    signal?.throwIfAborted();
  }
  return text.slice(0, MAX_REFUSAL);
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
