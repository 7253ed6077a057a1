/**
 * The embedded host: a small Kubernetes-shaped API whose pods are local processes.
 *
 * @module
 */
import { AccessControl, randomToken } from "./access.ts";
import { type Answer, ContainerStream, PortForwardStream, serveApi } from "./api.ts";
import type { HttpResponse } from "./http.ts";
import { type Exchange, HttpServer } from "./http_server.ts";
import { withIdleLimit } from "./idle_limit.ts";
import { type ListenAddress, listenAddress, SocketListener } from "./listener.ts";
import { formatKubeconfig, type OwnKubeconfig, serverUrl } from "./own_kubeconfig.ts";
import { checkPods } from "./pod_check.ts";
import { PodStore } from "./pod_store.ts";
import type { HostPod } from "./pods.ts";
import { StatusError } from "./status_error.ts";
import { openPortForward, openRemoteCommand } from "./streams.ts";

/** Options of {@linkcode serveHost}. */
export interface HostOptions {
  /** Where to listen: a unix socket's path, or a port (0: any free one) of 127.0.0.1. */
  readonly listen: { readonly path: string } | { readonly port: number; readonly hostname?: string };
  /** The pods. Default: one that is called `demo` and tells the time. */
  readonly pods?: readonly HostPod[];
  /**
   * What a client over TCP has to know, of the characters that a URL's path keeps (`A-Z a-z 0-9 - . _ ~`); `null` for nothing.
   * Default: 32 random characters.
   */
  readonly token?: string | null;
  /** The origins of web pages that may use the host, such as `https://page.example`. Default: none. */
  readonly allowOrigins?: readonly string[];
  /** Connections at a time, at least one; further ones wait. Default 256. */
  readonly maxConnections?: number;
  /** As in {@linkcode GatewayOptions}. */
  readonly onBug?: (error: unknown) => void;
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
 * @throws {TypeError} If a pod cannot be served, two have one name, or the token or an allowed origin is none.
 * @throws {RangeError} If `maxConnections` lets nobody in.
 * @throws {ListenError} If it cannot listen.
 *
 * @example
 * ```ts
 * import { serveHost } from "@podwire/podwire/server";
 *
 * await using host = await serveHost({ listen: { port: 0 } });
 * await Deno.writeTextFile("host.kubeconfig", host.kubeconfig, { mode: 0o600 });
 * await host.finished; // KUBECONFIG=host.kubeconfig kubectl exec demo -- date
 * ```
 */
export async function serveHost(options: HostOptions): Promise<HostServer> {
  options.signal?.throwIfAborted();
  const pods = options.pods ?? [DEMO_POD];
  checkPods(pods);
  const listener = await SocketListener.listen(listenAddress(options.listen));
  let store: PodStore | undefined;
  try {
    store = await PodStore.start(pods);
    return new Host(listener, store, options);
  } catch (error) {
    await Promise.all([listener.close(), store?.end()]);
    throw error;
  }
}

/** What runs if nothing else is asked for. */
const DEMO_POD: HostPod = {
  name: "demo",
  labels: { app: "demo" },
  containers: [{ name: "main", command: ["/bin/sh", "-c", "while date && sleep 5; do :; done"] }],
};

/** How long nothing may pass over a stream, in milliseconds: four hours, as at a kubelet (`streamingConnectionIdleTimeout`). */
const IDLE_TIMEOUT = 4 * 3600 * 1000;

class Host implements HostServer {
  readonly address: ListenAddress;
  readonly url: URL;
  readonly token: string | undefined;
  readonly finished: Promise<void>;
  readonly #pods: PodStore;
  readonly #own: OwnKubeconfig;
  readonly #access: AccessControl;
  readonly #server: HttpServer;

  constructor(listener: SocketListener, pods: PodStore, options: HostOptions) {
    this.#pods = pods;
    this.address = listener.address;
    const overTcp = this.address.transport === "tcp";
    this.token = overTcp ? (options.token === undefined ? randomToken() : options.token ?? undefined) : undefined;
    this.#own = { name: "podwire-host", address: this.address, token: this.token, namespace: "default" };
    this.url = serverUrl(this.#own);
    this.#access = new AccessControl({
      ...(this.token !== undefined && { token: this.token }),
      allowOrigins: options.allowOrigins ?? [],
      checkHost: overTcp,
      tokenInPath: true,
    });
    this.#server = new HttpServer(
      listener,
      (exchange) => this.#answer(exchange),
      options,
    );
    this.finished = this.#run(options);
  }

  get kubeconfig(): string {
    return formatKubeconfig(this.#own);
  }

  async close(): Promise<void> {
    await this.#server.close();
    await this.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run({ signal }: HostOptions): Promise<void> {
    const stop = () => void this.#server.close();
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop(); // While it was starting.
    await this.#server.stopped;
    signal?.removeEventListener("abort", stop);
    await Promise.all([this.#server.finished, this.#pods.end()]);
  }

  async #answer(exchange: Exchange): Promise<void> {
    const { connection, request } = exchange;
    try {
      const admitted = this.#access.enter(exchange);
      const result = typeof admitted === "string" ? await serveApi(this.#pods, admitted, exchange) : admitted;
      if (isResponse(result)) return await connection.respond(this.#access.share(request, result));
      await withIdleLimit(connection, IDLE_TIMEOUT, async (limited) => {
        if (result instanceof ContainerStream) await openRemoteCommand(limited, request, result);
        else if (result instanceof PortForwardStream) await openPortForward(limited, request, result);
        else await result.sendMessages(limited, request);
      });
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      await connection.respond(this.#access.share(request, error.response));
    }
  }
}

function isResponse(answer: Answer): answer is HttpResponse {
  return "status" in answer;
}
