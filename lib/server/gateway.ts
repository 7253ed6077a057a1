/**
 * The gateway: a server that passes requests on to a cluster, with credentials that its clients do not have.
 *
 * @module
 */
import { maskPath, messageOf, orAbort, PodwireError } from "../bytes/mod.ts";
import type { ClusterAccess } from "../kubeconfig/mod.ts";
import { AccessControl, randomToken } from "./access.ts";
import {
  authorize,
  type Authorizer,
  createsIfAbsent,
  refuseDotSegments,
  type RequestAttributes,
  requestAttributes,
} from "./authorization.ts";
import { requestFields } from "./forwarded_headers.ts";
import type { HttpLimits, HttpRequest, HttpResponse } from "./http.ts";
import { type Exchange, HttpServer } from "./http_server.ts";
import { type ListenAddress, listenAddress, type ServerCertificate, SocketListener } from "./listener.ts";
import { GatewayMetrics, METRICS_TYPE } from "./metrics.ts";
import { formatKubeconfig, type OwnKubeconfig, serverUrl } from "./own_kubeconfig.ts";
import { NoAnswerError, proxyRequest, TEXT } from "./proxy.ts";
import { serveStream, type StreamOptions } from "./stream_gateway.ts";
import { forbidden, methodNotAllowed, StatusError } from "./status_error.ts";
import { Upstream } from "./upstream.ts";

/** Options of {@linkcode serveGateway}. */
export interface GatewayOptions {
  /** The cluster, and as whom to go there. */
  readonly access: ClusterAccess;
  /** Where to listen: a unix socket's path, or a port (0: any free one) of 127.0.0.1 or another address. */
  readonly listen: { readonly path: string } | { readonly port: number; readonly hostname?: string };
  /** Speaks TLS over TCP. Without it the address must be one of the loopback. */
  readonly certificate?: ServerCertificate;
  /**
   * What a client over TCP has to know. Default: 32 random characters. Without TLS it has the characters that a URL's path keeps
   * (`A-Z a-z 0-9 - . _ ~`), with TLS `+` and `/` too, and `=` at its end.
   */
  readonly token?: string;
  /** The origins of web pages that may use the gateway, such as `https://page.example`. Default: none. */
  readonly allowOrigins?: readonly string[];
  /** What streams into pods go on over. Default `"auto"`: what the client uses, and the other where the cluster refuses that. */
  readonly wire?: StreamOptions["wire"];
  /** Is asked about every request. Default: all may pass. */
  readonly authorize?: Authorizer;
  /** Is told of every request when it is over. */
  readonly onRequest?: (record: AccessRecord) => void;
  /** Connections at a time, at least one; further ones wait. Default 1024. */
  readonly maxConnections?: number;
  /** What a request may take. */
  readonly limits?: HttpLimits;
  /**
   * Is told of a bug, podwire's or that of a function it was given, which has ended one connection. Default: it is thrown where nobody
   * catches it, which ends the process.
   */
  readonly onBug?: (error: unknown) => void;
  /** Ends the gateway at once. */
  readonly signal?: AbortSignal;
}

/** A request that is over. Neither the query, which may hold a command, nor any header is told. */
export interface AccessRecord {
  /** When it came. */
  readonly time: Date;
  /** The client's address; a unix socket's client has none. */
  readonly client?: string;
  /** The HTTP method. */
  readonly method: string;
  /** The path, without the gateway's token. */
  readonly path: string;
  /** The status of the answer; 0 if there was none. */
  readonly status: number;
  /** Bytes from the client behind the head of its request. */
  readonly received: number;
  /** Bytes to the client behind the head of the answer. */
  readonly sent: number;
  /** What a stream came over. */
  readonly wireIn?: "websocket" | "spdy";
  /** What it went on over. */
  readonly wireOut?: "websocket" | "spdy";
  /** How long it took, in milliseconds. */
  readonly milliseconds: number;
  /** What went wrong, if something did. */
  readonly error?: string;
}

/**
 * A running gateway.
 *
 * **Whoever can use it can do in the cluster what its user can.** Hence a unix socket has mode 0600, TCP without TLS is loopback only, and over
 * TCP a client has to know a random token.
 */
export interface Gateway extends AsyncDisposable {
  /** Where it listens, with the port that it got. */
  readonly address: ListenAddress;
  /** The URL for a kubeconfig: over TCP without TLS with the token as its path, over a unix socket a name only. */
  readonly url: URL;
  /** What a client over TCP has to know. */
  readonly token: string | undefined;
  /** A kubeconfig (JSON is YAML) for podwire and, over TCP, for kubectl. It holds the token: keep it private. */
  readonly kubeconfig: string;
  /** Resolves once the gateway has ended: no connection and no socket is left. */
  readonly finished: Promise<void>;
  /** Takes no further request, gives those under way as many milliseconds, and ends. */
  drain(milliseconds: number): Promise<void>;
}

/**
 * Starts a gateway.
 *
 * @throws {TypeError} If the token is none, or an allowed origin.
 * @throws {RangeError} If `maxConnections` lets nobody in, or a time of `limits` is none.
 * @throws {ListenError} If it cannot listen.
 *
 * @example
 * ```ts
 * import { loadAccess, serveGateway } from "@podwire/podwire/server";
 *
 * async function main(): Promise<void> {
 *   await using gateway = await serveGateway({ access: await loadAccess(), listen: { port: 0 } });
 *   await Deno.writeTextFile("gateway.kubeconfig", gateway.kubeconfig, { mode: 0o600 });
 *   await gateway.finished; // KUBECONFIG=gateway.kubeconfig kubectl get pods
 * }
 * ```
 */
export async function serveGateway(options: GatewayOptions): Promise<Gateway> {
  options.signal?.throwIfAborted();
  const listener = await SocketListener.listen(listenAddress(options.listen), options.certificate);
  try {
    return new RunningGateway(listener, options);
  } catch (error) {
    await listener.close();
    throw error;
  }
}

class RunningGateway implements Gateway {
  readonly address: ListenAddress;
  readonly token: string | undefined;
  readonly finished: Promise<void>;
  readonly #options: GatewayOptions;
  readonly #own: OwnKubeconfig;
  readonly #server: HttpServer;
  readonly #access: AccessControl;
  readonly #upstream: Upstream;
  readonly #metrics = new GatewayMetrics();
  /** Ends the question below. */
  readonly #over = new AbortController();
  /** The question to the upstream whether it is ready, while there is one. */
  #probing: Promise<Readiness> | undefined;

  constructor(listener: SocketListener, options: GatewayOptions) {
    this.#options = options;
    this.address = listener.address;
    const { certificate, access } = options;
    const overTcp = this.address.transport === "tcp";
    this.token = overTcp ? options.token ?? randomToken() : undefined;
    this.#own = {
      name: "podwire-gateway",
      address: this.address,
      token: this.token,
      ...(overTcp && certificate && { certificate: certificate.cert }),
      namespace: access.namespace,
    };
    this.#access = new AccessControl({
      ...(this.token !== undefined && { token: this.token }),
      allowOrigins: options.allowOrigins ?? [],
      tokenInPath: !certificate,
      checkHost: overTcp && !certificate, // A page cannot rebind a name that the certificate does not have.
    });
    this.#upstream = Upstream.create(access);
    this.#server = new HttpServer(listener, (exchange) => this.#answer(exchange), { maxConnections: 1024, ...options });
    this.finished = this.#run();
  }

  get url(): URL {
    return serverUrl(this.#own);
  }

  get kubeconfig(): string {
    return formatKubeconfig(this.#own);
  }

  async drain(milliseconds: number): Promise<void> {
    await this.#server.drain(milliseconds);
    await this.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain(0);
  }

  async #run(): Promise<void> {
    const { signal } = this.#options;
    const end = () => void this.#server.drain(0);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end(); // While it was starting.
    try {
      await this.#server.finished;
    } finally {
      signal?.removeEventListener("abort", end);
      this.#over.abort();
      await this.#probing;
      this.#upstream.close();
    }
  }

  /** Answers a request, and tells of it. */
  async #answer(exchange: Exchange): Promise<void> {
    const { connection, request, client } = exchange;
    const time = new Date();
    const started = performance.now();
    const outcome: Outcome = { path: maskPath(request.path, this.token), status: 0 };
    try {
      await this.#serve(exchange, outcome);
    } catch (error) {
      outcome.error = messageOf(error);
      this.#metrics.failure(reasonOf(error));
      if (!(error instanceof StatusError || error instanceof NoAnswerError)) throw error;
      const response = refusalOf(error, outcome.path);
      outcome.status = response.status;
      await connection.respond(this.#access.share(request, response));
    } finally {
      const milliseconds = performance.now() - started;
      const record = {
        time,
        ...(client !== undefined && { client }),
        method: request.method,
        received: connection.received,
        sent: connection.sent,
        ...outcome,
        milliseconds: Math.round(milliseconds),
      };
      this.#metrics.request(record.method, record.status, milliseconds / 1000);
      this.#metrics.bytes("received", record.received);
      this.#metrics.bytes("sent", record.sent);
      this.#options.onRequest?.(record);
    }
  }

  /** Answers a request, and notes in `outcome` how that went. */
  async #serve(exchange: Exchange, outcome: Outcome): Promise<void> {
    const { connection, request, client, signal } = exchange;
    const share = (response: HttpResponse) => this.#access.share(request, response);
    const respond = async (response: HttpResponse) => {
      outcome.status = response.status;
      await connection.respond(share(response));
    };
    const admitted = this.#access.enter(exchange);
    if (typeof admitted !== "string") return await respond(admitted);
    const path = outcome.path = admitted;
    refuseImpersonation(request);
    if (request.method === "TRACE") throw methodNotAllowed(); // An upstream that does it answers with the credentials.
    if (path === "/healthz") return await respond(text(request, 200, "ok"));
    if (path === "/readyz") return await respond(text(request, ...await this.#readiness(exchange)));
    await this.#authorize(exchange, path);
    if (path === "/metrics") return await respond(text(request, 200, this.#metricsText(), METRICS_TYPE));
    const tls = this.#own.certificate !== undefined;
    const passed = {
      connection,
      request,
      target: request.query === "" ? path : `${path}?${request.query}`,
      headers: requestFields(request, { ...(client !== undefined && { address: client }), tls }),
      upstream: this.#upstream,
      signal,
    };
    const subresource = streamSubresource(path);
    if (subresource || request.headers.tokens("connection").includes("upgrade")) {
      const { wire } = this.#options;
      const stream = { ...passed, subresource, metrics: this.#metrics };
      const { bytesIn, bytesOut, reason, ...rest } = await serveStream(stream, wire ? { wire } : {});
      Object.assign(outcome, rest, { received: bytesIn, sent: bytesOut }, reason !== undefined && { error: reason });
      if (reason !== undefined) this.#metrics.failure("stream");
      return;
    }
    const patience = this.#options.limits?.idle;
    await proxyRequest({
      ...passed,
      ...(patience !== undefined && { patience }),
      share,
      onStatus: (status) => outcome.status = status,
    });
  }

  /** Asks whether the client may do what it wants to. */
  async #authorize({ connection, request, ...exchange }: Exchange, path: string): Promise<void> {
    const { authorize: authorizer } = this.#options;
    if (!authorizer) return refuseDotSegments(path);
    const signal = AbortSignal.any([exchange.signal, connection.watchClient()]);
    const attributes = requestAttributes(request.method, path, request.query);
    try {
      await authorize(authorizer, attributes, signal);
      if (createsIfAbsent(attributes, request.headers)) {
        await this.#authorizeCreation(authorizer, attributes, path, signal);
      }
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof StatusError) throw cause;
      throw new StatusError(500, "InternalError", `Internal error occurred: cannot authorize: ${messageOf(cause)}`);
    }
  }

  /** Asks whether the client may create the object that it wants to change, unless there is one; it could go until the change comes. */
  async #authorizeCreation(
    authorizer: Authorizer,
    attributes: RequestAttributes,
    path: string,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await authorize(authorizer, { ...attributes, verb: "create" }, signal);
    } catch (refusal) {
      if (!(refusal instanceof StatusError && refusal.code === 403)) throw refusal;
      const { status } = await this.#look(path, AbortSignal.any([signal, AbortSignal.timeout(LOOK_TIMEOUT)]));
      if (status === 404) throw refusal;
      if (status !== 200) throw new PodwireError(`whether it is there, the server answers with ${status}`);
    }
  }

  /** What the upstream answers to a GET of the gateway's own, but for the body. */
  async #look(target: string, signal: AbortSignal): Promise<{ readonly status: number; readonly statusText: string }> {
    const { head, body } = await this.#upstream.request({ method: "GET", target, headers: [], signal });
    await body.cancel();
    return head;
  }

  #metricsText(): string {
    this.#metrics.connections(this.#server.connections);
    return this.#metrics.text();
  }

  /** Whether requests can be passed on: not while the gateway ends, and only to an upstream that is ready itself. */
  async #readiness({ connection, signal }: Exchange): Promise<Readiness> {
    if (this.#server.draining) return [503, "the gateway is ending"];
    const gone = AbortSignal.any([signal, connection.watchClient()]);
    this.#probing ??= this.#probe().finally(() => this.#probing = undefined);
    return await orAbort(this.#probing, gone);
  }

  /** Asks the upstream, for all who want to know meanwhile; so none of them ends it by leaving, but its deadline does. */
  async #probe(): Promise<Readiness> {
    const deadline = AbortSignal.timeout(READY_TIMEOUT);
    const signal = AbortSignal.any([this.#over.signal, deadline]);
    try {
      const { status, statusText } = await this.#look("/readyz", signal);
      if (status === 200) return [200, "ok"];
      return [503, `the backend is not ready: /readyz answers ${status} ${statusText}`];
    } catch (error) {
      if (deadline.aborted) return [503, "the backend is not ready: /readyz has no answer in time"];
      return [503, `error dialing backend: ${messageOf(error)}`];
    }
  }
}

/** Whether a gateway is ready, as it answers that. */
type Readiness = [status: number, body: string];

/** How long an upstream may take to say whether it is ready, in milliseconds. */
const READY_TIMEOUT = 5_000;

/** How long the upstream may take to say whether an object is there, in milliseconds. */
const LOOK_TIMEOUT = 30_000;

/** What is known of a request when it is over; see {@linkcode AccessRecord}. */
interface Outcome {
  path: string;
  status: number;
  received?: number;
  sent?: number;
  wireIn?: "websocket" | "spdy";
  wireOut?: "websocket" | "spdy";
  error?: string;
}

/** The stream into a pod that a path stands for, if any, whichever way it is spelled. */
function streamSubresource(path: string): "exec" | "attach" | "portforward" | undefined {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    return undefined; // No path of Kubernetes: the upstream says so.
  }
  const [, name] = /^\/api\/v1\/namespaces\/[^/]+\/pods\/[^/]+\/(exec|attach|portforward)$/.exec(decoded) ?? [];
  return name as "exec" | "attach" | "portforward" | undefined;
}

/** Where a client looks for what there is: versions, groups, resources, schemas. */
const DISCOVERY = /^\/(api(\/[^/]+)?|apis(\/[^/]+){0,2}|openapi\/.*|version)\/?$/;

/** The answer that says why: in plain words where kubectl makes "unknown" of a `Status`, as it does of the API server's own. */
function refusalOf(error: StatusError | NoAnswerError, path: string): HttpResponse {
  const { response } = error;
  if (!(error instanceof StatusError && error.code === 403 && DISCOVERY.test(path))) return response;
  return { ...response, headers: TEXT, body: `${error.message}\n` };
}

/** Why a request failed, in a word. */
function reasonOf(error: unknown): string {
  if (error instanceof StatusError) return error.reason;
  const cause = error instanceof NoAnswerError ? error.cause : error;
  return cause instanceof Error ? cause.name : "unknown";
}

function text(
  request: HttpRequest,
  status: number,
  body: string,
  type = "text/plain; charset=utf-8",
): HttpResponse {
  if (request.method !== "GET" && request.method !== "HEAD") throw methodNotAllowed();
  const headers = [["Content-Type", type], ["X-Content-Type-Options", "nosniff"]] as const;
  return { status, headers, body };
}

/** A client that wants to act as somebody else must not act as the gateway's own user instead. */
function refuseImpersonation(request: HttpRequest): void {
  if (![...request.headers].some(([name]) => /^impersonate-/i.test(name))) return;
  throw forbidden(
    "the gateway acts as its own user and passes no impersonation on: start it with --as, or leave --as out",
  );
}
