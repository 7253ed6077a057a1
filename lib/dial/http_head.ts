/**
 * The heads of HTTP/1.1 messages (RFC 9112 sections 2 to 5): requests out, responses in.
 *
 * @module
 */
import { concat, hasToken } from "../bytes/mod.ts";
import type { Budget, BufferedReader } from "./buffered_reader.ts";
import { HttpBreakError, HttpError } from "./errors.ts";
import { type HeaderFields, isToken } from "./header_fields.ts";

/** A request. Header fields go out in the given order and spelling; names may repeat. */
export interface HttpRequest {
  /** The method. */
  readonly method: string;
  /** The request target: a path and a query, or for CONNECT `host:port`. */
  readonly target: string;
  /** The header fields, `Host` among them. */
  readonly headers: HeaderFields;
  /**
   * The body. The `Content-Length` of bytes is added; pieces are sent in chunks unless the header fields have their
   * `Content-Length`.
   */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
}

/** The head of a response. */
export interface ResponseHead {
  /** The status code. */
  readonly status: number;
  /** The reason phrase. */
  readonly statusText: string;
  /** The header fields. */
  readonly headers: Headers;
  /** The same as they came: in order, spelled as they were, names that repeat apart. */
  readonly lines: HeaderFields;
}

/** More than this in the heads of one answer, in bytes, is refused. */
export const MAX_HEAD = 64 * 1024;

/**
 * A request as it goes out, but for a body in pieces.
 *
 * @throws {TypeError} If a part of it could be read as something else: a line break in a header, say. Values are not told.
 */
export function encodeRequest(request: HttpRequest): Uint8Array {
  const { method, target, headers, body } = request;
  if (!isToken(method)) throw new TypeError(`Cannot send a request with method ${JSON.stringify(method)}`);
  if (!/^[\x21-\x7e]+$/.test(target)) {
    throw new TypeError("Cannot send a request target that is empty or has other than visible ASCII in it");
  }
  let head = `${method} ${target} HTTP/1.1\r\n`;
  for (const [name, value] of headers) {
    if (!isToken(name)) throw new TypeError(`Cannot send a header called ${JSON.stringify(name)}`);
    if (["\0", "\r", "\n"].some((c) => value.includes(c))) {
      throw new TypeError(`Cannot send the header ${name}: its value has a line break or NUL in it`);
    }
    if (/^transfer-encoding$/i.test(name) || (body instanceof Uint8Array && /^content-length$/i.test(name))) {
      throw new TypeError(`Cannot send the header ${name}: the body's length is added by itself`);
    }
    head += `${name}: ${value}\r\n`;
  }
  if (body instanceof Uint8Array) head += `Content-Length: ${body.length}\r\n`;
  else if (isChunked(request)) head += "Transfer-Encoding: chunked\r\n";
  const bytes = new TextEncoder().encode(`${head}\r\n`);
  return body instanceof Uint8Array ? concat([bytes, body]) : bytes;
}

/**
 * The head of a response; values as they were read (as Latin-1) from who sent them.
 *
 * @throws {TypeError} If a line has what would end it, or no place in it.
 *
 * @example
 * ```ts
 * import { encodeResponseHead } from "./http_head.ts";
 *
 * encodeResponseHead(204, "No Content", [["Allow", "GET"]]); // HTTP/1.1 204 No Content, Allow: GET, an empty line
 * ```
 */
export function encodeResponseHead(status: number, reason: string, fields: HeaderFields): Uint8Array {
  const lines = [`HTTP/1.1 ${status} ${reason}`, ...fields.map(([name, value]) => `${name}: ${value}`)];
  const bad = lines.findIndex((line) => !/^[\t\x20-\x7e\x80-\xff]*$/.test(line));
  if (bad >= 0) throw new TypeError(`cannot send this ${fields[bad - 1]?.[0] ?? "status"} in the head of an answer`);
  return Uint8Array.from(`${lines.join("\r\n")}\r\n\r\n`, (character) => character.charCodeAt(0));
}

/** Whether a request's body goes out in chunks. */
export function isChunked({ body, headers }: HttpRequest): boolean {
  if (body === undefined || body instanceof Uint8Array) return false;
  return !headers.some(([name]) => name.toLowerCase() === "content-length");
}

/**
 * Reads the head of a response, and whether the server keeps the connection after it.
 *
 * @throws {HttpError} If it is malformed, longer than `budget`, or ends early.
 */
export async function readHead(
  reader: BufferedReader,
  budget: Budget,
): Promise<{ readonly head: ResponseHead; readonly keepAlive: boolean }> {
  const line = await reader.line(budget);
  if (line === undefined) throw new HttpBreakError("the connection ended before an answer");
  const match = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/.exec(line);
  if (!match) throw new HttpError(`not an HTTP/1.1 answer: ${quote(line)}`);
  const { headers, lines } = mergeLengths(await readFields(reader, budget));
  return {
    head: { status: Number(match[2]), statusText: match[3] ?? "", headers, lines },
    keepAlive: match[1] === "1" && !hasToken(headers.get("connection"), "close"),
  };
}

type Fields = Pick<ResponseHead, "headers" | "lines">;

/**
 * Makes one of a length that is said several times (RFC 9112, 6.3), before it is believed or passed on. Lengths that differ
 * stay, for whoever reads the body to refuse.
 */
function mergeLengths(fields: Fields): Fields {
  const { headers, lines } = fields;
  const lengths = headers.get("content-length")?.split(/[ \t]*,[ \t]*/) ?? []; // It has joined them.
  const [length = ""] = lengths;
  if (lengths.length < 2 || lengths.some((other) => other !== length)) return fields;
  headers.set("content-length", length);
  const others = lines.filter(([name]) => name.toLowerCase() !== "content-length");
  return { headers, lines: [...others, ["Content-Length", length]] };
}

/**
 * Reads header fields, or trailers, up to the empty line.
 *
 * @throws {HttpError} As {@linkcode readHead}.
 */
export async function readFields(
  reader: BufferedReader,
  budget: Budget,
): Promise<Fields> {
  const headers = new Headers();
  const lines: Array<readonly [string, string]> = [];
  for (;;) {
    const line = await reader.line(budget);
    if (line === "") return { headers, lines };
    if (line === undefined) throw new HttpBreakError("the connection ended in the middle of the headers");
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0));
    if (!isToken(name)) throw new HttpError(`malformed header line ${quote(line)}`);
    if (CONTROLS.test(line)) throw new HttpError(`malformed value of the header ${name}`);
    try {
      headers.append(name, line.slice(colon + 1));
      lines.push([name, line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "")]);
    } catch (cause) {
      throw new HttpError(`malformed value of the header ${name}`, { cause });
    }
  }
}

/** What no field may have (RFC 9110 section 5.5); nobody could pass it on. */
// deno-lint-ignore no-control-regex -- control characters are what it is about
const CONTROLS = /[\x00-\x08\x0a-\x1f\x7f]/;

/** The beginning of what a peer said, for an error. */
export function quote(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
