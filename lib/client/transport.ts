/**
 * The three things that a client asks of the network.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";
import { bareHost, type Endpoint } from "../dial/mod.ts";
import type { MessageSocket } from "../websocket/mod.ts";

/** A plain request to the API server. */
export interface ApiRequest {
  /** The HTTP method. */
  readonly method: string;
  /** The URL below the server's: a path that starts with `/`, and a query. */
  readonly path: string;
  /** Header fields in order; names may repeat. */
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
  /** The body. */
  readonly body?: Uint8Array;
  /** Gives up the request and its response. */
  readonly signal?: AbortSignal;
}

/** A request for a WebSocket. */
export interface WebSocketRequest {
  /** As in {@linkcode ApiRequest}. */
  readonly path: string;
  /** As in {@linkcode ApiRequest}. */
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
  /** The subresource, for an error to name: `pods/exec`. */
  readonly resource: string;
  /** The subprotocols to offer, best first. */
  readonly protocols: readonly string[];
  /** Gives up the handshake. */
  readonly signal?: AbortSignal;
}

/** A request for a SPDY/3.1 connection. */
export interface SpdyRequest {
  /** As in {@linkcode ApiRequest}. */
  readonly path: string;
  /** As in {@linkcode ApiRequest}. */
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
  /** As in {@linkcode WebSocketRequest}. */
  readonly resource: string;
  /** The protocols to offer in `X-Stream-Protocol-Version`, best first. */
  readonly protocols: readonly string[];
  /** Gives up the handshake. */
  readonly signal?: AbortSignal;
}

/** What client and server have agreed to speak SPDY/3.1 over. */
export interface SpdyUpgrade {
  /** What follows the heads of request and answer, from the first byte on. */
  readonly duplex: Duplex;
  /** The protocol that the server chose; empty where it named none, which means the oldest. */
  readonly protocol: string;
}

/**
 * Carries requests to one API server: over sockets that podwire dials
 * ({@link ./socket_transport.ts}), or by what a browser has
 * ({@link ./platform_transport.ts}).
 */
export interface Transport {
  /** Sends a request; resolves with the answer whatever its status. */
  request(request: ApiRequest): Promise<Response>;

  /**
   * Opens a WebSocket.
   *
   * @throws {UpgradeError} If the server refuses it.
   */
  openWebSocket(request: WebSocketRequest): Promise<MessageSocket>;

  /**
   * Upgrades to SPDY/3.1.
   *
   * @throws {UpgradeError} If the server refuses it.
   * @throws {PodwireError} In a browser, which cannot.
   */
  openSpdy(request: SpdyRequest): Promise<SpdyUpgrade>;

  /** Closes idle connections, and the others when what is under way on them has ended. */
  close(): void;
}

/** A request's path and its query, which may have a `?` of its own. */
export function splitTarget(path: string): [pathname: string, query: string] {
  const mark = path.indexOf("?");
  return mark < 0 ? [path, ""] : [path.slice(0, mark), path.slice(mark + 1)];
}

/**
 * Whether the answer to a request for `path` may pause for as long as it likes: a watch, a log, and what is behind a
 * proxy (apiserver `pkg/server/filters/longrunning.go`, as kube-apiserver sets it up).
 */
export function isLongRunning(path: string): boolean {
  const [pathname, query] = splitTarget(path);
  const watch = new URLSearchParams(query).get("watch");
  return watch !== null && !/^(false|0)$/i.test(watch) || /\/(pods\/[^/]+\/log$|proxy(\/|$))/.test(pathname);
}

/** Where the server at a URL is. */
export function endpointOf(server: URL): Endpoint {
  const tls = server.protocol === "https:";
  return { hostname: bareHost(server), port: Number(server.port) || (tls ? 443 : 80), tls };
}
