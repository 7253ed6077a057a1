/**
 * A gateway whose streams do not go to an API server but straight to a node: `gateway_server.ts OPTIONS`, with
 * {@linkcode GatewayServerOptions} as JSON. Runs among the cluster's programs, says `ready` on stderr, and ends with a signal.
 *
 * @module
 */
import { loadAccess } from "../../lib/kubeconfig/mod.ts";
import { requestFields } from "../../lib/server/forwarded_headers.ts";
import { type Exchange, HttpServer } from "../../lib/server/http_server.ts";
import { kubeletTarget } from "../../lib/server/kubelet_target.ts";
import { SocketListener } from "../../lib/server/listener.ts";
import { proxyRequest } from "../../lib/server/proxy.ts";
import { Query } from "../../lib/server/query.ts";
import { serveStream } from "../../lib/server/stream_gateway.ts";
import { Upstream } from "../../lib/server/upstream.ts";
import { ContainerRuntime } from "./cri.ts";

/** What it does. */
export interface GatewayServerOptions {
  /** Where it listens. */
  readonly socket: string;
  /** Leads to the API server, for everything else. */
  readonly kubeconfig: string;
  /** Where streams go: a kubelet's URL and its node's `declaredFeatures`, or a container runtime's socket and the pod's containers by name. */
  readonly to:
    | { readonly kubelet: string; readonly declaredFeatures: readonly string[] }
    | { readonly runtime: string; readonly containers: Readonly<Record<string, string>> };
}

const { socket, kubeconfig, to }: GatewayServerOptions = JSON.parse(Deno.args[0] ?? "");
const api = Upstream.create(await loadAccess({ kubeconfig }));
const listener = await SocketListener.listen({ transport: "unix", path: socket });

const server = new HttpServer(listener, async ({ connection, request, signal }) => {
  const { path, query } = request;
  const shared = { connection, request, headers: requestFields(request, { tls: false }), signal };
  const [, subresource] = /\/pods\/[^/]+\/(exec|attach|portforward)$/.exec(path) ?? [];
  if (!isStream(subresource)) {
    const target = query === "" ? path : `${path}?${query}`;
    return await proxyRequest({ ...shared, target, upstream: api, share: (response) => response, onStatus() {} });
  }
  const { upstream, target } = await goTo(subresource, request);
  using _upstream = upstream;
  const outcome = await serveStream(
    { ...shared, target, upstream, subresource },
    "kubelet" in to ? { declaredFeatures: to.declaredFeatures } : { wire: "spdy" },
  );
  if (outcome.reason !== undefined) console.error(`${subresource}: ${outcome.reason}`);
}, { maxConnections: 1024 });

type Subresource = "exec" | "attach" | "portforward";

function isStream(name: string | undefined): name is Subresource {
  return name !== undefined;
}

/** Where a stream goes, and as what. */
async function goTo(
  subresource: Subresource,
  { path, query }: Exchange["request"],
): Promise<{ readonly upstream: Upstream; readonly target: string }> {
  if ("kubelet" in to) {
    const access = await loadAccess({ kubeconfig, server: to.kubelet });
    return { upstream: Upstream.create(access), target: kubeletTarget(path, query)! };
  }
  const url = await streamUrl(to, subresource, new Query(query));
  const { credentials: _, ...access } = await loadAccess({ kubeconfig, server: url.origin });
  const nobody = {
    headers: () => Promise.resolve([]),
    clientCertificate: () => Promise.resolve(undefined),
    invalidate() {},
  };
  return { upstream: Upstream.create({ ...access, credentials: nobody }), target: url.pathname };
}

async function streamUrl(
  { runtime: path, containers }: Extract<GatewayServerOptions["to"], { readonly runtime: string }>,
  subresource: Subresource,
  asked: Query,
): Promise<URL> {
  const runtime = new ContainerRuntime(path);
  const container = containers[asked.get("container") ?? "main"] ?? "";
  if (subresource === "portforward") return await runtime.portForward(container);
  const tty = asked.flag("tty");
  const stderr = asked.flag("stderr") && !tty;
  const streams = { stdin: asked.flag("stdin"), stdout: asked.flag("stdout"), stderr, tty };
  if (subresource === "attach") return await runtime.attach(container, streams);
  return await runtime.exec(container, asked.getAll("command"), streams);
}

Deno.addSignalListener("SIGTERM", async () => {
  await server.drain(0);
  api.close();
  Deno.exit();
});
console.error("ready");
