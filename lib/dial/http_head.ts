/**
 * The heads of HTTP/1.1 messages (RFC 9112 sections 2 to 5): requests out, responses in.
 *
 * @module
 */
import type { Budget, BufferedReader } from "./buffered_reader.ts";
import { HttpError } from "./errors.ts";

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

/** More than this in the heads of one answer, in bytes, is refused. */
export const MAX_HEAD = 64 * 1024;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/**
 * A request as it goes out.
 *
 * @throws {TypeError} If a part of it could be read as something else: a line break in a header, say. Values are not told.
 */
export function encodeRequest(request: HttpRequest): Uint8Array {
  const { method, target, headers, body } = request;
  if (!TOKEN.test(method)) throw new TypeError(`Cannot send a request with method ${JSON.stringify(method)}`);
  if (!/^[\x21-\x7e]+$/.test(target)) {
    throw new TypeError("Cannot send a request target that is empty or has other than visible ASCII in it");
  }
  let head = `${method} ${target} HTTP/1.1\r\n`;
  for (const [name, value] of headers) {
    if (!TOKEN.test(name)) throw new TypeError(`Cannot send a header called ${JSON.stringify(name)}`);
    if (["\0", "\r", "\n"].some((c) => value.includes(c))) {
      throw new TypeError(`Cannot send the header ${name}: its value has a line break or NUL in it`);
    }
    if (body && /^(content-length|transfer-encoding)$/i.test(name)) {
      throw new TypeError(`Cannot send the header ${name}: the body's length is added by itself`);
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
  if (line === undefined) throw new HttpError("the connection ended before an answer");
  const match = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/.exec(line);
  if (!match) throw new HttpError(`not an HTTP/1.1 answer: ${JSON.stringify(line.slice(0, 80))}`);
  const headers = await readFields(reader, budget);
  return {
    head: { status: Number(match[2]), statusText: match[3] ?? "", headers },
    keepAlive: match[1] === "1" && !hasToken(headers.get("connection"), "close"),
  };
}

/**
 * Reads header fields, or trailers, up to the empty line.
 *
 * @throws {HttpError} As {@linkcode readHead}.
 */
export async function readFields(reader: BufferedReader, budget: Budget): Promise<Headers> {
  const headers = new Headers();
  for (;;) {
    const line = await reader.line(budget);
    if (line === "") return headers;
    if (line === undefined) throw new HttpError("the connection ended in the middle of the headers");
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0));
    if (!TOKEN.test(name)) throw new HttpError(`malformed header line ${JSON.stringify(line.slice(0, 80))}`);
    try {
      headers.append(name, line.slice(colon + 1));
    } catch (cause) {
      throw new HttpError(`malformed value of the header ${name}`, { cause });
    }
  }
}

/** Whether a comma-separated header value holds `token`, in any case. */
export function hasToken(value: string | null, token: string): boolean {
  return value?.split(",").some((part) => part.trim().toLowerCase() === token.toLowerCase()) ?? false;
}
