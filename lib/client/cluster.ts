/**
 * A Kubernetes cluster, seen through its API server.
 *
 * @module
 */
import { checkDuration, maskPath, MAX_DELAY, oneOf, tell } from "../bytes/mod.ts";
import { PROTOCOL_HEADER } from "../channels/mod.ts";
import type { Dialer, HeaderFields } from "../dial/mod.ts";
import {
  type AccessOptions,
  type ClusterAccess,
  CombinedCredentials,
  type Credentials,
  type CredentialSource,
  loadAccess,
  serverUrl,
  takeUser,
} from "../kubeconfig/mod.ts";
import type { MessageSocket } from "../websocket/mod.ts";
import { ApiError, UpgradeError } from "./errors.ts";
import type { KubernetesObject, PodObject } from "./objects.ts";
import { Pod, type PodConnection, type UpgradeOptions } from "./pod.ts";
import type { PortForward, PortForwardOptions } from "./port_forward.ts";
import { readJson } from "./read_json.ts";
import { Resource } from "./resource.ts";
import type { ResourceId } from "./resource_path.ts";
import { hasSockets } from "./runtime.ts";
import { isForwardable, resolvePod, type ResolvePodOptions } from "./targets.ts";
import type { SpdyRequest, SpdyUpgrade, Transport, WebSocketRequest } from "./transport.ts";
import { VERSION } from "./version.ts";
import { type Wire, WIRES } from "./wire.ts";

/** Options that every way to make a {@linkcode Cluster} takes. */
export interface ClientOptions {
  /** Sent with every request, upgrades included. Names may repeat. */
  readonly headers?: ReadonlyArray<readonly [name: string, value: string]>;
  /** The `User-Agent`. Default `podwire/VERSION`. */
  readonly userAgent?: string;
  /** Opens the connections, instead of the dialer that the access describes. */
  readonly dialer?: Dialer;
  /** Carries the requests, instead of sockets (or, in a browser, `fetch` and `WebSocket`). */
  readonly transport?: Transport;
  /**
   * How long each step to an answer may take, in milliseconds. Default 30 000 for each of connection, proxy and TLS,
   * 60 000 for the answer's head, and for each pause in its body unless that is a watch's or a log's. A browser takes the
   * first steps as one, and waits for a body as long as it likes. A command, once it runs, may take as long as it likes.
   */
  readonly timeout?: number;
  /** What streams into pods go over. Default `"auto"`: WebSocket, and SPDY/3.1 where a server refuses that. */
  readonly wire?: Wire;
  /**
   * Is told of every request when it has been answered. Secrets are masked. What it throws is reported as an event listener's is,
   * and changes nothing.
   */
  readonly onRequest?: (event: RequestEvent) => void;
}

/** Where a cluster is and as whom to go there, for `new Cluster()`. */
export interface ClusterOptions extends ClientOptions {
  /**
   * The API server's URL, its path kept as a prefix; or `host:port`, which is http, as in a kubeconfig. A user and a password
   * in it become basic authentication, unless there is a token.
   */
  readonly server: string | URL;
  /** A bearer token; an empty one is none. */
  readonly token?: string;
  /** The namespace of pods that are named without one. Default `default`. */
  readonly namespace?: string;
}

/** Options of {@linkcode Cluster.portForward}. */
export interface ForwardTargetOptions extends PortForwardOptions, Partial<ResolvePodOptions> {
  /** The pod that the target means now, from whoever has looked already. */
  readonly pod?: PodObject;
}

/** A request that has been answered, or has failed. */
export interface RequestEvent {
  /** The HTTP method. */
  readonly method: string;
  /** The whole URL; the token in the URL of `podwire host` is masked. */
  readonly url: string;
  /** What was sent, credentials masked. */
  readonly requestHeaders: ReadonlyArray<readonly [name: string, value: string]>;
  /** The HTTP status code; 0 if there was no answer. */
  readonly status: number;
  /** What came back. For an upgrade only the subprotocol is known. */
  readonly responseHeaders: Headers;
  /** How long it took to the answer's head, in milliseconds. */
  readonly milliseconds: number;
}

/** Options of a plain request. */
export interface RequestOptions {
  /** Default `GET`. */
  readonly method?: string;
  /** The query. */
  readonly query?: URLSearchParams;
  /** Header fields beside those of the cluster. */
  readonly headers?: ReadonlyArray<readonly [name: string, value: string]>;
  /** The body. */
  readonly body?: Uint8Array;
  /** Gives up the request and its response. */
  readonly signal?: AbortSignal;
}

/**
 * A cluster: finds pods, sends requests, hands out {@linkcode Pod}s.
 *
 * @example
 * ```ts
 * import { Cluster } from "@podwire/podwire";
 *
 * async function main(): Promise<void> {
 *   await using cluster = await Cluster.fromKubeconfig();
 *   const { code, stdout } = await cluster.pod("web-0").exec(["date"]).output();
 *   console.log(code, new TextDecoder().decode(stdout));
 * }
 * ```
 */
export class Cluster implements AsyncDisposable {
  /** The API server's URL. */
  readonly server: URL;
  /** The namespace of pods that are named without one. */
  readonly namespace: string;
  readonly #credentials: Credentials;
  readonly #options: ClientOptions;
  readonly #makeTransport: () => Promise<Transport>;
  #transport: Promise<Transport> | undefined;
  #closed = false;

  /**
   * A cluster at a URL, with a token or as nobody. Works in a browser too.
   *
   * @throws {ConfigError} If `server` is neither an http or https URL nor `host:port`.
   * @throws {RangeError} If `timeout` is no time.
   * @throws {TypeError} If `wire` is no {@linkcode Wire}.
   */
  constructor(options: ClusterOptions | (ClientOptions & { readonly access: ClusterAccess })) {
    const access = "access" in options ? options.access : accessOf(options);
    if (options.timeout !== undefined) checkDuration("timeout", options.timeout);
    if (options.wire !== undefined) oneOf("wire", options.wire, WIRES);
    this.server = access.server;
    this.namespace = access.namespace;
    this.#credentials = access.credentials;
    this.#options = options;
    this.#makeTransport = () => makeTransport(access, options);
  }

  /**
   * The cluster that kubectl would talk to: the same files, environment, contexts and
   * credentials, and a unix socket where the kubeconfig or an option names one.
   *
   * @throws {ConfigError} If the configuration is wrong; it names file, line and key.
   * @throws {RangeError} If `timeout` is no time.
   */
  static async fromKubeconfig(options: AccessOptions & ClientOptions = {}): Promise<Cluster> {
    return new Cluster({ ...options, access: await loadAccess(options) });
  }

  /**
   * The pod called `name`, whether it exists or not.
   *
   * @throws {TargetError} If no pod, or no namespace, can have such a name: `..`, `a/b`, none at all.
   */
  pod(name: string, options: { readonly namespace?: string } = {}): Pod {
    return new Pod(this.#podConnection(), name, options.namespace ?? this.namespace);
  }

  /**
   * The objects of an API resource, to read, watch and write them.
   *
   * @throws {TargetError} If a part of `id` is nothing that a path can have.
   */
  resource<T extends KubernetesObject>(id: ResourceId): Resource<T> {
    return new Resource<T>((path, options) => this.request(path, options), id);
  }

  /**
   * The pod that `target` means, as kubectl reads it: a name, `pod/NAME`, or `deploy/NAME`,
   * `svc/NAME`, `sts/NAME`, `rs/NAME`, `rc/NAME`, `ds/NAME`, `job/NAME`, of whose pods it takes
   * the best. It waits for a first pod to appear.
   *
   * @throws {TargetError} If the target has no pods, or none in time, or is nothing that can be there.
   * @throws {RangeError} If `timeout` is no time.
   * @throws {ApiError} If the server refuses to show it.
   */
  async resolvePod(target: string, options: Partial<ResolvePodOptions> = {}): Promise<PodObject> {
    const { namespace = this.namespace, timeout } = options;
    const limit = timeout !== undefined && { timeout: Math.min(checkDuration("timeout", timeout), MAX_DELAY) };
    return await resolvePod(this, target, { ...options, ...limit, namespace });
  }

  /**
   * Opens a port-forward to the pod that `target` means, as {@linkcode Cluster.resolvePod} reads it. When that pod is replaced,
   * new connections go to the target's next one.
   *
   * @throws {UpgradeError} If the server refuses.
   * @throws {TargetError} If the target has no pod that runs.
   * @throws {ApiError} If the server refuses to show it.
   */
  async portForward(
    target: string,
    options: ForwardTargetOptions = {},
  ): Promise<PortForward> {
    const { PortForward } = await import("./port_forward.ts");
    const resolve = async ({ fresh, signal }: { fresh: boolean; signal: AbortSignal }) =>
      options.pod && !fresh ? options.pod : await this.resolvePod(target, {
        ...options,
        signal,
        ...(fresh && { accept: isForwardable }),
      });
    const byName = !target.includes("/") || /^(pods?|po)(\.|\/)/i.test(target);
    return await PortForward.open({ resolve, byName, connection: this.#podConnection() }, options);
  }

  /**
   * GETs JSON from `path` below the server's URL.
   *
   * @throws {ApiError} If the server answers with an error, or with what is not JSON.
   * @throws {HttpBreakError} If the connection breaks.
   */
  async get<T>(path: string, options: RequestOptions & { readonly accept?: string } = {}): Promise<T> {
    const accept: [string, string] = ["Accept", options.accept ?? "application/json"];
    const response = await this.request(path, { ...options, headers: [accept, ...(options.headers ?? [])] });
    if (!response.ok) throw await ApiError.from(response, options);
    return await readJson(response, options.method ?? "GET", path);
  }

  /**
   * Sends a request to `path` below the server's URL; resolves with the answer whatever its status.
   *
   * @throws {TypeError} If `path` does not start with a slash.
   */
  async request(path: string, options: RequestOptions = {}): Promise<Response> {
    // It is put behind the server's own path: another one, or another host's URL, would come of it.
    if (!path.startsWith("/")) throw new TypeError(`the path ${JSON.stringify(path)} does not start with a slash`);
    const { method = "GET", query, body, signal } = options;
    const target = query?.size ? `${path}?${query}` : path;
    const credentials = await this.#credentials.headers(signal ? { signal } : {});
    const headers = [...this.#headers(credentials), ...(options.headers ?? [])];
    const started = performance.now();
    let response: Response | undefined;
    try {
      const transport = await this.#connect();
      response = await transport.request({
        method,
        path: target,
        headers,
        ...(body && { body }),
        ...(signal && { signal }),
      });
    } finally {
      this.#report(method, target, headers, started, response?.status ?? 0, response?.headers);
    }
    if (response.status === 401) this.#credentials.invalidate(credentials);
    return response;
  }

  /** Closes idle connections. Requests and sessions under way go on, and their connections end with them. */
  close(): void {
    this.#closed = true;
    this.#transport?.then((transport) => transport.close()).catch(() => {}); // What failed to open needs no close.
  }

  /** As {@linkcode Cluster.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  #podConnection(): PodConnection {
    return {
      get: (path, options) => this.get(path, options),
      request: (path, options) => this.request(path, options),
      openWebSocket: (path, options) => this.#openWebSocket(path, options),
      openSpdy: (path, options) => this.#openSpdy(path, options),
      wire: this.#options.wire ?? "auto",
    };
  }

  #connect(): Promise<Transport> {
    return this.#transport ??= this.#makeTransport().then((transport) => {
      if (this.#closed) transport.close(); // Meanwhile: it is to keep nothing.
      return transport;
    });
  }

  #headers(credentials: HeaderFields): Array<readonly [string, string]> {
    return [
      ["User-Agent", this.#options.userAgent ?? `podwire/${VERSION}`],
      ...credentials,
      ...(this.#options.headers ?? []),
    ];
  }

  #openWebSocket(path: string, options: UpgradeOptions): Promise<MessageSocket> {
    return this.#upgrade("GET", path, options, "Sec-WebSocket-Protocol", (transport, request) => {
      return transport.openWebSocket(request);
    });
  }

  #openSpdy(path: string, options: UpgradeOptions): Promise<SpdyUpgrade> {
    return this.#upgrade("POST", path, options, PROTOCOL_HEADER, (transport, request) => {
      return transport.openSpdy(request);
    });
  }

  /** Opens a stream by `open`, and reports how that went. */
  async #upgrade<T extends { readonly protocol: string }>(
    method: string,
    path: string,
    { resource, protocols, signal }: UpgradeOptions,
    protocolHeader: string,
    open: (transport: Transport, request: WebSocketRequest | SpdyRequest) => Promise<T>,
  ): Promise<T> {
    const credentials = await this.#credentials.headers(signal ? { signal } : {});
    const headers = this.#headers(credentials);
    const started = performance.now();
    let status = 0;
    const answered = new Headers();
    try {
      const opened = await open(await this.#connect(), {
        path,
        headers,
        resource,
        protocols,
        ...(signal && { signal }),
      });
      status = 101;
      if (opened.protocol) answered.set(protocolHeader, opened.protocol);
      return opened;
    } catch (error) {
      if (error instanceof UpgradeError) {
        status = error.code;
        if (status === 401) this.#credentials.invalidate(credentials);
      }
      throw error;
    } finally {
      this.#report(method, path, headers, started, status, answered);
    }
  }

  #report(
    method: string,
    path: string,
    headers: ReadonlyArray<readonly [string, string]>,
    started: number,
    status: number,
    responseHeaders = new Headers(),
  ): void {
    const event: RequestEvent = {
      method,
      url: this.server.origin + maskPath(this.server.pathname.replace(/\/$/, "") + path),
      requestHeaders: headers.map(([name, value]) => [name, maskSecret(name, value)]),
      status,
      responseHeaders,
      milliseconds: Math.round(performance.now() - started),
    };
    tell(this.#options.onRequest, event);
  }
}

function accessOf({ server: text, namespace = "default", token }: ClusterOptions): ClusterAccess {
  const server = serverUrl(String(text));
  const sources: CredentialSource[] = [];
  if (token) sources.push({ authorization: () => Promise.resolve(`Bearer ${token}`) });
  const user = takeUser(server);
  if (user) sources.push(user);
  return { server, namespace, tls: {}, credentials: new CombinedCredentials(sources, []) };
}

/** Sockets where the runtime has them, else what a browser has. */
async function makeTransport(access: ClusterAccess, options: ClientOptions): Promise<Transport> {
  const { transport, dialer, timeout } = options;
  if (transport) return transport;
  if (dialer || hasSockets()) {
    const { SocketTransport } = await import("./socket_transport.ts");
    const limits = timeout === undefined ? {} : { timeout };
    return dialer ? new SocketTransport(access.server, dialer, limits) : SocketTransport.create(access, limits);
  }
  const { PlatformTransport } = await import("./platform_transport.ts");
  return new PlatformTransport(access.server, timeout === undefined ? {} : { timeout });
}

/** As kubectl masks credentials in `-v=8`: the scheme stays. */
function maskSecret(name: string, value: string): string {
  if (!/^(proxy-)?authorization$/i.test(name)) return value;
  const [scheme, rest] = value.split(" ", 2);
  return rest === undefined ? "<masked>" : `${scheme} <masked>`;
}
