/**
 * Where a gateway passes requests on to.
 *
 * @module
 */
import { type Duplex, MAX_DELAY } from "../bytes/mod.ts";
import {
  type ApiRequest,
  type ForwardedRequest,
  SocketTransport,
  type SocketTransportOptions,
  type SpdyRequest,
  type SpdyUpgrade,
  type Transport,
  UpgradeError,
  type WebSocketRequest,
} from "../client/mod.ts";
import type { HeaderFields, HttpResponse } from "../dial/mod.ts";
import type { ClusterAccess, Credentials } from "../kubeconfig/mod.ts";
import type { MessageSocket } from "../websocket/mod.ts";

/** A request to pass on. */
export interface UpstreamRequest {
  /** The method. */
  readonly method: string;
  /** Path and query below the upstream's URL, as they came. */
  readonly target: string;
  /** Header fields in order, without `Host` and credentials: both are added. Names may repeat. */
  readonly headers: HeaderFields;
  /** The body, in pieces. Its length is that of a `Content-Length` in the headers; without one it is sent in chunks. */
  readonly body?: AsyncIterable<Uint8Array>;
  /** Gives up the request and its response. After an upgrade it has no effect. */
  readonly signal?: AbortSignal;
}

/** The head of an answer. */
export interface UpstreamHead {
  /** The status code. */
  readonly status: number;
  /** The reason phrase. */
  readonly statusText: string;
  /** The header fields in order, hop-by-hop ones included. */
  readonly headers: HeaderFields;
}

/** An answer. */
export interface UpstreamResponse {
  /** Its head. */
  readonly head: UpstreamHead;
  /** Its body, read from the network as it is asked for. Whoever does not read it to the end cancels it. */
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** What an upstream agreed to switch protocols to. */
export interface UpstreamUpgrade {
  /** The head of the 101. */
  readonly head: UpstreamHead;
  /** What follows it, from the first byte on. */
  readonly duplex: Duplex;
}

/**
 * An API server, a kubelet or a container runtime's streaming server, gone to by any way that a dialer knows: TCP, TLS, a proxy,
 * a unix socket. Credentials are asked for anew with every request, so that files are read again and plugins run again.
 *
 * @example
 * ```ts
 * import { loadAccess, Upstream } from "@podwire/podwire/server";
 *
 * async function ready(): Promise<boolean> {
 *   using upstream = Upstream.create(await loadAccess());
 *   const { head, body } = await upstream.request({ method: "GET", target: "/readyz", headers: [] });
 *   await body.cancel();
 *   return head.status === 200;
 * }
 * ```
 */
export class Upstream implements Disposable {
  /** The same upstream for a client's code: opens WebSockets and SPDY connections, with credentials. */
  readonly transport: Transport;
  readonly #sockets: SocketTransport;
  readonly #credentials: Credentials;

  /** Requests over `sockets` as whom `credentials` say. */
  private constructor(sockets: SocketTransport, credentials: Credentials) {
    this.#sockets = sockets;
    this.#credentials = credentials;
    this.transport = new CredentialedTransport(sockets, credentials);
  }

  /** The upstream that `access` describes. */
  static create(access: ClusterAccess, options: SocketTransportOptions = {}): Upstream {
    return new Upstream(SocketTransport.create(access, options), access.credentials);
  }

  /**
   * Sends a request; resolves with the answer whatever its status. Redirects are not followed.
   *
   * @throws {DialError} If the upstream cannot be reached.
   * @throws {HttpError} If it does not answer as it must.
   * @throws {CredentialsError} If there are no credentials to be had.
   * @throws The signal's reason; or why the body broke.
   */
  async request(request: UpstreamRequest): Promise<UpstreamResponse> {
    // How long an answer may take is the client's business, whose going away ends the request.
    const [message, credentials] = await this.#message(request);
    return this.#response(await this.#sockets.exchange({ ...message, timeout: MAX_DELAY }), credentials);
  }

  /**
   * Sends a request for an upgrade; resolves with the stream if the upstream agrees, else with its answer.
   *
   * @throws {UpgradeRefusedError} If it switches to something that was not asked for.
   * @throws As {@linkcode Upstream.request}.
   */
  async upgrade(request: UpstreamRequest): Promise<UpstreamUpgrade | UpstreamResponse> {
    const [message, credentials] = await this.#message(request);
    const answer = await this.#sockets.negotiate(message);
    if ("body" in answer) return this.#response(answer, credentials);
    return { head: { ...answer.head, headers: answer.head.lines }, duplex: answer.duplex };
  }

  /** Closes idle connections, and the others when what is under way has ended. */
  close(): void {
    this.#sockets.close();
  }

  /** As {@linkcode Upstream.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  async #message(request: UpstreamRequest): Promise<[ForwardedRequest, credentials: HeaderFields]> {
    const { target: path, headers, signal, ...rest } = request;
    const credentials = await this.#credentials.headers(signal ? { signal } : {});
    return [{ ...rest, path, headers: [...headers, ...credentials], ...(signal && { signal }) }, credentials];
  }

  #response(answer: HttpResponse, credentials: HeaderFields): UpstreamResponse {
    const { status, statusText, lines, body } = answer;
    if (status === 401) this.#credentials.invalidate(credentials);
    return { head: { status, statusText, headers: lines }, body };
  }
}

/** Adds credentials to what a client's code asks of a transport. */
class CredentialedTransport implements Transport {
  readonly #sockets: SocketTransport;
  readonly #credentials: Credentials;

  constructor(sockets: SocketTransport, credentials: Credentials) {
    this.#sockets = sockets;
    this.#credentials = credentials;
  }

  async request(request: ApiRequest): Promise<Response> {
    const [signed, credentials] = await this.#sign(request);
    const response = await this.#sockets.request(signed);
    if (response.status === 401) this.#credentials.invalidate(credentials);
    return response;
  }

  async openWebSocket(request: WebSocketRequest): Promise<MessageSocket> {
    return await this.#upgrade(request, (signed) => this.#sockets.openWebSocket(signed));
  }

  async openSpdy(request: SpdyRequest): Promise<SpdyUpgrade> {
    return await this.#upgrade(request, (signed) => this.#sockets.openSpdy(signed));
  }

  /** Leaves the connections to the upstream, whose they are. */
  close(): void {}

  async #upgrade<T>(request: SpdyRequest, open: (signed: SpdyRequest) => Promise<T>): Promise<T> {
    const [signed, credentials] = await this.#sign(request);
    try {
      return await open(signed);
    } catch (error) {
      if (error instanceof UpgradeError && error.code === 401) this.#credentials.invalidate(credentials);
      throw error;
    }
  }

  async #sign<T extends ApiRequest | SpdyRequest>(request: T): Promise<[T, credentials: HeaderFields]> {
    const { headers, signal } = request;
    const credentials = await this.#credentials.headers(signal ? { signal } : {});
    return [{ ...request, headers: [...headers, ...credentials] }, credentials];
  }
}
