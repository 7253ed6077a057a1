/**
 * Requests over sockets that podwire dials itself.
 *
 * @module
 */
import { readEnvironment } from "../bytes/mod.ts";
import { PING, PROTOCOL_HEADER } from "../channels/mod.ts";
import {
  type ClientCertificate,
  createDialer,
  type Dialer,
  type DialerOptions,
  type Endpoint,
  HttpConnection,
  type HttpRequest,
  type HttpResponse,
  type Upgraded,
  UpgradeRefusedError,
} from "../dial/mod.ts";
import type { ClusterAccess } from "../kubeconfig/mod.ts";
import { ClientHandshake, type MessageSocket, WebSocketConnection, WebSocketHandshakeError } from "../websocket/mod.ts";
import { type Refusal, UpgradeError } from "./errors.ts";
import {
  type ApiRequest,
  endpointOf,
  isLongRunning,
  type SpdyRequest,
  type SpdyUpgrade,
  type Transport,
  type WebSocketRequest,
} from "./transport.ts";

/** A request to pass on: its body may come in pieces. */
export interface ForwardedRequest extends Omit<ApiRequest, "body"> {
  /** The body. In pieces it is sent in chunks, unless the header fields have its `Content-Length`. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  /** How long the answer's head may take, in milliseconds. Default: as the transport's options say. */
  readonly timeout?: number;
  /** How long the next piece of the answer's body may take, in milliseconds. Default: for ever. */
  readonly bodyTimeout?: number;
}

/** Options of a {@linkcode SocketTransport}. */
export interface SocketTransportOptions {
  /** How long each step to an answer may take, in milliseconds. Default: the dialer's and `HttpConnection`'s own. */
  readonly timeout?: number;
}

/**
 * The transport of Deno and Node: HTTP/1.1 over what a dialer opens. A connection is used
 * again when its last answer has been read to the end, so that the request for a pod and
 * the upgrade after it share one handshake.
 */
export class SocketTransport implements Transport {
  readonly #server: URL;
  readonly #endpoint: Endpoint;
  readonly #dialer: Dialer;
  readonly #options: SocketTransportOptions;
  #identity: Identity | undefined;
  readonly #connections = new Map<HttpConnection, Use>();
  #closed = false;

  /** A transport to the API server at `server`, over what `dialer` opens. */
  constructor(server: URL, dialer: Dialer, options: SocketTransportOptions = {}) {
    this.#server = server;
    this.#dialer = dialer;
    this.#options = options;
    this.#endpoint = endpointOf(server);
  }

  /** A transport that goes the way that `access` describes. */
  static create(access: ClusterAccess, options: SocketTransportOptions = {}): SocketTransport {
    const { server, credentials } = access;
    const way: DialerOptions = {
      tls: access.tls,
      env: readEnvironment,
      ...options,
      ...(access.unixSocket !== undefined && { unixSocket: access.unixSocket }),
      ...(access.proxy && { proxy: access.proxy }),
    };
    const transport = new SocketTransport(server, createDialer(way), options);
    if (!transport.#endpoint.tls) return transport;
    transport.#identity = {
      certificate: (signal) => credentials.clientCertificate(signal ? { signal } : {}),
      dialer: (certificate) => createDialer({ ...way, clientCertificate: () => Promise.resolve(certificate) }),
    };
    return transport;
  }

  /**
   * Sends a request; a GET is sent again if the connection turns out to have been closed while it was idle.
   *
   * @throws {DialError} If the server cannot be reached.
   * @throws {HttpError} If it does not answer as it must, or the connection breaks.
   * @throws The signal's reason.
   */
  async request(request: ApiRequest): Promise<Response> {
    const limit = !isLongRunning(request.path) && { bodyTimeout: this.#options.timeout ?? 60_000 };
    return toResponse(await this.exchange({ ...request, ...limit }));
  }

  /** As {@linkcode SocketTransport.request}, with the answer as it came. */
  async exchange(request: ForwardedRequest): Promise<HttpResponse> {
    const { signal, timeout, bodyTimeout } = request;
    const options = {
      ...this.#options,
      ...(timeout !== undefined && { timeout }),
      ...(bodyTimeout !== undefined && { bodyTimeout }),
      ...(signal && { signal }),
    };
    const message = this.#message(request);
    const repeatable = request.method === "GET" && request.body === undefined;
    const certificate = await this.#certificate(signal);
    const idle = this.#takeIdle(certificate, { repeatable });
    if (idle) {
      try {
        return this.#answered(idle, certificate, await idle.request(message, options));
      } catch (error) {
        if (!repeatable || !idle.endedUnanswered) throw error;
      }
    }
    const connection = await this.#open(certificate, signal);
    const answer = connection.request(message, options);
    // Only now that it is busy: no other request must find it idle.
    this.#keep(connection, certificate);
    return this.#answered(connection, certificate, await answer);
  }

  /**
   * Sends a request for an upgrade, on an idle connection if there is one; resolves with the stream if the server agrees, else
   * with its answer.
   */
  async negotiate(request: ForwardedRequest): Promise<Upgraded | HttpResponse> {
    const { signal } = request;
    const certificate = await this.#certificate(signal);
    const connection = this.#takeIdle(certificate) ?? await this.#open(certificate, signal);
    this.#connections.delete(connection); // From here on it belongs to the stream.
    const options = { ...this.#options, ...(signal && { signal }) };
    try {
      const answer = await connection.negotiate(this.#message(request), options);
      return "body" in answer ? this.#answered(connection, certificate, answer) : answer;
    } catch (error) {
      connection.close(); // It may not have come to be used.
      throw error;
    }
  }

  /** Opens a WebSocket, on an idle connection if there is one. */
  async openWebSocket(request: WebSocketRequest): Promise<MessageSocket> {
    const handshake = new ClientHandshake(request.protocols);
    const headers = [...request.headers, ...handshake.headers];
    const { head, duplex } = await this.#upgrade("GET", headers, request, "websocket");
    try {
      const protocol = await handshake.verify(head);
      return new WebSocketConnection(duplex, { role: "client", protocol, ping: PING, reuseBuffer: true });
    } catch (cause) {
      duplex.close();
      if (!(cause instanceof WebSocketHandshakeError)) throw cause;
      throw refused(request, "websocket", cause.message, cause);
    }
  }

  /** Upgrades to SPDY/3.1, on an idle connection if there is one. */
  async openSpdy(request: SpdyRequest): Promise<SpdyUpgrade> {
    const { head, duplex } = await this.#upgrade("POST", spdyHeaders(request), request, "spdy");
    const protocol = head.headers.get(PROTOCOL_HEADER)?.trim() ?? "";
    if (protocol === "" || request.protocols.includes(protocol)) return { duplex, protocol };
    duplex.close();
    const offered = request.protocols.join(" ");
    throw refused(request, "spdy", `invalid protocol, expected one of [${offered}], got ${JSON.stringify(protocol)}`);
  }

  /** Closes idle connections, and the others once their answer has been read; what is sent from now on leaves none behind. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#connections.keys()) connection.retire();
    this.#connections.clear();
  }

  async #upgrade(
    method: string,
    headers: ApiRequest["headers"],
    request: WebSocketRequest | SpdyRequest,
    wire: Refusal["wire"],
  ): Promise<Upgraded> {
    const { path, resource, signal } = request;
    const certificate = await this.#certificate(signal);
    // A command must not be sent twice: only a connection that no server has grown tired of yet will do.
    const connection = this.#takeIdle(certificate) ?? await this.#open(certificate, signal);
    this.#connections.delete(connection); // From here on it belongs to the stream.
    try {
      const options = { ...this.#options, ...(signal && { signal }) };
      return await connection.upgrade(this.#message({ method, path, headers }), options);
    } catch (cause) {
      connection.close();
      if (!(cause instanceof UpgradeRefusedError)) throw cause;
      const { status: code, statusText, body } = cause;
      if (code === 401 && certificate) this.#dropIdle(certificate);
      if (code === 101) throw refused(request, wire, cause.message, cause);
      throw new UpgradeError({ code, statusText, body, resource, wire }, { cause });
    }
  }

  /**
   * The client's certificate as it is now. While an idle connection has one, a failure to get at it changes nothing yet, as in
   * client-go (`transport/cert_rotation.go`): files that are being replaced may be half there.
   */
  async #certificate(signal: AbortSignal | undefined): Promise<ClientCertificate | undefined> {
    try {
      return await this.#identity?.certificate(signal);
    } catch (error) {
      signal?.throwIfAborted();
      for (const [connection, { certificate }] of this.#connections) if (connection.reusable) return certificate;
      throw error;
    }
  }

  /**
   * An idle connection that shows `certificate`; those that show another one are closed. For what cannot be sent twice one that
   * has been idle for long will not do.
   */
  #takeIdle(certificate: ClientCertificate | undefined, { repeatable = false } = {}): HttpConnection | undefined {
    const now = performance.now();
    for (const [connection, use] of this.#connections) {
      const idleFor = now - use.last;
      if (connection.closed) this.#connections.delete(connection);
      else if (connection.reusable && (idleFor > FORGOTTEN || use.certificate?.cert !== certificate?.cert)) {
        this.#drop(connection);
      }
      if (!connection.reusable || !repeatable && idleFor > (connection.watched ? FRESH : FRESH_UNWATCHED)) continue;
      use.last = now;
      return connection;
    }
    return undefined;
  }

  async #open(certificate: ClientCertificate | undefined, signal: AbortSignal | undefined): Promise<HttpConnection> {
    const dial = this.#identity ? this.#identity.dialer(certificate) : this.#dialer;
    return new HttpConnection(await dial(this.#endpoint, signal ? { signal } : {}));
  }

  /** Keeps a busy connection for later, unless there is no later. */
  #keep(connection: HttpConnection, certificate: ClientCertificate | undefined): void {
    if (this.#closed || connection.reusable) connection.retire(); // The latter if the request cannot be sent as it is.
    else this.#connections.set(connection, { last: performance.now(), certificate });
  }

  /** Passes on the answer. After a 401 a new certificate takes a new handshake, and the old one no longer serves. */
  #answered(
    connection: HttpConnection,
    certificate: ClientCertificate | undefined,
    answer: HttpResponse,
  ): HttpResponse {
    if (answer.status === 401 && certificate) {
      this.#connections.delete(connection);
      connection.retire();
      this.#dropIdle(certificate);
    }
    return answer;
  }

  #dropIdle(certificate: ClientCertificate): void {
    for (const [connection, use] of this.#connections) {
      if (connection.reusable && use.certificate?.cert === certificate.cert) this.#drop(connection);
    }
  }

  #drop(connection: HttpConnection): void {
    connection.close();
    this.#connections.delete(connection);
  }

  #message(request: Pick<ForwardedRequest, "method" | "path" | "headers" | "body">): HttpRequest {
    return {
      method: request.method,
      target: this.#server.pathname.replace(/\/$/, "") + request.path,
      headers: [["Host", this.#server.host], ...request.headers],
      ...(request.body && { body: request.body }),
    };
  }
}

/** A connection, for the next request. */
interface Use {
  /** When a request was last sent on it, as `performance.now()`. */
  last: number;
  /** What it shows of the client. */
  readonly certificate: ClientCertificate | undefined;
}

/** What new connections show of the client. */
interface Identity {
  certificate(signal: AbortSignal | undefined): Promise<ClientCertificate | undefined>;
  dialer(certificate: ClientCertificate | undefined): Dialer;
}

/** So long after its last request an idle connection whose end would be noticed is surely still open, in milliseconds. */
const FRESH = 5_000;

/** The same, where nobody would notice. */
const FRESH_UNWATCHED = 1_000;

/** So long after its last request nobody waits for an idle connection, as in Go's client, in milliseconds. */
const FORGOTTEN = 90_000;

/** The header fields in the order of Go's client, as they come from kubectl. */
function spdyHeaders({ headers, protocols }: SpdyRequest): ApiRequest["headers"] {
  const isAgent = ([name]: readonly [string, string]) => name.toLowerCase() === "user-agent";
  const others: Array<readonly [string, string]> = [
    ...headers.filter((field) => !isAgent(field)),
    ["Connection", "Upgrade"],
    ["Upgrade", "SPDY/3.1"],
    ...protocols.map((protocol) => [PROTOCOL_HEADER, protocol] as const),
  ];
  others.sort(([a], [b]) => a < b ? -1 : Number(a > b));
  return [...headers.filter(isAgent), ["Content-Length", "0"], ...others];
}

/** The error for a 101 that is no answer to `request`. */
function refused(
  { resource }: WebSocketRequest | SpdyRequest,
  wire: Refusal["wire"],
  body: string,
  cause?: Error,
): UpgradeError {
  return new UpgradeError({ code: 101, statusText: "", body, resource, wire }, cause && { cause });
}

function toResponse(answer: Awaited<ReturnType<HttpConnection["request"]>>): Response {
  const { status, statusText, headers, body } = answer;
  const empty = status === 204 || status === 205 || status === 304;
  return new Response(empty ? null : body, { status, statusText, headers });
}
