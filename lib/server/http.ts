/**
 * The server's side of HTTP/1.1 (RFC 9112) over one {@linkcode Duplex}.
 *
 * `Deno.serve` cannot hand over a socket after an upgrade, and refuses a POST with an
 * `Upgrade` header, which is how SPDY begins; so podwire reads requests itself.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";

/** A request that cannot be served; the connection ends after the answer. */
export class HttpRequestError extends PodwireError {
  /** The class's name. */
  override name = "HttpRequestError";
  /** The HTTP status to answer with. */
  readonly status: number;

  /** An error that is answered with `status`. */
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A request's header lines, in order; names match in any case. */
export class HeaderLines {
  readonly #lines: ReadonlyArray<readonly [string, string]>;

  /** These lines. */
  constructor(lines: ReadonlyArray<readonly [string, string]>) {
    this.#lines = lines;
  }

  /** The value of the first line of that name. Kubernetes' WebSocket servers look at no other. */
  get(name: string): string | undefined {
    return this.getAll(name)[0];
  }

  /** The values of all lines of that name. */
  getAll(name: string): string[] {
    const wanted = name.toLowerCase();
    return this.#lines.filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value);
  }

  /** The same as the platform's headers, where lines of one name are joined. */
  toHeaders(): Headers {
    return new Headers(this.#lines.map(([name, value]) => [name, value]));
  }

  /** The comma-separated, lower-cased members of all lines of that name. */
  tokens(name: string): string[] {
    return this.getAll(name).flatMap((value) => value.split(",")).map((token) => token.trim().toLowerCase())
      .filter((token) => token !== "");
  }
}

/** One request, without its body. */
export interface HttpRequest {
  /** The method, in upper case as it came. */
  readonly method: string;
  /** The path, still percent-encoded. */
  readonly path: string;
  /** What follows the first `?`, raw; empty if nothing does. */
  readonly query: string;
  /** 1 for HTTP/1.1, 0 for HTTP/1.0. */
  readonly minorVersion: 0 | 1;
  /** The header lines. */
  readonly headers: HeaderLines;
}

/** One answer. */
export interface HttpResponse {
  /** The status code. */
  readonly status: number;
  /** Header lines; `Content-Length`, `Date` and `Connection` are added. */
  readonly headers?: ReadonlyArray<readonly [string, string]>;
  /** The body; empty if absent. */
  readonly body?: string;
  /** Ends the connection after this answer. */
  readonly close?: boolean;
}

/** What a request may take. */
export interface HttpLimits {
  /** Bytes of request line and headers. Default 256 KiB: an exec carries its command in the URL. */
  readonly head?: number;
  /** Bytes of body. Default 1 MiB. */
  readonly body?: number;
  /** How long a connection may wait for a request, in milliseconds. Default 120 000. */
  readonly idle?: number;
  /** How long the head or the body of a request may take, in milliseconds. Default 30 000. */
  readonly request?: number;
}

/**
 * Reads requests from a connection and writes the answers, one after the other.
 *
 * @example
 * ```ts
 * import { duplexPair } from "../bytes/mod.ts";
 * import { HttpServerConnection } from "./http.ts";
 *
 * const [client, server] = duplexPair();
 * await client.write(new TextEncoder().encode("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
 * const connection = new HttpServerConnection(server);
 * const request = await connection.next(); // { method: "GET", path: "/healthz", … }
 * await connection.respond({ status: 200, body: "ok" });
 * ```
 */
export class HttpServerConnection {
  readonly #duplex: Duplex;
  readonly #limits: Required<HttpLimits>;
  #buffer = new Uint8Array(0);
  #request: HttpRequest | undefined;
  #body: BodyLength = { type: "none" };
  #bodyRead = true;
  #persistent = true;

  /** Serves `duplex`. */
  constructor(duplex: Duplex, limits: HttpLimits = {}) {
    this.#duplex = duplex;
    this.#limits = { head: 256 * 1024, body: 1024 * 1024, idle: 120_000, request: 30_000, ...limits };
  }

  /**
   * The next request, or `undefined` if the client has ended or the connection does not persist.
   * What the one before had as a body is read first.
   *
   * @throws {HttpRequestError} If it is malformed or too large.
   */
  async next(): Promise<HttpRequest | undefined> {
    if (!this.#bodyRead) await this.body();
    if (!this.#persistent) return undefined;
    this.#request = undefined;
    if (this.#buffer.length === 0 && !await this.#withDeadline(this.#limits.idle, () => this.#fill())) return undefined;
    const head = await this.#withDeadline(this.#limits.request, () => this.#readHead());
    if (head === undefined) return undefined;
    const request = parseHead(head);
    this.#body = bodyLength(request);
    this.#bodyRead = this.#body.type === "none";
    this.#persistent = persists(request);
    this.#request = request;
    return request;
  }

  /**
   * Reads the body of the current request.
   *
   * @throws {HttpRequestError} If it is malformed, too large or cut short.
   */
  async body(): Promise<Uint8Array> {
    if (this.#bodyRead) return new Uint8Array(0);
    this.#bodyRead = true;
    return await this.#withDeadline(this.#limits.request, async () => {
      if (this.#request?.minorVersion === 1 && this.#request.headers.tokens("expect").includes("100-continue")) {
        await this.#duplex.write(encoder.encode("HTTP/1.1 100 Continue\r\n\r\n"));
      }
      return this.#body.type === "chunked" ? await this.#readChunks() : await this.#readExactly(this.#bodySize());
    });
  }

  /** Answers the current request. */
  async respond(response: HttpResponse): Promise<void> {
    if (response.close) this.#persistent = false;
    const hasBody = response.status !== 204 && response.status !== 304;
    const body = encoder.encode(response.body ?? "");
    const lines = [
      statusLine(response.status),
      ...(response.headers ?? []).map(([name, value]) => `${name}: ${value}`),
      `Date: ${new Date().toUTCString()}`,
      ...(hasBody ? [`Content-Length: ${body.length}`] : []),
      ...(this.#persistent ? [] : ["Connection: close"]),
    ];
    const head = encoder.encode(`${lines.join("\r\n")}\r\n\r\n`);
    const sent = hasBody && this.#request?.method !== "HEAD" ? [head, body] : [head];
    await this.#duplex.write(concat(sent, sent.reduce((sum, part) => sum + part.length, 0)));
  }

  /**
   * Answers with `101 Switching Protocols` and hands over the connection, with what the
   * client has already sent behind its request.
   */
  async upgrade(headers: ReadonlyArray<readonly [string, string]>): Promise<Duplex> {
    this.#persistent = false;
    const lines = [statusLine(101), ...headers.map(([name, value]) => `${name}: ${value}`)];
    await this.#duplex.write(encoder.encode(`${lines.join("\r\n")}\r\n\r\n`));
    const rest = this.#buffer;
    this.#buffer = new Uint8Array(0);
    return rest.length === 0 ? this.#duplex : new PrefixedDuplex(rest, this.#duplex);
  }

  #bodySize(): number {
    return this.#body.type === "length" ? this.#body.length : 0;
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
        const head = latin1.decode(this.#buffer.subarray(0, end));
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

  async #readExactly(length: number): Promise<Uint8Array> {
    this.#checkBodySize(length);
    while (this.#buffer.length < length) {
      if (!await this.#fill()) throw new HttpRequestError(400, "connection ended within a request body");
    }
    const body = this.#buffer.slice(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return body;
  }

  async #readChunks(): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let total = 0;
    for (;;) {
      const size = /^([0-9a-f]{1,8})[ \t]*(;.*)?$/i.exec(await this.#readLine());
      if (!size) throw new HttpRequestError(400, "malformed chunk size");
      const length = parseInt(size[1]!, 16);
      if (length === 0) break;
      total += length;
      this.#checkBodySize(total);
      chunks.push(await this.#readExactly(length));
      if (await this.#readLine() !== "") throw new HttpRequestError(400, "chunk without an end");
    }
    while (await this.#readLine() !== "") { /* Trailers mean nothing to us. */ }
    return concat(chunks, total);
  }

  async #readLine(): Promise<string> {
    for (;;) {
      const end = this.#buffer.indexOf(0x0a);
      if (end >= 0) {
        if (this.#buffer[end - 1] !== 0x0d) throw new HttpRequestError(400, "line without a carriage return");
        const line = latin1.decode(this.#buffer.subarray(0, end - 1));
        this.#buffer = this.#buffer.subarray(end + 1);
        return line;
      }
      if (this.#buffer.length > MAX_CHUNK_LINE) throw new HttpRequestError(400, "chunk header is too long");
      if (!await this.#fill()) throw new HttpRequestError(400, "connection ended within a request body");
    }
  }

  #checkBodySize(length: number): void {
    if (length > this.#limits.body) {
      throw new HttpRequestError(413, `request body is larger than ${this.#limits.body} bytes`);
    }
  }

  /** Reads some more; `false` at the end. */
  async #fill(): Promise<boolean> {
    const part = new Uint8Array(16 * 1024);
    const n = await this.#duplex.read(part);
    if (n === null) return false;
    this.#buffer = concat([this.#buffer, part.subarray(0, n)], this.#buffer.length + n);
    return true;
  }

  /** Drops the connection, and so ends the read, if `work` takes longer than `milliseconds`. */
  async #withDeadline<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#duplex.close(), milliseconds);
    try {
      return await work();
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A duplex whose first bytes have been read already. */
class PrefixedDuplex implements Duplex {
  #prefix: Uint8Array;
  readonly #duplex: Duplex;

  constructor(prefix: Uint8Array, duplex: Duplex) {
    this.#prefix = prefix;
    this.#duplex = duplex;
  }

  read(into: Uint8Array): Promise<number | null> {
    if (this.#prefix.length === 0) return this.#duplex.read(into);
    const n = Math.min(into.length, this.#prefix.length);
    into.set(this.#prefix.subarray(0, n));
    this.#prefix = this.#prefix.subarray(n);
    return Promise.resolve(n);
  }

  write(data: Uint8Array): Promise<void> {
    return this.#duplex.write(data);
  }

  closeWrite(): Promise<void> {
    return this.#duplex.closeWrite();
  }

  close(): void {
    this.#duplex.close();
  }
}

type BodyLength = { readonly type: "none" | "chunked" } | { readonly type: "length"; readonly length: number };

/** The longest chunk-size or trailer line, in bytes. */
const MAX_CHUNK_LINE = 4096;

const encoder = new TextEncoder();
const latin1 = new TextDecoder("latin1");

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) (\\S+) HTTP/1\\.([01])$`);
const HEADER_LINE = new RegExp(`^(${TOKEN}):[ \\t]*(.*?)[ \\t]*$`);
// deno-lint-ignore no-control-regex -- exactly the bytes that RFC 9110 section 5.5 keeps out of a value
const FORBIDDEN_IN_VALUE = /[\x00-\x08\x0a-\x1f\x7f]/;

function parseHead(text: string): HttpRequest {
  const [first = "", ...rest] = text.split("\r\n");
  const requestLine = REQUEST_LINE.exec(first);
  if (!requestLine) {
    if (/ HTTP\/[02-9]/.test(first)) throw new HttpRequestError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    throw new HttpRequestError(400, "malformed request line");
  }
  const lines = rest.map((line): readonly [string, string] => {
    const match = HEADER_LINE.exec(line);
    if (!match || FORBIDDEN_IN_VALUE.test(match[2]!)) throw new HttpRequestError(400, "malformed header line");
    return [match[1]!, match[2]!];
  });
  const headers = new HeaderLines(lines);
  const minorVersion = requestLine[3] === "1" ? 1 : 0;
  const hosts = headers.getAll("host").length;
  if (hosts > 1 || (hosts === 0 && minorVersion === 1)) {
    throw new HttpRequestError(400, "missing or repeated Host header");
  }
  const target = originForm(requestLine[2]!);
  const mark = target.indexOf("?");
  return {
    method: requestLine[1]!,
    path: mark < 0 ? target : target.slice(0, mark),
    query: mark < 0 ? "" : target.slice(mark + 1),
    minorVersion,
    headers,
  };
}

/** Path and query of a request target, which a client may also send as a whole URL (RFC 9112 section 3.2). */
function originForm(target: string): string {
  const absolute = /^https?:\/\/[^/?#]+/i.exec(target);
  const path = absolute ? target.slice(absolute[0].length) || "/" : target;
  if (!path.startsWith("/") || path.includes("#")) throw new HttpRequestError(400, "malformed request target");
  return path;
}

function bodyLength(request: HttpRequest): BodyLength {
  const codings = request.headers.tokens("transfer-encoding");
  const lengths = new Set(request.headers.getAll("content-length"));
  if (codings.length > 0) {
    if (lengths.size > 0) throw new HttpRequestError(400, "both Content-Length and Transfer-Encoding");
    if (codings.length !== 1 || codings[0] !== "chunked") {
      throw new HttpRequestError(501, "no transfer coding but chunked is known");
    }
    return { type: "chunked" };
  }
  if (lengths.size === 0) return { type: "none" };
  const [text = ""] = lengths;
  if (lengths.size > 1 || !/^\d{1,15}$/.test(text)) throw new HttpRequestError(400, "malformed Content-Length");
  return Number(text) === 0 ? { type: "none" } : { type: "length", length: Number(text) };
}

function persists(request: HttpRequest): boolean {
  const options = request.headers.tokens("connection");
  return request.minorVersion === 1 ? !options.includes("close") : options.includes("keep-alive");
}

function findEmptyLine(buffer: Uint8Array, from: number): number {
  for (let at = buffer.indexOf(0x0d, from); at >= 0; at = buffer.indexOf(0x0d, at + 1)) {
    if (buffer[at + 1] === 0x0a && buffer[at + 2] === 0x0d && buffer[at + 3] === 0x0a) return at;
  }
  return -1;
}

function concat(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${REASONS[status] ?? "Unknown"}`;
}

/** The reason phrases of the codes that are used here (RFC 9110 section 15). */
const REASONS: Readonly<Record<number, string>> = {
  101: "Switching Protocols",
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
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};
