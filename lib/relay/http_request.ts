/**
 * Requests of HTTP/1.1 (RFC 9112) that can be checked, and nothing else: whatever two readers might read in two ways is refused.
 *
 * @module
 */
import { type Duplex, within } from "../bytes/mod.ts";
import { endToEnd, type HeaderFields, isToken } from "../dial/mod.ts";
import { RelayError } from "./errors.ts";

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
  /** The header fields that go to the target: a `Host`, and what else a scraper says. */
  readonly headers: HeaderFields;
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

/** How long a client may let itself be waited for, in milliseconds: a connection that is silent takes another one's place. */
export interface HttpDeadlines {
  /** For a whole head, from its first byte on; that of a connection's first request from the connection's beginning. */
  readonly head: number;
  /** Between two requests. */
  readonly kept: number;
  /** Until it takes a piece of an answer. */
  readonly write: number;
}

/** The deadlines of every connection; a scraper that asks each minute finds its connection kept. */
export const HTTP_DEADLINES: HttpDeadlines = { head: 10_000, kept: 90_000, write: 60_000 };

/**
 * What a client's request may say to the target, beside its `Host`: all that scrapers say. Others are left out, as there are
 * servers for which they change the path or the method (`X-Original-URL`, `X-Rewrite-URL`, `X-HTTP-Method-Override`).
 */
const PASSED: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "accept-language",
  "authorization",
  "cache-control",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "range",
  "traceparent",
  "tracestate",
  "user-agent",
  "x-prometheus-scrape-timeout-seconds",
]);

/** The `Host` of a request of HTTP/1.0 without one: HTTP/1.1, as which it goes on, must have it. */
const NO_HOST = "localhost";

/** A `Host`: a name or an address, and perhaps a port (RFC 9110 section 7.2), without what reg-name allows and nobody has. */
const HOST = /^(?:[\w.~-]*|\[[\da-fA-F:.]+\])(?::\d*)?$/;

/** Reads the requests of one connection. */
export class RequestReader {
  readonly #from: Duplex;
  readonly #deadlines: HttpDeadlines;
  #buffer = new Uint8Array(FIRST);
  #end = 0;
  #first = true;

  /** A reader of `from`; whoever has made it closes `from` when it is done with it. */
  constructor(from: Duplex, deadlines: HttpDeadlines) {
    this.#from = from;
    this.#deadlines = deadlines;
  }

  /**
   * The next request, or `undefined` at the connection's end, and if a client that had its answers asks for nothing more.
   *
   * @throws {BadRequestError} If it is not what HTTP/1.1 allows, takes too long, or has a body.
   * @throws {RelayError} If a client connects and then asks for nothing at all.
   */
  async next(): Promise<CheckedRequest | undefined> {
    const { head, kept } = this.#deadlines;
    if (!this.#first && this.#end === 0 && !await within(kept, this.#fill(), () => false)) return undefined;
    this.#first = false;
    const length = await within(head, this.#readHead(), () => {
      if (this.#end > 0) throw new BadRequestError(`the request took longer than ${head} ms`);
      throw new RelayError(`the client asked for nothing within ${head} ms`, "idle");
    });
    if (length === undefined) return undefined;
    const text = String.fromCharCode(...this.#buffer.subarray(0, length - 4));
    this.#buffer.copyWithin(0, length, this.#end);
    this.#end -= length;
    return parseHead(text);
  }

  /** Reads to the end of a head, and returns its length; `undefined` if the connection ends before it begins. */
  async #readHead(): Promise<number | undefined> {
    for (;;) {
      const length = this.#headLength();
      if (length >= 0) return length;
      if (await this.#fill()) continue;
      if (this.#end === 0) return undefined;
      throw new BadRequestError("the connection ended in the middle of a request");
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
  if (!isToken(method) || version === undefined) throw new BadRequestError("not an HTTP/1.1 request");
  // Only the form with a path (RFC 9112 section 3.2.1): another one could name another server, or nothing that can be checked.
  if (!/^\/[\x21\x22\x24-\x7e]*$/.test(target)) throw new BadRequestError("the request's target is not a plain path");
  const fields = lines.map(parseField);
  const values = (wanted: string) => fields.flatMap(([name, value]) => name.toLowerCase() === wanted ? [value] : []);
  const modern = version === "1";
  const hosts = values("host");
  if (hosts.length > 1 || (modern && hosts.length === 0)) throw new BadRequestError("there must be one Host");
  // Some servers join it with the path to one URL: what ends a host's name would move the path ("Host: x/secrets?").
  if (!hosts.every((host) => HOST.test(host))) throw new BadRequestError("a malformed Host");
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
    // `Connection: Host` takes no Host away.
    headers: [["Host", hosts[0] ?? NO_HOST], ...endToEnd(fields).filter(([name]) => PASSED.has(name.toLowerCase()))],
  };
}

function parseField(line: string): readonly [name: string, value: string] {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(colon, 0));
  const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "");
  if (!isToken(name) || /[^\t\x20-\x7e]/.test(value)) throw new BadRequestError("a malformed header line");
  return [name, value];
}
