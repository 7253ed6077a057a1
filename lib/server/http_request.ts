/**
 * The head of an HTTP/1.1 request (RFC 9112), read so that nobody behind can read it in another way.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import { type HeaderFields, TOKEN } from "../dial/mod.ts";

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
  readonly #lines: HeaderFields;

  /** These lines. */
  constructor(lines: HeaderFields) {
    this.#lines = lines;
  }

  /** The value of the first line of that name. Kubernetes' WebSocket servers look at no other. */
  get(name: string): string | undefined {
    return this.getAll(name)[0];
  }

  /** The lines in order. */
  [Symbol.iterator](): Iterator<readonly [string, string]> {
    return this.#lines[Symbol.iterator]();
  }

  /** The values of all lines of that name. */
  getAll(name: string): string[] {
    const wanted = name.toLowerCase();
    return this.#lines.filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value);
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

/** How a request says where its body ends. */
export type BodyLength = { readonly type: "none" | "chunked" } | { readonly type: "length"; readonly length: number };

const REQUEST_LINE = new RegExp(`^(${TOKEN}) ([\\x21-\\x7e]+) HTTP/1\\.([01])$`);
const HEADER_LINE = new RegExp(`^(${TOKEN}):[ \\t]*(.*?)[ \\t]*$`);
// deno-lint-ignore no-control-regex -- exactly the bytes that RFC 9110 section 5.5 keeps out of a value
const FORBIDDEN_IN_VALUE = /[\x00-\x08\x0a-\x1f\x7f]/;

/**
 * Takes the head of a request apart: its lines, without the empty one.
 *
 * @throws {HttpRequestError} If it is malformed, or has more than `maxLines` header lines.
 */
export function parseHead(text: string, maxLines: number): HttpRequest {
  const [first = "", ...rest] = text.split("\r\n");
  if (rest.length > maxLines) throw new HttpRequestError(431, `request has more than ${maxLines} header lines`);
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

/**
 * How the body of `request` is delimited (RFC 9112 section 6.3).
 *
 * @throws {HttpRequestError} If that could be read in two ways.
 */
export function bodyLength(request: HttpRequest): BodyLength {
  const codings = request.headers.tokens("transfer-encoding");
  const lengths = new Set(request.headers.getAll("content-length"));
  if (codings.length > 0) {
    if (lengths.size > 0) throw new HttpRequestError(400, "both Content-Length and Transfer-Encoding");
    if (request.minorVersion === 0) throw new HttpRequestError(400, "Transfer-Encoding in an HTTP/1.0 request");
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

/** Whether the connection goes on after `request`. */
export function persists(request: HttpRequest): boolean {
  const options = request.headers.tokens("connection");
  return request.minorVersion === 1 ? !options.includes("close") : options.includes("keep-alive");
}

/** Whether the client waits to be told to send its body. */
export function expectsContinue({ minorVersion, headers }: HttpRequest): boolean {
  return minorVersion === 1 && headers.tokens("expect").includes("100-continue");
}
