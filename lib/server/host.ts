/**
 * The embedded host: a small Kubernetes-shaped API whose pods are local processes.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";
import { AccessControl } from "./access.ts";
import { type Answer, ContainerStream, PortForwardStream, serveApi } from "./api.ts";
import { type HttpRequest, HttpRequestError, HttpServerConnection } from "./http.ts";
import { type ListenAddress, SocketListener } from "./listener.ts";
import { type HostPod, Pod } from "./pods.ts";
import { StatusError } from "./status_error.ts";
import { openPortForward, openRemoteCommand } from "./streams.ts";

/** Options of {@linkcode serveHost}. */
export interface HostOptions {
  /** Where to listen: a unix socket's path, or a port (0: any free one) of 127.0.0.1. */
  readonly listen: { readonly path: string } | { readonly port: number; readonly hostname?: string };
  /** The pods. Default: one that is called `demo` and tells the time. */
  readonly pods?: readonly HostPod[];
  /** What a client over TCP has to know; `null` for nothing. Default: 32 random characters. */
  readonly token?: string | null;
  /** The origins of web pages that may use the host, such as `https://page.example`. Default: none. */
  readonly allowOrigins?: readonly string[];
  /** Connections at a time; further ones wait. Default 256. */
  readonly maxConnections?: number;
  /** Ends the host. */
  readonly signal?: AbortSignal;
}

/**
 * A running host.
 *
 * Its pods' containers are processes of the user who runs it: no isolation of any kind. **Whoever can
 * reach it can run any command as that user**, and reach any port of this machine, all of which are the pods'. Hence a unix socket has mode 0600, TCP is loopback only, and
 * over TCP a client has to know a random token.
 */
export interface HostServer extends AsyncDisposable {
  /** Where it listens, with the port that it got. */
  readonly address: ListenAddress;
  /** The URL for a kubeconfig or for `new Cluster`: over TCP with the token as its path, over a unix socket a name only. */
  readonly url: URL;
  /** What a client over TCP has to know, if anything. */
  readonly token: string | undefined;
  /** A kubeconfig (JSON is YAML) for podwire and, over TCP, for kubectl. It holds the token: keep it private. */
  readonly kubeconfig: string;
  /** Resolves once the host has ended: no process, no connection and no socket is left. */
  readonly finished: Promise<void>;
  /** Ends the sessions and the processes. */
  close(): Promise<void>;
}

/**
 * Starts a host.
 *
 * @throws {ListenError} If it cannot listen.
 *
 * @example
 * ```ts
 * import { serveHost } from "./mod.ts";
 *
 * await using host = await serveHost({ listen: { port: 0 } });
 * await Deno.writeTextFile("host.kubeconfig", host.kubeconfig, { mode: 0o600 });
 * await host.finished; // KUBECONFIG=host.kubeconfig kubectl exec demo -- date
 * ```
 */
export async function serveHost(options: HostOptions): Promise<HostServer> {
  options.signal?.throwIfAborted();
  const listener = await SocketListener.listen(
    "path" in options.listen
      ? { transport: "unix", path: options.listen.path }
      : { transport: "tcp", hostname: "127.0.0.1", ...options.listen },
  );
  const pods = await Promise.all((options.pods ?? [DEMO_POD]).map((pod) => Pod.start(pod)));
  return new Host(listener, pods, options);
}

/** What runs if nothing else is asked for. */
const DEMO_POD: HostPod = {
  name: "demo",
  labels: { app: "demo" },
  containers: [{ name: "main", command: ["/bin/sh", "-c", "while date && sleep 5; do :; done"] }],
};

class Host implements HostServer {
  readonly address: ListenAddress;
  readonly url: URL;
  readonly token: string | undefined;
  readonly finished: Promise<void>;
  readonly #listener: SocketListener;
  readonly #pods: readonly Pod[];
  readonly #access: AccessControl;
  readonly #connections = new Set<Duplex>();
  readonly #sessions = new Set<Promise<void>>();

  constructor(listener: SocketListener, pods: readonly Pod[], options: HostOptions) {
    this.#listener = listener;
    this.#pods = pods;
    this.address = listener.address;
    const overTcp = this.address.transport === "tcp";
    this.token = overTcp ? (options.token === undefined ? randomToken() : options.token ?? undefined) : undefined;
    this.url = new URL(baseUrl(this.address) + (this.token ?? ""));
    this.#access = new AccessControl({
      ...(this.token !== undefined && { token: this.token }),
      allowOrigins: options.allowOrigins ?? [],
      checkHost: overTcp,
    });
    this.finished = this.#run(options);
  }

  get kubeconfig(): string {
    const server = this.url.href;
    const cluster = this.address.transport === "unix" ? { server, "via-unix-socket": this.address.path } : { server };
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "podwire-host", cluster }],
      users: [],
      contexts: [{ name: "podwire-host", context: { cluster: "podwire-host", user: "", namespace: "default" } }],
      "current-context": "podwire-host",
    };
    return `${JSON.stringify(config, undefined, 2)}\n`;
  }

  async close(): Promise<void> {
    await this.#listener.close();
    await this.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run(options: HostOptions): Promise<void> {
    const stop = () => void this.#listener.close();
    options.signal?.addEventListener("abort", stop);
    if (options.signal?.aborted) stop(); // While it was starting.
    try {
      for await (const duplex of this.#listener.connections(options.maxConnections ?? 256)) {
        const session = this.#serve(duplex);
        this.#sessions.add(session);
        session.finally(() => this.#sessions.delete(session));
      }
    } finally {
      options.signal?.removeEventListener("abort", stop);
      await this.#listener.close();
      for (const duplex of this.#connections) duplex.close();
      await Promise.all([...this.#sessions, ...this.#pods.map((pod) => pod.end())]);
    }
  }

  /** Serves a connection to its end. What goes wrong on one connection ends that connection. */
  async #serve(duplex: Duplex): Promise<void> {
    this.#connections.add(duplex);
    const connection = new HttpServerConnection(duplex);
    try {
      for (let request = await connection.next(); request; request = await connection.next()) {
        await this.#answer(connection, request);
      }
    } catch (error) {
      if (error instanceof HttpRequestError) await refuse(connection, error);
      // Else the client has gone, or the host is closing. What is no error of podwire's is a bug, and is heard of.
      else if (!(error instanceof PodwireError)) throw error;
    } finally {
      duplex.close();
      this.#connections.delete(duplex);
    }
  }

  async #answer(connection: HttpServerConnection, request: HttpRequest): Promise<void> {
    try {
      const result = this.#access.preflight(request) ?? this.#route(request);
      if (result instanceof ContainerStream) await openRemoteCommand(connection, request, result);
      else if (result instanceof PortForwardStream) await openPortForward(connection, request, result);
      else await connection.respond(this.#access.share(request, result));
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      await connection.respond(this.#access.share(request, error.response));
    }
  }

  #route(request: HttpRequest): Answer {
    return serveApi(this.#pods, this.#access.admit(request), request);
  }
}

/** Answers a request that HTTP itself forbids. */
async function refuse(connection: HttpServerConnection, error: HttpRequestError): Promise<void> {
  try {
    const headers = [["Content-Type", "text/plain; charset=utf-8"]] as const;
    await connection.respond({ status: error.status, headers, body: error.message, close: true });
  } catch (error) {
    if (!(error instanceof PodwireError)) throw error; // Else the client has gone: it needs no answer.
  }
}

function baseUrl(address: ListenAddress): string {
  if (address.transport === "unix") return "http://podwire-host/";
  const hostname = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
  return `http://${hostname}:${address.port}/`;
}

/** 192 random bits, in characters that a path and a header take as they are. */
function randomToken(): string {
  return crypto.getRandomValues(new Uint8Array(24)).toBase64({ alphabet: "base64url" });
}
