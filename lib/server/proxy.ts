/**
 * Plain requests, passed on to an upstream. Nothing is held back in either direction: a watch shows each event when
 * it happens.
 *
 * @module
 */
import { MAX_DELAY, messageOf, PodwireError } from "../bytes/mod.ts";
import { DialError, type HeaderFields } from "../dial/mod.ts";
import { ConfigError, CredentialsError } from "../kubeconfig/mod.ts";
import { responseFields } from "./forwarded_headers.ts";
import { type HttpRequest, HttpRequestError, type HttpResponse, type HttpServerConnection } from "./http.ts";
import type { Upstream } from "./upstream.ts";

/** A request to pass on. */
export interface ProxiedRequest {
  /** The client's connection. */
  readonly connection: HttpServerConnection;
  /** Its request. */
  readonly request: HttpRequest;
  /** Path and query for the upstream. */
  readonly target: string;
  /** The header fields for the upstream, without credentials. */
  readonly headers: HeaderFields;
  /** Where to pass it on. */
  readonly upstream: Upstream;
  /** How long that may take to accept a piece of the body, in milliseconds. Default 120 000. */
  readonly patience?: number;
  /** Ends it at once. */
  readonly signal: AbortSignal;
  /** What is to be done with an answer before it is sent. */
  readonly share: (response: HttpResponse) => HttpResponse;
  /** Is told the status of the answer before it is sent. */
  readonly onStatus: (status: number) => void;
}

/**
 * Passes a request on, and its answer back.
 *
 * @throws {NoAnswerError} If there is none.
 * @throws {ClientGoneError} If the client is gone; the upstream's request has ended then, too.
 * @throws Why the connection broke, on either side; the client's is closed then.
 */
export async function proxyRequest(proxied: ProxiedRequest): Promise<void> {
  const { connection, request, target, headers, upstream, patience = PATIENCE } = proxied;
  // Ends the upstream's request if the client's ends early, for whatever reason.
  const ended = new AbortController();
  const left = AbortSignal.any([connection.watchClient(), proxied.signal]);
  const signal = AbortSignal.any([ended.signal, left]);
  // Behind what nobody reads a client's end is not seen: one that has gone would stay for ever.
  const stalled = () => ended.abort(new BackendError(`it accepted nothing of the request for ${patience / 1000} s`));
  try {
    const { head, body } = await upstream.request({
      method: request.method,
      target,
      headers,
      ...(connection.hasBody && { body: takenInTime(connection.stream(), patience, stalled) }),
      signal,
    }).catch((error) => {
      left.throwIfAborted();
      throw explain(error);
    });
    if (head.status >= 300 && head.status < 400 && head.headers.some(([name]) => /^location$/i.test(name))) {
      proxied.onStatus(REDIRECT_REFUSED.status);
      return await connection.respond(proxied.share(REDIRECT_REFUSED));
    }
    proxied.onStatus(head.status);
    await connection.respond(proxied.share({
      status: head.status,
      reason: head.statusText,
      headers: responseFields(head.headers),
      body: piecesOf(body),
    }));
  } catch (error) {
    left.throwIfAborted();
    throw error;
  } finally {
    ended.abort();
  }
}

/** The header fields of an answer in plain words, as Go's `http.Error` has them. */
export const TEXT = [["Content-Type", "text/plain; charset=utf-8"], ["X-Content-Type-Options", "nosniff"]] as const;

/** A redirect could lead the client, and what it sends, anywhere (apimachinery `proxy/upgradeaware.go`, CVE-2020-8559). */
const REDIRECT_REFUSED: HttpResponse = {
  status: 502,
  headers: TEXT,
  body: "the backend attempted to redirect this request, which is not permitted\n",
};

/** The upstream broke the connection in the middle of its answer; the runtime's error, or podwire's, is the `cause`. */
class BackendError extends PodwireError {
  /** The class's name. */
  override name = "BackendError";
}

/** As the client's own, in milliseconds; see {@linkcode HttpLimits.idle}. */
const PATIENCE = 120_000;

/** The same pieces; calls `stalled` when whoever takes them is not back for the next one in time. */
async function* takenInTime(
  pieces: AsyncIterable<Uint8Array>,
  patience: number,
  stalled: () => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    const timer = setTimeout(stalled, Math.min(patience, MAX_DELAY));
    try {
      yield piece;
    } finally {
      clearTimeout(timer);
    }
  }
}

async function* piecesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    throw new BackendError(`the backend broke off its answer: ${messageOf(cause)}`, { cause });
  }
}

/** The upstream gave no answer; the `cause` says why. */
export class NoAnswerError extends PodwireError {
  /** The class's name. */
  override name = "NoAnswerError";

  /** What the client is told: a text, because kubectl shows no `Status` that it gets where it looks for the API's resources. */
  get response(): HttpResponse {
    return { status: 502, headers: TEXT, body: `${this.message}\n` };
  }
}

function explain(cause: unknown): unknown {
  // A malformed body is the client's mistake, what cannot be sent is one of ours.
  if (cause instanceof HttpRequestError || cause instanceof TypeError) return cause;
  if (cause instanceof CredentialsError || cause instanceof ConfigError) {
    return new NoAnswerError(`the gateway has no credentials: ${cause.message}`, { cause });
  }
  const what = cause instanceof DialError ? "error dialing backend" : "the backend broke the connection";
  return new NoAnswerError(`${what}: ${messageOf(cause)}`, { cause });
}
