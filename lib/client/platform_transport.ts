/**
 * Requests by what a browser has: `fetch` and its own WebSocket.
 *
 * @module
 */
import { MAX_DELAY, PodwireError } from "../bytes/mod.ts";
import { type MessageSocket, openPlatformWebSocket } from "../websocket/mod.ts";
import { UpgradeError } from "./errors.ts";
import type { ApiRequest, SpdyRequest, SpdyUpgrade, Transport, WebSocketRequest } from "./transport.ts";

/** The subprotocol that carries a token where headers cannot (apiserver `authentication/request/websocket`). */
const BEARER_PREFIX = "base64url.bearer.authorization.k8s.io.";

/** Options of a {@linkcode PlatformTransport}. */
export interface PlatformTransportOptions {
  /** How long an answer's head, or a WebSocket's handshake, may take, in milliseconds. Default 60 000. */
  readonly timeout?: number;
}

/**
 * The transport of a page or an edge function.
 *
 * A browser's WebSocket sends no headers: a bearer token travels in a subprotocol, every
 * other header is refused rather than dropped. It does not say why an
 * upgrade was refused, and its `WebSocket` (not its `WebSocketStream`)
 * cannot slow the server down.
 */
export class PlatformTransport implements Transport {
  readonly #server: URL;
  readonly #timeout: number;

  /** A transport to the API server at `server`. */
  constructor(server: URL, { timeout = 60_000 }: PlatformTransportOptions = {}) {
    this.#server = server;
    this.#timeout = timeout;
  }

  /** Sends a request with `fetch`. */
  async request(request: ApiRequest): Promise<Response> {
    const { method, headers } = request;
    const body = request.body ? new Uint8Array(request.body) : null;
    const pairs = headers.map(([name, value]): [string, string] => [name, value]);
    return await this.#inTime(method, request, (signal) => {
      return fetch(this.#url(request.path), { method, headers: pairs, body, signal, redirect: "manual" });
    });
  }

  /** Opens a WebSocket with the platform's own `WebSocketStream` or `WebSocket`. */
  async openWebSocket(request: WebSocketRequest): Promise<MessageSocket> {
    const url = this.#url(request.path);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const protocols = [...request.protocols];
    for (const [name, value] of request.headers) {
      const token = name.toLowerCase() === "authorization" ? /^Bearer (.+)$/i.exec(value)?.[1] : undefined;
      if (token !== undefined) protocols.push(BEARER_PREFIX + base64url(token));
      else if (!IMPLIED_HEADERS.has(name.toLowerCase())) {
        throw new PodwireError(`a browser's WebSocket cannot send the header ${name}`);
      }
    }
    try {
      return await this.#inTime("GET", request, (signal) => openPlatformWebSocket(url, protocols, { signal }));
    } catch (cause) {
      request.signal?.throwIfAborted();
      if (cause instanceof LateError) throw cause;
      throw new UpgradeError({ code: 0, statusText: "", body: "", resource: request.resource, wire: "websocket" }, {
        cause,
      });
    }
  }

  /** Rejects: a browser gives nobody the bytes after an upgrade. */
  openSpdy(request: SpdyRequest): Promise<SpdyUpgrade> {
    return Promise.reject(new PodwireError(`cannot open ${request.resource} over SPDY/3.1 in a browser`));
  }

  /** Does nothing: the platform keeps its own connections. */
  close(): void {}

  /** Asks with a signal that aborts when the caller gives up, or when there is no answer in time. */
  async #inTime<T>(
    method: string,
    { path, signal }: Pick<ApiRequest, "path" | "signal">,
    ask: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const late = new AbortController();
    const timer = setTimeout(() => {
      late.abort(new LateError(`no answer to ${method} ${path.replace(/\?.*/, "")} within ${this.#timeout} ms`));
    }, Math.min(this.#timeout, MAX_DELAY));
    try {
      return await ask(signal ? AbortSignal.any([signal, late.signal]) : late.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  #url(path: string): URL {
    const url = new URL(this.#server);
    const [pathname = "", query = ""] = path.split("?", 2);
    url.pathname = url.pathname.replace(/\/$/, "") + pathname;
    url.search = query;
    return url;
  }
}

/** There was no answer in time. */
class LateError extends PodwireError {
  override name = "LateError";
}

/** Headers that the platform sends by itself or that a WebSocket can do without. */
const IMPLIED_HEADERS: ReadonlySet<string> = new Set(["user-agent", "accept"]);

function base64url(text: string): string {
  const binary = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
