/**
 * Requests of HTTP/1.1 (RFC 9112) that can be checked, and nothing else: whatever two readers might read in two ways is refused.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";

/** A request without a body. */
export interface CheckedRequest {
  /** `GET` or `HEAD`; others are read too, to be refused. */
  readonly method: string;
  /** The path as it stands there. */
  readonly path: string;
  /** The path with its query. */
  readonly target: string;
  /** Whether it is HTTP/1.1, not 1.0. */
  readonly modern: boolean;
  /** Whether the client keeps the connection. */
  readonly keepAlive: boolean;
  /** The header fields that go to the target: those for this connection only are left out. */
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
}

/** A request is not what HTTP/1.1 allows, or cannot be checked. */
export class BadRequestError extends Error {
  /** The class's name. */
  override name = "BadRequestError";
}

/** More than this in a request's head, in bytes, is refused. */
const MAX_HEAD = 16 * 1024;

/** A reader's first buffer: most heads fit, and a connection that waits holds no more. */
const FIRST = 1024;

/** How long a head may take from its first byte on, in milliseconds. */
const MAX_TIME = 10_000;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** The fields that are for one connection (RFC 9110 section 7.6.1), and those that would make it something else than HTTP/1.1. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/** `lines` without the fields that are for one connection, by default or because its `Connection` says so. */
export function endToEnd(
  lines: ReadonlyArray<readonly [name: string, value: string]>,
): Array<readonly [name: string, value: string]> {
  const named = new Set(
    lines.filter(([name]) => name.toLowerCase() === "connection").flatMap(([, value]) =>
      value.split(",").map((token) => token.trim().toLowerCase())
    ),
  );
  return lines.filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()) && !named.has(name.toLowerCase()));
}

/** Reads the requests of one connection. */
export class RequestReader {
  readonly #from: Duplex;
  #buffer = new Uint8Array(FIRST);
  #end = 0;

  /** A reader of `from`. */
  constructor(from: Duplex) {
    this.#from = from;
  }

  /**
   * The next request, or `undefined` at the connection's end.
   *
   * @throws {BadRequestError} If it is not what HTTP/1.1 allows, takes too long, or has a body.
   */
  async next(): Promise<CheckedRequest | undefined> {
    let length = this.#headLength();
    if (length < 0 && this.#end === 0) {
      if (!await this.#fill()) return undefined;
      length = this.#headLength();
    }
    if (length < 0) length = await this.#rest();
    const head = String.fromCharCode(...this.#buffer.subarray(0, length - 4));
    this.#buffer.copyWithin(0, length, this.#end);
    this.#end -= length;
    return parseHead(head);
  }

  /** Reads on to the end of a head whose beginning is there. */
  async #rest(): Promise<number> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#from.close();
    }, MAX_TIME);
    try {
      for (;;) {
        if (!await this.#fill()) throw new BadRequestError("the connection ended in the middle of a request");
        const length = this.#headLength();
        if (length >= 0) return length;
      }
    } catch (error) {
      throw late ? new BadRequestError(`the request took longer than ${MAX_TIME} ms`) : error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** How long the head is with its empty line; -1 if its end is not there. */
  #headLength(): number {
    for (let i = 3; i < this.#end; i++) {
      if (this.#buffer[i] !== 10) continue;
      // A line feed alone ends a line to some and none to others.
      if (this.#buffer[i - 1] !== 13) throw new BadRequestError("a line ends with LF alone");
      if (this.#buffer[i - 2] === 10) return i + 1;
    }
    return -1;
  }

  async #fill(): Promise<boolean> {
    if (this.#end === this.#buffer.length) {
      if (this.#end >= MAX_HEAD) throw new BadRequestError(`the request's head is longer than ${MAX_HEAD} bytes`);
      const larger = new Uint8Array(this.#end * 4);
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    const n = await this.#from.read(this.#buffer.subarray(this.#end));
    if (n === null) return false;
    this.#end += n;
    return true;
  }
}

/** Reads a head without its empty line, each byte a character. */
function parseHead(head: string): CheckedRequest {
  const [first = "", ...lines] = head.split("\r\n");
  const [, method = "", target = "", version] = /^(\S+) (\S+) HTTP\/1\.([01])$/.exec(first) ?? [];
  if (!TOKEN.test(method) || version === undefined) throw new BadRequestError("not an HTTP/1.1 request");
  // Only the form with a path (RFC 9112 section 3.2.1): another one could name another server, or nothing that can be checked.
  if (!/^\/[\x21\x22\x24-\x7e]*$/.test(target)) throw new BadRequestError("the request's target is not a plain path");
  const fields = lines.map(parseField);
  const values = (wanted: string) => fields.flatMap(([name, value]) => name.toLowerCase() === wanted ? [value] : []);
  const modern = version === "1";
  const hosts = values("host");
  if (hosts.length > 1 || (modern && hosts.length === 0)) throw new BadRequestError("there must be one Host");
  if (values("transfer-encoding").length > 0 || values("content-length").some((value) => value !== "0")) {
    throw new BadRequestError("a request with a body does not pass");
  }
  if (values("content-length").length > 1) throw new BadRequestError("there are several Content-Length");
  const connection = values("connection").join(",").toLowerCase().split(",").map((token) => token.trim());
  return {
    method,
    path: target.replace(/\?.*$/, ""),
    target,
    modern,
    keepAlive: modern && !connection.includes("close"),
    headers: endToEnd(fields).filter(([name]) => !/^(content-length|expect)$/i.test(name)),
  };
}

function parseField(line: string): readonly [name: string, value: string] {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(colon, 0));
  const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "");
  if (!TOKEN.test(name) || /[^\t\x20-\x7e]/.test(value)) throw new BadRequestError("a malformed header line");
  return [name, value];
}
