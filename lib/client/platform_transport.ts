/**
 * Requests by what a browser has: `fetch` and its own WebSocket.
 *
 * @module
 */
import { checkDuration, messageOf, PodwireError, withDeadline } from "../bytes/mod.ts";
import { BEARER_PROTOCOL } from "../channels/mod.ts";
import { DialError, formatAddress, HttpBreakError } from "../dial/mod.ts";
import { type MessageSocket, openPlatformWebSocket } from "../websocket/mod.ts";
import { UpgradeError } from "./errors.ts";
import {
  type ApiRequest,
  endpointOf,
  type SpdyRequest,
  type SpdyUpgrade,
  splitTarget,
  type Transport,
  type WebSocketRequest,
} from "./transport.ts";

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

  /**
   * A transport to the API server at `server`.
   *
   * @throws {RangeError} If `timeout` is no time.
   */
  constructor(server: URL, { timeout = 60_000 }: PlatformTransportOptions = {}) {
    this.#server = server;
    this.#timeout = checkDuration("timeout", timeout);
  }

  /**
   * Sends a request with `fetch`.
   *
   * @throws {DialError} If there is no answer at all; a platform does not tell why, or at which hop.
   * @throws {HttpBreakError} If there is none in time.
   */
  async request(request: ApiRequest): Promise<Response> {
    const { method, headers } = request;
    const body = request.body ? new Uint8Array(request.body) : null;
    const pairs = headers.map(([name, value]): [string, string] => [name, value]);
    return await this.#inTime(method, request, async (signal) => {
      const init = { method, headers: pairs, body, signal, redirect: "manual" } as const;
      const asked = new Request(this.#url(request.path), init); // What cannot be sent as it is throws here.
      try {
        return await fetch(asked);
      } catch (cause) {
        signal.throwIfAborted();
        throw this.#unreachable(cause);
      }
    });
  }

  /**
   * Opens a WebSocket with the platform's own `WebSocketStream` or `WebSocket`.
   *
   * @throws {UpgradeError} If it is refused, or the server cannot be reached: a platform does not tell one from the other.
   * @throws {HttpBreakError} If there is no answer in time.
   */
  async openWebSocket(request: WebSocketRequest): Promise<MessageSocket> {
    const url = this.#url(request.path);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const protocols = [...request.protocols];
    for (const [name, value] of request.headers) {
      const token = name.toLowerCase() === "authorization" ? /^Bearer (.+)$/i.exec(value)?.[1] : undefined;
      if (token !== undefined) protocols.push(BEARER_PROTOCOL + base64url(token));
      else if (!IMPLIED_HEADERS.has(name.toLowerCase())) {
        throw new PodwireError(`a browser's WebSocket cannot send the header ${name}`);
      }
    }
    try {
      return await this.#inTime("GET", request, (signal) => openPlatformWebSocket(url, protocols, { signal }));
    } catch (cause) {
      request.signal?.throwIfAborted();
      if (cause instanceof HttpBreakError) throw cause; // It was late.
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
    const timeout = this.#timeout;
    const late = () => new HttpBreakError(`no answer to ${method} ${path.replace(/\?.*/, "")} within ${timeout} ms`);
    return await withDeadline(timeout, late, signal, ask);
  }

  #unreachable(cause: unknown): DialError {
    const address = formatAddress(endpointOf(this.#server));
    const message =
      `cannot reach ${address}: ${messageOf(cause)}; a browser does not tell why: is the server running, ` +
      "is its certificate trusted, and does it let this page's origin in?";
    return new DialError(message, { hop: "tcp", address, cause });
  }

  #url(path: string): URL {
    const url = new URL(this.#server);
    const [pathname, query] = splitTarget(path);
    url.pathname = url.pathname.replace(/\/$/, "") + pathname;
    url.search = query;
    return url;
  }
}

/** Headers that the platform sends by itself or that a WebSocket can do without. */
const IMPLIED_HEADERS: ReadonlySet<string> = new Set(["user-agent", "accept"]);

function base64url(text: string): string {
  const binary = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
