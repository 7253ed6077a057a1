/**
 * HTTP/1.1 with only some paths: each request is read, checked and written anew, and so is each answer.
 *
 * @module
 */
import { concat, type Duplex, within } from "../bytes/mod.ts";
import {
  encodeResponseHead,
  endToEnd,
  HttpConnection,
  HttpError,
  type HttpResponse,
  LAST_CHUNK,
  toChunk,
} from "../dial/mod.ts";
import { type Reason, RelayError } from "./errors.ts";
import { encodeAnswer, type OwnAnswer } from "./http_answer.ts";
import {
  BadRequestError,
  type CheckedRequest,
  HTTP_DEADLINES,
  type HttpDeadlines,
  RequestReader,
} from "./http_request.ts";

/** What a filtered connection is made of. */
export interface HttpFilter {
  /** The client's connection. */
  readonly client: Duplex;
  /** Opens a connection to the target. */
  readonly connect: () => Promise<Duplex>;
  /** The paths that may be asked for. */
  readonly paths: readonly string[];
  /** Told of bytes to the target. */
  readonly out: (bytes: number) => void;
  /** Told of bytes from the target; of none, when the client gets an answer of the relay's own. */
  readonly back: (bytes: number) => void;
  /** Told of a request that did not get through. */
  readonly fail: (reason: Reason) => void;
  /** Aborts when the connection ends. */
  readonly signal: AbortSignal;
  /** How long the client may let itself be waited for; {@linkcode HTTP_DEADLINES}, if absent. */
  readonly deadlines?: HttpDeadlines;
}

/**
 * Serves one connection to its end. `GET` and `HEAD` of an allowed path go to the target; other paths are answered 403, other
 * methods 405, and what cannot be checked 400, which ends the connection. The caller closes it, also if a client that is too
 * slow has left something of it under way.
 *
 * @throws {RelayError} If the client asks for nothing or takes nothing, or if the target's answer breaks.
 */
export async function filterHttp(filter: HttpFilter): Promise<void> {
  const { client, deadlines = HTTP_DEADLINES } = filter;
  const filtered = new FilteredConnection(filter, deadlines);
  try {
    while (await filtered.serveOne());
  } finally {
    filtered.close();
  }
  await within(deadlines.write, client.closeWrite()); // What TLS says last may find no room either.
}

/** How long a target may pause in the middle of an answer, in milliseconds: as long as it may take to begin one. */
const STALLED = 60_000;

class FilteredConnection {
  readonly #filter: HttpFilter;
  readonly #deadlines: HttpDeadlines;
  readonly #reader: RequestReader;
  readonly #paths: ReadonlySet<string>;
  #target: HttpConnection | undefined;

  constructor(filter: HttpFilter, deadlines: HttpDeadlines) {
    this.#filter = filter;
    this.#deadlines = deadlines;
    this.#reader = new RequestReader(filter.client, deadlines);
    this.#paths = new Set(filter.paths);
  }

  /** Serves one request; says whether another one may come. */
  async serveOne(): Promise<boolean> {
    let request: CheckedRequest | undefined;
    try {
      request = await this.#reader.next();
    } catch (error) {
      if (!(error instanceof BadRequestError)) throw error;
      this.#filter.fail("bad_request");
      return await this.#say({ status: [400, "Bad Request"], text: `${error.message}\n` }, "", false);
    }
    if (!request) return false;
    const { method, path, keepAlive } = request;
    if (!this.#paths.has(path)) {
      this.#filter.fail("forbidden");
      return await this.#say(FORBIDDEN, method, keepAlive);
    }
    if (method !== "GET" && method !== "HEAD") {
      this.#filter.fail("forbidden");
      return await this.#say(NOT_ALLOWED, method, keepAlive);
    }
    let response: HttpResponse;
    try {
      response = await this.#ask(request);
    } catch (error) {
      if (this.#filter.signal.aborted) throw error;
      const reason = error instanceof RelayError && error.reason !== "listen" ? error.reason : "bad_answer";
      this.#filter.fail(reason);
      this.#target?.close(); // Nobody reads what else it says.
      return await this.#say(reason === "connect_timeout" ? LATE_TARGET : BAD_TARGET, method, keepAlive);
    }
    return await this.#pass(request, response);
  }

  /** Drops the connection to the target. */
  close(): void {
    this.#target?.close();
  }

  /** Sends a request to the target; once more, if a connection that was kept has ended unnoticed. */
  async #ask({ method, target, headers }: CheckedRequest): Promise<HttpResponse> {
    const { signal, out, connect } = this.#filter;
    const request = { method, target, headers };
    const options = { signal, bodyTimeout: STALLED };
    const kept = this.#target?.reusable ? this.#target : undefined;
    if (kept) {
      try {
        return await kept.request(request, options);
      } catch (error) {
        if (!kept.endedUnanswered || signal.aborted) throw error;
      }
    }
    this.#target?.close();
    this.#target = new HttpConnection(counted(await connect(), out));
    return await this.#target.request(request, options);
  }

  async #pass(request: CheckedRequest, { status, statusText, lines, body }: HttpResponse): Promise<boolean> {
    const { back } = this.#filter;
    const bodiless = request.method === "HEAD" || status === 204 || status === 304;
    const headers = endToEnd(lines).filter(([name]) => !/^content-length$/i.test(name));
    const length = lines.find(([name]) => /^content-length$/i.test(name))?.[1];
    const chunkedByTarget = lines.some(([name]) => /^transfer-encoding$/i.test(name));
    const sized = length !== undefined && !chunkedByTarget;
    const chunked = !sized && !bodiless && request.modern;
    const keepAlive = request.keepAlive && (sized || chunked || bodiless);
    let pending = encodeResponseHead(status, statusText, [
      ...headers,
      ...(sized ? [["Content-Length", length] as const] : []),
      ...(chunked ? [["Transfer-Encoding", "chunked"] as const] : []),
      ...(keepAlive ? [] : [["Connection", "close"] as const]),
    ]);
    try {
      for await (const piece of body) {
        // The head goes out with the first piece: two small writes in a row can cost 40 ms over TLS.
        const bytes = concat([pending, chunked ? toChunk(piece) : piece]);
        pending = NOTHING;
        await this.#write(bytes);
        back(bytes.length);
      }
    } catch (error) {
      // The client can tell by the length or the missing last chunk; without both, only a broken connection says it.
      if (!(error instanceof HttpError)) throw error;
      throw new RelayError("the target's answer ended early", "bad_answer", { cause: error });
    }
    const rest = concat([pending, chunked ? LAST_CHUNK : NOTHING]);
    if (rest.length > 0) await this.#write(rest);
    back(rest.length);
    return keepAlive;
  }

  /** Answers by itself; says whether another request may come. */
  async #say(answer: OwnAnswer, method: string, keepAlive: boolean): Promise<boolean> {
    await this.#write(encodeAnswer(answer, method, keepAlive));
    this.#filter.back(0);
    return keepAlive;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    const { write } = this.#deadlines;
    await within(write, this.#filter.client.write(bytes), () => {
      throw new RelayError(`the client took nothing of its answer within ${write} ms`, "idle");
    });
  }
}

const FORBIDDEN: OwnAnswer = { status: [403, "Forbidden"], text: "this path is not allowed by the relay\n" };
const NOT_ALLOWED: OwnAnswer = { status: [405, "Method Not Allowed"], text: "the relay allows GET and HEAD\n" };

const NO_ANSWER = "the relay's target does not answer as it should\n";
const BAD_TARGET: OwnAnswer = { status: [502, "Bad Gateway"], text: NO_ANSWER };
const LATE_TARGET: OwnAnswer = { status: [504, "Gateway Timeout"], text: NO_ANSWER };

/** The same connection, whose writes are told. */
function counted(duplex: Duplex, out: (bytes: number) => void): Duplex {
  return {
    read: (into) => duplex.read(into),
    write: async (data) => {
      await duplex.write(data);
      out(data.length);
    },
    closeWrite: () => duplex.closeWrite(),
    close: () => duplex.close(),
  };
}

const NOTHING = new Uint8Array(0);
