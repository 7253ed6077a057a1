/**
 * The server's side of HTTP/1.1 (RFC 9112) over one {@linkcode Duplex}.
 *
 * `Deno.serve` cannot hand over a socket after an upgrade, and refuses a POST with an
 * `Upgrade` header, which is how SPDY begins; so podwire reads requests itself.
 *
 * @module
 */
import { concat, type Duplex, MAX_DELAY, PodwireError } from "../bytes/mod.ts";
import { encodeResponseHead, type HeaderFields, LAST_CHUNK, toChunk } from "../dial/mod.ts";
import {
  type BodyLength,
  bodyLength,
  expectsContinue,
  type HttpRequest,
  HttpRequestError,
  parseHead,
  persists,
} from "./http_request.ts";

export { HeaderLines, type HttpRequest, HttpRequestError } from "./http_request.ts";

/** One answer. */
export interface HttpResponse {
  /** The status code. */
  readonly status: number;
  /** The reason phrase. Default: the code's own. */
  readonly reason?: string;
  /**
   * Header lines; `Content-Length` or `Transfer-Encoding`, `Date` and `Connection` are added. With a body in pieces a
   * `Content-Length` is kept, and the pieces have to be that long together.
   */
  readonly headers?: HeaderFields;
  /** The body: a text, or pieces that are sent as they come. Empty if absent. */
  readonly body?: string | AsyncIterable<Uint8Array>;
  /** Ends the connection after this answer. */
  readonly close?: boolean;
}

/** What a request may take. */
export interface HttpLimits {
  /** Bytes of request line and headers. Default 256 KiB: an exec carries its command in the URL. */
  readonly head?: number;
  /** Header lines. Default 256. */
  readonly lines?: number;
  /** Bytes of a body that is read as a whole. Default 1 MiB. */
  readonly body?: number;
  /** How long the head of a connection's first request may take, in milliseconds: nothing is known of the client. Default 10 000. */
  readonly first?: number;
  /**
   * How long a connection may wait for a further request, or for the next piece of a streamed body, and how long an upstream may take to
   * accept one, in milliseconds. Default 120 000.
   */
  readonly idle?: number;
  /** How long the head of a request, or a body that is read as a whole, may take, in milliseconds. Default 30 000. */
  readonly request?: number;
}

/** The client ended or broke the connection before the end of its answer. */
export class ClientGoneError extends PodwireError {
  /** The class's name. */
  override name = "ClientGoneError";

  /** The client is gone, or was sent away. */
  constructor(message = "the client went away before the end of its answer") {
    super(message);
  }
}

/**
 * Reads requests from a connection and writes the answers, one after the other.
 *
 * @example
 * ```ts
 * import type { Duplex } from "@podwire/podwire";
 * import { HttpServerConnection } from "@podwire/podwire/server";
 *
 * async function answer(duplex: Duplex): Promise<void> {
 *   const connection = new HttpServerConnection(duplex);
 *   const request = await connection.next(); // { method: "GET", path: "/healthz", … }
 *   if (request) await connection.respond({ status: 200, body: "ok" });
 * }
 * ```
 */
export class HttpServerConnection {
  readonly #duplex: Duplex;
  readonly #limits: Required<HttpLimits>;
  /** What has been read and not been used. */
  #buffer = new Uint8Array(0);
  /** The read that is under way. */
  #filling: Promise<boolean> | undefined;
  #request: HttpRequest | undefined;
  #body: BodyLength = { type: "none" };
  #bodyState: "unread" | "reading" | "read" = "read";
  #watcher: AbortController | undefined;
  #isFirst = true;
  #persistent = true;
  #received = 0;
  #sent = 0;

  /** Serves `duplex`. */
  constructor(duplex: Duplex, limits: HttpLimits = {}) {
    this.#duplex = duplex;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
  }

  /** Whether the current request has a body that nobody has begun to read. */
  get hasBody(): boolean {
    return this.#bodyState === "unread";
  }

  /** Bytes of the current request's body so far. */
  get received(): number {
    return this.#received;
  }

  /** Bytes of the body of its answer so far. */
  get sent(): number {
    return this.#sent;
  }

  /**
   * The next request, or `undefined` if the client has ended or the connection does not persist.
   * What the one before had as a body is read first.
   *
   * @throws {HttpRequestError} If it is malformed or too large.
   */
  async next(): Promise<HttpRequest | undefined> {
    this.#request = this.#watcher = undefined;
    if (!this.#persistent) {
      if (this.#bodyState !== "read") await this.#linger();
      return undefined;
    }
    if (this.#bodyState === "unread") await this.body();
    const head = this.#isFirst
      ? await this.#withDeadline(this.#limits.first, () => this.#nextHead())
      : await this.#nextHead();
    if (head === undefined) return undefined;
    this.#isFirst = false;
    this.#bodyState = "reading"; // Where what follows ends is only known from the head.
    const request = parseHead(head, this.#limits.lines);
    this.#body = bodyLength(request);
    this.#bodyState = this.#body.type === "none" ? "read" : "unread";
    this.#persistent = persists(request);
    this.#received = this.#sent = 0;
    this.#request = request;
    return request;
  }

  /**
   * Reads the body of the current request as a whole.
   *
   * @throws {HttpRequestError} If it is malformed, too large or cut short.
   */
  async body(): Promise<Uint8Array> {
    if (this.#bodyState !== "unread") return new Uint8Array(0);
    if (this.#body.type === "length") this.#checkBodySize(this.#body.length);
    return await this.#withDeadline(this.#limits.request, async () => {
      const pieces: Uint8Array[] = [];
      let total = 0;
      for await (const piece of this.stream()) {
        total += piece.length;
        this.#checkBodySize(total);
        pieces.push(piece);
      }
      return concat(pieces);
    });
  }

  /**
   * The body of the current request in pieces, read from the network as they are asked for, however long it is. Trailers
   * are dropped.
   *
   * @throws {HttpRequestError} If it is malformed or cut short.
   */
  async *stream(): AsyncGenerator<Uint8Array> {
    if (this.#bodyState !== "unread") return;
    this.#bodyState = "reading";
    if (this.#request && expectsContinue(this.#request)) {
      await this.#duplex.write(encoder.encode("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    if (this.#body.type === "length") yield* this.#pieces(this.#body.length);
    else {
      for (let size = await this.#chunkSize(); size > 0; size = await this.#chunkSize()) {
        yield* this.#pieces(size);
        if (await this.#readLine() !== "") throw new HttpRequestError(400, "chunk without an end");
      }
      for (let lines = 0; await this.#readLine() !== ""; lines++) {
        if (lines >= this.#limits.lines) throw new HttpRequestError(400, "too many trailers");
      }
    }
    this.#bodyState = "read";
    if (this.#watcher) void this.#watch(this.#watcher);
  }

  /**
   * A signal that aborts, with a {@linkcode ClientGoneError}, when the client ends or breaks the connection before its
   * request has been answered. As in Go's server, one that has only ended its own direction counts as gone: nothing tells it from one
   * that has closed. One that sends much behind its request is dropped: its end could not be seen behind that.
   */
  watchClient(): AbortSignal {
    if (!this.#watcher) {
      this.#watcher = new AbortController();
      if (this.#bodyState === "read") void this.#watch(this.#watcher);
    }
    return this.#watcher.signal;
  }

  /**
   * Answers the current request. A body in pieces is sent as it comes, and its source is told when the client is gone.
   *
   * @throws Why the body broke; the connection is dropped then, so that the client does not take it for whole.
   */
  async respond(response: HttpResponse): Promise<void> {
    const { status, body = "", reason = REASONS[status] ?? "Unknown" } = response;
    if (response.close || !this.#canSkipBody()) this.#persistent = false;
    const bodiless = status === 204 || status === 304 || this.#request?.method === "HEAD";
    const headers = (response.headers ?? []).filter(([name]) => status !== 204 || !/^content-length$/i.test(name));
    const named = new Set(headers.map(([name]) => name.toLowerCase()));
    if (!named.has("date")) headers.push(["Date", new Date().toUTCString()]);
    const text = typeof body === "string" ? encoder.encode(body) : undefined;
    let chunked = false;
    if (text && status !== 204 && status !== 304) headers.push(["Content-Length", `${text.length}`]);
    else if (!text && !bodiless && !named.has("content-length")) {
      chunked = this.#request?.minorVersion === 1;
      if (chunked) headers.push(["Transfer-Encoding", "chunked"]);
      else this.#persistent = false;
    }
    if (!this.#persistent) headers.push(["Connection", "close"]);
    else if (this.#request?.minorVersion === 0) headers.push(["Connection", "keep-alive"]);
    const head = encodeResponseHead(status, reason, headers);
    if (text) {
      const sent = bodiless ? [head] : [head, text];
      this.#sent = bodiless ? 0 : text.length;
      return await this.#duplex.write(concat(sent));
    }
    await this.#duplex.write(head);
    if (bodiless || typeof body === "string") return;
    try {
      for await (const piece of body) {
        if (piece.length === 0) continue;
        await this.#duplex.write(chunked ? toChunk(piece) : piece);
        this.#sent += piece.length;
      }
    } catch (error) {
      this.#duplex.close();
      throw error;
    }
    if (chunked) await this.#duplex.write(LAST_CHUNK);
  }

  /** The current request is the connection's last. */
  finish(): void {
    this.#persistent = false;
  }

  /**
   * Answers with `101 Switching Protocols` and hands over the connection, with what the
   * client has already sent behind its request.
   */
  async upgrade(headers: HeaderFields): Promise<Duplex> {
    this.#persistent = false;
    this.#request = this.#watcher = undefined;
    await this.#duplex.write(encodeResponseHead(101, "Switching Protocols", headers));
    if (this.#buffer.length === 0 && !this.#filling) return this.#duplex;
    return {
      read: (into) => this.#filling || this.#buffer.length > 0 ? this.#readInto(into) : this.#duplex.read(into),
      write: (data) => this.#duplex.write(data),
      closeWrite: () => this.#duplex.closeWrite(),
      close: () => this.#duplex.close(),
    };
  }

  /** Whether what is left of the request's body is little, and on its way, so that it can be read and dropped. */
  #canSkipBody(): boolean {
    if (this.#bodyState === "read") return true;
    if (this.#bodyState === "reading" || this.#body.type !== "length" || !this.#request) return false;
    return this.#body.length <= MAX_SKIPPED && !expectsContinue(this.#request);
  }

  /** Lets a client that is still sending its body read the answer: a connection closed on unread bytes ends with a reset. */
  async #linger(): Promise<void> {
    const timer = setTimeout(() => this.#duplex.close(), LINGER);
    try {
      await this.#duplex.closeWrite();
      for (let dropped = 0; dropped < MAX_LINGERED; dropped += this.#buffer.length) {
        this.#buffer = new Uint8Array(0);
        if (!await this.#fill()) return;
      }
    } catch {
      // It has gone by itself.
    } finally {
      clearTimeout(timer);
    }
  }

  async #watch(watcher: AbortController): Promise<void> {
    while (this.#watcher === watcher && this.#buffer.length < MAX_AHEAD) {
      const more = await this.#fill().catch(() => false);
      if (!more && this.#watcher === watcher) return watcher.abort(new ClientGoneError());
    }
    if (this.#watcher !== watcher) return;
    this.#duplex.close();
    watcher.abort(new ClientGoneError("the client sent too much behind a request that has no answer yet"));
  }

  async #readInto(into: Uint8Array): Promise<number | null> {
    if (this.#buffer.length === 0 && this.#filling && !await this.#filling) return null;
    if (this.#buffer.length === 0) return await this.#duplex.read(into);
    return into.length === 0 ? 0 : this.#take(into);
  }

  #take(into: Uint8Array): number {
    const part = this.#buffer.subarray(0, into.length);
    into.set(part);
    this.#buffer = this.#buffer.subarray(part.length);
    return part.length;
  }

  /** The head of the next request, in its time once it has begun. */
  async #nextHead(): Promise<string | undefined> {
    if (this.#buffer.length === 0 && !await this.#withDeadline(this.#limits.idle, () => this.#fill())) return undefined;
    return await this.#withDeadline(this.#limits.request, () => this.#readHead());
  }

  /** Up to and without the empty line, or `undefined` if the client ended before it sent anything. */
  async #readHead(): Promise<string | undefined> {
    let searched = 0;
    for (;;) {
      // A client may send an empty line in front of a request (RFC 9112 section 2.2).
      while (searched === 0 && this.#buffer[0] === 0x0d && this.#buffer[1] === 0x0a) {
        this.#buffer = this.#buffer.subarray(2);
      }
      const end = findEmptyLine(this.#buffer, Math.max(0, searched - 3));
      if (end > this.#limits.head || (end < 0 && this.#buffer.length > this.#limits.head)) {
        throw new HttpRequestError(431, `request head is larger than ${this.#limits.head} bytes`);
      }
      if (end >= 0) {
        const head = decoder.decode(this.#buffer.subarray(0, end));
        this.#buffer = this.#buffer.subarray(end + 4);
        return head;
      }
      searched = this.#buffer.length;
      if (!await this.#fill()) {
        if (searched === 0) return undefined;
        throw new HttpRequestError(400, "connection ended within a request head");
      }
    }
  }

  /** The next `length` bytes of a body. */
  async *#pieces(length: number): AsyncGenerator<Uint8Array> {
    for (let left = length; left > 0;) {
      if (this.#buffer.length === 0 && !await this.#fillInTime()) {
        throw new HttpRequestError(400, "connection ended within a request body");
      }
      const piece = this.#buffer.subarray(0, left);
      this.#buffer = this.#buffer.subarray(piece.length);
      left -= piece.length;
      this.#received += piece.length;
      yield piece;
    }
  }

  async #chunkSize(): Promise<number> {
    const size = /^([0-9a-f]{1,8})[ \t]*(;.*)?$/i.exec(await this.#readLine());
    if (!size) throw new HttpRequestError(400, "malformed chunk size");
    return parseInt(size[1]!, 16);
  }

  async #readLine(): Promise<string> {
    for (;;) {
      const end = this.#buffer.indexOf(0x0a);
      if (end >= 0) {
        if (this.#buffer[end - 1] !== 0x0d) throw new HttpRequestError(400, "line without a carriage return");
        const line = decoder.decode(this.#buffer.subarray(0, end - 1));
        this.#buffer = this.#buffer.subarray(end + 1);
        return line;
      }
      if (this.#buffer.length > MAX_CHUNK_LINE) throw new HttpRequestError(400, "chunk header is too long");
      if (!await this.#fillInTime()) throw new HttpRequestError(400, "connection ended within a request body");
    }
  }

  #checkBodySize(length: number): void {
    if (length > this.#limits.body) {
      throw new HttpRequestError(413, `request body is larger than ${this.#limits.body} bytes`);
    }
  }

  #fillInTime(): Promise<boolean> {
    return this.#withDeadline(this.#limits.idle, () => this.#fill());
  }

  /** Reads some more; `false` at the end. */
  #fill(): Promise<boolean> {
    return this.#filling ??= this.#readMore().finally(() => this.#filling = undefined);
  }

  async #readMore(): Promise<boolean> {
    const part = new Uint8Array(this.#bodyState === "reading" ? BODY_READ : HEAD_READ);
    const n = await this.#duplex.read(part);
    if (n === null) return false;
    const more = part.subarray(0, n);
    this.#buffer = this.#buffer.length === 0 ? more : concat([this.#buffer, more]);
    return true;
  }

  /** Drops the connection, and so ends the read, if `work` takes longer than `milliseconds`. */
  async #withDeadline<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#duplex.close(), Math.min(milliseconds, MAX_DELAY));
    try {
      return await work();
    } finally {
      clearTimeout(timer);
    }
  }
}

const DEFAULT_LIMITS: Required<HttpLimits> = {
  head: 256 * 1024,
  lines: 256,
  body: 1024 * 1024,
  first: 10_000,
  idle: 120_000,
  request: 30_000,
};

/** The longest chunk-size or trailer line, in bytes. */
const MAX_CHUNK_LINE = 4096;

/** Of a body that nobody wanted, as many bytes are read so that the connection can go on. */
const MAX_SKIPPED = 64 * 1024;

/** Before a connection is closed on a client that still sends, so many bytes are dropped in so many milliseconds. */
const MAX_LINGERED = 256 * 1024;
const LINGER = 500;

/** While a request is being answered, fewer bytes of the next ones are read, to see whether the client is still there. */
const MAX_AHEAD = 16 * 1024;

/** How much is read at once, in bytes. */
const HEAD_READ = 16 * 1024;
const BODY_READ = 64 * 1024;

const encoder = new TextEncoder();
/** Not Latin-1, as which header values go out again: who passes them on encodes them as UTF-8. */
const decoder = new TextDecoder();

function findEmptyLine(buffer: Uint8Array, from: number): number {
  for (let at = buffer.indexOf(0x0d, from); at >= 0; at = buffer.indexOf(0x0d, at + 1)) {
    if (buffer[at + 1] === 0x0a && buffer[at + 2] === 0x0d && buffer[at + 3] === 0x0a) return at;
  }
  return -1;
}

/** The reason phrases of the codes that are used here (RFC 9110 section 15). */
const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  204: "No Content",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  408: "Request Timeout",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};
