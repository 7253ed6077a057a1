/**
 * HTTP/1.1 (RFC 9112) over a duplex, as much of it as an API server needs.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";
import { HttpError, UpgradeRefusedError } from "./errors.ts";

/** A request. Header fields go out in the given order and spelling; names may repeat. */
export interface HttpRequest {
  /** The method. */
  readonly method: string;
  /** The request target: a path and a query, or for CONNECT `host:port`. */
  readonly target: string;
  /** The header fields, `Host` among them. */
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
  /** The body; its `Content-Length` is added. */
  readonly body?: Uint8Array;
}

/** The head of a response. */
export interface ResponseHead {
  /** The status code. */
  readonly status: number;
  /** The reason phrase. */
  readonly statusText: string;
  /** The header fields. */
  readonly headers: Headers;
}

/** A response. */
export interface HttpResponse extends ResponseHead {
  /** The body: bytes, read from the network as they are asked for. */
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
  /** Gives up the request and its response. */
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
  readonly #reader: LineReader;
  #state: "idle" | "busy" | "closed" = "idle";

  /** A connection over `duplex`, which it owns from now on. */
  constructor(duplex: Duplex) {
    this.#duplex = duplex;
    this.#reader = new LineReader(duplex);
  }

  /** Whether another request may be sent: the last response has been read to its end and the server keeps the connection. */
  get reusable(): boolean {
    return this.#state === "idle";
  }

  /**
   * Sends a request and reads the head of the response.
   *
   * @throws {HttpError} If the answer is malformed, too late, or ends early.
   * @throws The signal's reason; or what broke the connection.
   */
  async request(request: HttpRequest, options: HttpOptions = {}): Promise<HttpResponse> {
    const { head, release } = await this.#exchange(request, options);
    return { ...head, body: this.#body(request.method, head, release, options.signal) };
  }

  /**
   * Sends a request for an upgrade.
   *
   * @throws {UpgradeRefusedError} If the answer is not 101; the connection is closed then.
   * @throws {HttpError} As {@linkcode HttpConnection.request}.
   */
  async upgrade(request: HttpRequest, options: HttpOptions = {}): Promise<Upgraded> {
    const { head, release } = await this.#exchange(request, options);
    if (head.status === 101) {
      release();
      return { head, duplex: withPrefix(this.#reader.rest(), this.#duplex) };
    }
    try {
      const body = await readText(this.#body(request.method, head, release, options.signal));
      throw new UpgradeRefusedError({ ...head, body });
    } finally {
      this.close();
    }
  }

  /**
   * Opens a tunnel through a proxy: CONNECT.
   *
   * @throws {UpgradeRefusedError} If the answer is not 2xx; the connection is closed then.
   * @throws {HttpError} As {@linkcode HttpConnection.request}.
   */
  async tunnel(request: HttpRequest, options: HttpOptions = {}): Promise<Duplex> {
    const { head, release } = await this.#exchange(request, options);
    release();
    if (head.status >= 200 && head.status < 300) return withPrefix(this.#reader.rest(), this.#duplex);
    this.close();
    throw new UpgradeRefusedError({ ...head, body: "" });
  }

  /** Drops the connection. */
  close(): void {
    this.#state = "closed";
    this.#duplex.close();
  }

  async #exchange(
    request: HttpRequest,
    options: HttpOptions,
  ): Promise<{ head: ResponseHead; release: () => void }> {
    if (this.#state !== "idle") throw new HttpError("the HTTP connection is busy or closed");
    const bytes = encodeRequest(request);
    const { signal, timeout = 60_000 } = options;
    signal?.throwIfAborted();
    this.#state = "busy";
    const abort = () => this.close();
    signal?.addEventListener("abort", abort, { once: true });
    const release = () => signal?.removeEventListener("abort", abort);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.close();
    }, timeout);
    try {
      await this.#duplex.write(bytes);
      let head = await readHead(this.#reader);
      // Interim responses (100, 103) announce the real one; 101 is one.
      while (head.status < 200 && head.status !== 101) head = await readHead(this.#reader);
      return { head, release };
    } catch (error) {
      release();
      this.close();
      signal?.throwIfAborted();
      if (late) throw new HttpError(`no answer to ${request.method} ${pathOf(request)} within ${timeout} ms`);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #body(
    method: string,
    head: ResponseHead,
    release: () => void,
    signal: AbortSignal | undefined,
  ): ReadableStream<Uint8Array<ArrayBuffer>> {
    const chunks = this.#chunks(method, head);
    const keepAlive = !/\bclose\b/i.test(head.headers.get("connection") ?? "") && chunks.delimited;
    const end = () => {
      release();
      if (this.#state !== "busy") return;
      if (keepAlive) this.#state = "idle";
      else this.close();
    };
    if (chunks.empty) end();
    return new ReadableStream({
      type: "bytes",
      start: (controller) => {
        if (chunks.empty) controller.close();
      },
      pull: async (controller) => {
        try {
          const chunk = await chunks.next();
          if (chunk) return controller.enqueue(chunk);
          end();
          controller.close();
          controller.byobRequest?.respond(0);
        } catch (error) {
          release();
          this.close();
          signal?.throwIfAborted();
          throw error;
        }
      },
      cancel: () => {
        release();
        this.close();
      },
    }, { highWaterMark: 0 });
  }

  /** The framing of the body (RFC 9112 section 6.3). */
  #chunks(method: string, head: ResponseHead): BodyChunks {
    const { status, headers } = head;
    if (method === "HEAD" || status === 204 || status === 304) return NO_BODY;
    const coding = headers.get("transfer-encoding");
    if (coding !== null) {
      if (coding.toLowerCase() !== "chunked") throw new HttpError(`unknown transfer coding ${JSON.stringify(coding)}`);
      return new Chunked(this.#reader);
    }
    const length = headers.get("content-length");
    if (length === null) return new UntilEnd(this.#reader);
    if (!/^\d{1,15}$/.test(length)) throw new HttpError(`malformed Content-Length ${JSON.stringify(length)}`);
    return length === "0" ? NO_BODY : new FixedLength(this.#reader, Number(length));
  }
}

/** More than this in one head, in bytes, is refused. */
const MAX_HEAD = 64 * 1024;
/** As much of a refusal's body is kept, in bytes. */
const MAX_REFUSAL = 64 * 1024;
const BUFFER_SIZE = 16 * 1024;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

function encodeRequest(request: HttpRequest): Uint8Array {
  const { method, target, headers, body } = request;
  if (!TOKEN.test(method)) throw new TypeError(`Cannot send a request with method ${JSON.stringify(method)}`);
  if (target === "" || [...target].some((c) => c <= " " || c === "\x7f")) {
    throw new TypeError("Cannot send a request target with white space in it");
  }
  let head = `${method} ${target} HTTP/1.1\r\n`;
  for (const [name, value] of headers) {
    if (!TOKEN.test(name)) throw new TypeError(`Cannot send a header called ${JSON.stringify(name)}`);
    if (["\0", "\r", "\n"].some((c) => value.includes(c))) {
      throw new TypeError(`Cannot send the header ${name}: its value has a line break in it`); // The value may be a secret.
    }
    head += `${name}: ${value}\r\n`;
  }
  if (body) head += `Content-Length: ${body.length}\r\n`;
  const bytes = new TextEncoder().encode(`${head}\r\n`);
  if (!body) return bytes;
  const all = new Uint8Array(bytes.length + body.length);
  all.set(bytes);
  all.set(body, bytes.length);
  return all;
}

async function readHead(reader: LineReader): Promise<ResponseHead> {
  const budget = { left: MAX_HEAD };
  const statusLine = await reader.line(budget);
  const match = /^HTTP\/1\.[01] (\d{3})(?: (.*))?$/.exec(statusLine);
  if (!match) throw new HttpError(`not an HTTP/1.1 answer: ${JSON.stringify(statusLine.slice(0, 80))}`);
  const headers = await readFields(reader, budget);
  return { status: Number(match[1]), statusText: match[2] ?? "", headers };
}

async function readFields(reader: LineReader, budget: { left: number }): Promise<Headers> {
  const headers = new Headers();
  for (;;) {
    const line = await reader.line(budget);
    if (line === "") return headers;
    const colon = line.indexOf(":");
    const name = line.slice(0, colon);
    if (colon <= 0 || !TOKEN.test(name)) {
      throw new HttpError(`malformed header line ${JSON.stringify(line.slice(0, 80))}`);
    }
    try {
      headers.append(name, line.slice(colon + 1).trim());
    } catch (cause) {
      throw new HttpError(`malformed value of the header ${name}`, { cause });
    }
  }
}

/** Lines and pieces from a duplex, through one buffer. */
class LineReader {
  readonly #duplex: Duplex;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  #start = 0;
  #end = 0;

  constructor(duplex: Duplex) {
    this.#duplex = duplex;
  }

  /** The next line without its end (CR LF or LF), as Latin-1. Takes from `budget`. */
  async line(budget: { left: number }): Promise<string> {
    let line = "";
    for (;;) {
      const feed = this.#buffer.subarray(this.#start, this.#end).indexOf(LF);
      const stop = feed < 0 ? this.#end : this.#start + feed + 1;
      budget.left -= stop - this.#start;
      if (budget.left < 0) throw new HttpError(`more than ${MAX_HEAD} bytes of headers`);
      line += latin1(this.#buffer.subarray(this.#start, stop));
      this.#start = stop;
      if (feed >= 0) return line.replace(/\r?\n$/, "");
      if (!await this.#fill()) {
        throw new HttpError(
          line === "" && budget.left === MAX_HEAD
            ? "the connection ended before an answer"
            : "the connection ended in the middle of an answer's head",
        );
      }
    }
  }

  /** Some of the next `most` bytes, in a buffer of their own, or `undefined` at the end. */
  async piece(most: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#start === this.#end) {
      if (most >= BUFFER_SIZE) {
        const piece = new Uint8Array(Math.min(most, 4 * BUFFER_SIZE));
        const n = await this.#duplex.read(piece);
        return n === null ? undefined : piece.subarray(0, n);
      }
      if (!await this.#fill()) return undefined;
    }
    const stop = Math.min(this.#end, this.#start + most);
    const piece = this.#buffer.slice(this.#start, stop);
    this.#start = stop;
    return piece;
  }

  /** What has been read and not been taken. */
  rest(): Uint8Array {
    const rest = this.#buffer.slice(this.#start, this.#end);
    this.#start = this.#end;
    return rest;
  }

  async #fill(): Promise<boolean> {
    this.#start = this.#end = 0;
    const n = await this.#duplex.read(this.#buffer);
    if (n === null) return false;
    this.#end = n;
    return true;
  }
}

const LF = 10;

/** Bytes to text one by one (`TextDecoder`'s latin1 is windows-1252). */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return text;
}

/** A body's bytes, one piece at a time; `undefined` at its end. */
interface BodyChunks {
  /** Whether nothing will come. */
  readonly empty: boolean;
  /** Whether its end is known without the connection's end. */
  readonly delimited: boolean;
  next(): Promise<Uint8Array<ArrayBuffer> | undefined>;
}

const NO_BODY: BodyChunks = { empty: true, delimited: true, next: () => Promise.resolve(undefined) };

class FixedLength implements BodyChunks {
  readonly empty = false;
  readonly delimited = true;
  readonly #reader: LineReader;
  readonly #length: number;
  #left: number;

  constructor(reader: LineReader, length: number) {
    this.#reader = reader;
    this.#length = length;
    this.#left = length;
  }

  async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#left === 0) return undefined;
    const piece = await this.#reader.piece(this.#left);
    if (!piece) {
      throw new HttpError(
        `the connection ended after ${this.#length - this.#left} of ${this.#length} bytes of the body`,
      );
    }
    this.#left -= piece.length;
    return piece;
  }
}

class Chunked implements BodyChunks {
  readonly empty = false;
  readonly delimited = true;
  readonly #reader: LineReader;
  #left = 0;
  #first = true;

  constructor(reader: LineReader) {
    this.#reader = reader;
  }

  async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#left === 0) {
      if (!this.#first && await this.#line() !== "") throw new HttpError("malformed end of a chunk");
      this.#first = false;
      const size = /^([0-9a-f]{1,8})(?:\s*;.*)?\s*$/i.exec(await this.#line())?.[1];
      if (size === undefined) throw new HttpError("malformed size of a chunk");
      this.#left = parseInt(size, 16);
      if (this.#left === 0) {
        await readFields(this.#reader, { left: MAX_HEAD }); // Trailers: nobody here needs them.
        return undefined;
      }
    }
    const piece = await this.#reader.piece(this.#left);
    if (!piece) throw new HttpError("the connection ended in the middle of a chunked body");
    this.#left -= piece.length;
    return piece;
  }

  #line(): Promise<string> {
    return this.#reader.line({ left: 1024 });
  }
}

class UntilEnd implements BodyChunks {
  readonly empty = false;
  readonly delimited = false;
  readonly #reader: LineReader;

  constructor(reader: LineReader) {
    this.#reader = reader;
  }

  next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#reader.piece(4 * BUFFER_SIZE);
  }
}

async function readText(body: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const chunk of body) {
      text += decoder.decode(chunk, { stream: true });
      if (text.length >= MAX_REFUSAL) break;
    }
  } catch (error) {
    // A refusal counts as far as it came: its status is what matters.
    if (!(error instanceof HttpError)) throw error;
  }
  return text.slice(0, MAX_REFUSAL);
}

/** `duplex`, with bytes that were read from it already put back in front. */
function withPrefix(prefix: Uint8Array, duplex: Duplex): Duplex {
  if (prefix.length === 0) return duplex;
  let left = prefix;
  return {
    read(into) {
      if (left.length === 0) return duplex.read(into);
      const n = Math.min(left.length, into.length);
      into.set(left.subarray(0, n));
      left = left.subarray(n);
      return Promise.resolve(n);
    },
    write: (data) => duplex.write(data),
    closeWrite: () => duplex.closeWrite(),
    close: () => duplex.close(),
  };
}

/** The target without its query, which may hold a command's arguments. */
function pathOf(request: HttpRequest): string {
  return request.target.replace(/\?.*/, "");
}
