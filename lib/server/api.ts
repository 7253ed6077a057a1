/**
 * The paths that the embedded host serves, and what it answers.
 *
 * @module
 */
import type { Container } from "./container.ts";
import { parseDeleteOptions } from "./delete_options.ts";
import { goJson } from "./go_json.ts";
import type { HttpRequest, HttpResponse } from "./http.ts";
import type { Exchange } from "./http_server.ts";
import { namespaceList, namespaceObject, type PodBody, podObject } from "./objects.ts";
import { listPods, parseNumber, watchPods } from "./pod_list.ts";
import { LogStream } from "./pod_log.ts";
import type { PodStore } from "./pod_store.ts";
import type { Pod } from "./pods.ts";
import { Query } from "./query.ts";
import { commandRequest, type RemoteCommandRequest, type ServedCommand } from "./remote_command.ts";
import { parseFieldSelector, parseLabelSelector } from "./selectors.ts";
import { badRequest, methodNotAllowed, objectNotFound, pathNotFound, StatusError } from "./status_error.ts";
import { namespaceTable, podTable, wantsTable } from "./table.ts";
import { upgradeWanted } from "./upgrade.ts";

/** A stream into a container that a request may open. */
export class ContainerStream {
  /** What the client asked for. */
  readonly request: RemoteCommandRequest;
  readonly #container: Container;

  /** A stream into `container`. */
  constructor(container: Container, request: RemoteCommandRequest) {
    this.#container = container;
    this.request = request;
  }

  /** Runs the command, or takes a place at the container's streams. */
  async open(): Promise<ServedCommand> {
    return this.request.action === "exec"
      ? await this.#container.exec(this.request)
      : this.#container.attach(this.request);
  }
}

/** A wish to reach the ports of a pod. */
export class PortForwardStream {
  /** The pod. */
  readonly pod: Pod;
  /** The query's ports as they stand there; only WebSockets without a tunnel have any. */
  readonly ports: readonly number[];

  /** The ports of `pod`. */
  constructor(pod: Pod, ports: readonly number[]) {
    this.pod = pod;
    this.ports = ports;
  }
}

/** What a request may be answered with: a response, or a stream. */
export type Answer = HttpResponse | ContainerStream | PortForwardStream | LogStream;

/**
 * Answers a request for `path`, which is the request's without what only concerned access.
 *
 * @throws {StatusError} If it is refused.
 */
export async function serveApi(store: PodStore, path: string, exchange: Exchange): Promise<Answer> {
  if (path.startsWith("/api/v1/")) return await serveCore(store, path, exchange);
  const document = DOCUMENTS[path.replace(/(.)\/$/, "$1")];
  if (document === undefined) throw pathNotFound();
  requireRead(exchange.request);
  if (typeof document !== "string") return json(document);
  const headers = [["Content-Type", "text/plain; charset=utf-8"]] as const;
  return { status: 200, headers, body: document };
}

/** The objects of core/v1. */
async function serveCore(store: PodStore, path: string, exchange: Exchange): Promise<Answer> {
  const { request } = exchange;
  const query = new Query(request.query);
  const asTable = wantsTable(request.headers.get("accept"));
  const segments = path.split("/").slice(3).map(decodeSegment);
  const [first, namespace = "", second, name = "", action] = segments;
  if (first === "pods" && segments.length === 1) return servePods(store, { query, asTable }, exchange);
  if (first !== "namespaces" || (segments.length > 2 && second !== "pods")) throw pathNotFound();
  switch (segments.length) {
    case 1:
    case 2:
      requireRead(request);
      if (query.flag("watch")) throw methodNotAllowed();
      return segments.length === 1
        ? listNamespaces(store.namespaces, query, asTable)
        : getNamespace(store.namespaces, namespace, asTable);
    case 3:
      return servePods(store, { namespace, query, asTable }, exchange);
    case 4: {
      const [pod, body] = findPod(store, namespace, name);
      if (request.method === "DELETE") return json(podObject(await deletePod(store, pod, query, exchange)));
      requireRead(request);
      return json(asTable ? podTable([body], body.metadata.resourceVersion) : podObject(body));
    }
    case 5: {
      const [pod] = findPod(store, namespace, name);
      if (action === "exec" || action === "attach") return openStream(pod, action, query, request);
      if (action === "portforward") return openPortForward(pod, parsePorts(query), request);
      if (action !== "log") break;
      requireRead(request);
      return serveLog(LogStream.of(chooseContainer(pod, query.get("container") ?? ""), name, query), exchange);
    }
  }
  throw pathNotFound();
}

/** Pods: a list, or a watch. */
function servePods(
  store: PodStore,
  list: { readonly namespace?: string; readonly query: Query; readonly asTable: boolean },
  { connection, request, signal }: Exchange,
): HttpResponse {
  requireRead(request);
  if (!list.query.flag("watch")) return json(listPods(store, list));
  return watchPods(store, list, AbortSignal.any([signal, connection.watchClient()]));
}

function serveLog(log: LogStream, { connection, request, signal }: Exchange): Answer {
  const isUpgrade = request.headers.tokens("connection").includes("upgrade");
  if (isUpgrade && upgradeWanted(request) === "websocket") return log;
  return log.response(AbortSignal.any([signal, connection.watchClient()]));
}

/** Deletes a pod as a request wishes; what is in its body counts more than the query (apimachinery `DeleteOptions`). */
async function deletePod(store: PodStore, pod: Pod, query: Query, { connection, request }: Exchange): Promise<PodBody> {
  const body = await connection.body();
  const options = body.length === 0 ? {} : parseDeleteOptions(body, request);
  const [, current] = findPod(store, pod.namespace, pod.spec.name);
  const { uid, resourceVersion } = options.preconditions ?? {};
  for (const [field, wanted] of Object.entries({ uid, resourceVersion })) {
    const actual = current.metadata[field as "uid" | "resourceVersion"];
    if (wanted === undefined || wanted === actual) continue;
    throw conflict(
      pod.spec.name,
      `Precondition failed: ${field} in precondition: ${wanted}, ${field} in object meta: ${actual}`,
    );
  }
  const grace = options.gracePeriodSeconds ?? parseNumber(query, "gracePeriodSeconds");
  if (options.dryRun?.length || query.get("dryRun")) return current;
  // Kubernetes reads a negative one as the least that is not at once.
  return store.delete(pod, grace !== undefined && grace < 0 ? 1 : grace);
}

function conflict(name: string, why: string): StatusError {
  const message = `Operation cannot be fulfilled on pods ${JSON.stringify(name)}: ${why}`;
  return new StatusError(409, "Conflict", message, { name, kind: "pods" });
}

function listNamespaces(names: readonly string[], query: Query, asTable: boolean): HttpResponse {
  const byLabel = parseLabelSelector(query.get("labelSelector") ?? "");
  const byField = parseFieldSelector(query.get("fieldSelector") ?? "", ["metadata.name", "status.phase"]);
  const found = names.filter((name) =>
    byLabel({ "kubernetes.io/metadata.name": name }) && byField({ "metadata.name": name, "status.phase": "Active" })
  );
  return json(asTable ? namespaceTable(found) : namespaceList(found));
}

function getNamespace(names: readonly string[], name: string, asTable: boolean): HttpResponse {
  if (!names.includes(name)) throw objectNotFound("namespaces", name);
  return json(asTable ? namespaceTable([name]) : namespaceObject(name));
}

function findPod(store: PodStore, namespace: string, name: string): readonly [Pod, PodBody] {
  const found = store.find(namespace, name);
  if (!found) throw objectNotFound("pods", name);
  return found;
}

/** exec or attach: the checks of the API server, then those of the kubelet, whose answers are bare text. */
function openStream(
  pod: Pod,
  action: "exec" | "attach",
  query: Query,
  request: HttpRequest,
): HttpResponse | ContainerStream {
  if (!isRead(request) && request.method !== "POST") throw methodNotAllowed();
  const container = chooseContainer(pod, query.get("container") ?? "");
  if (!request.headers.tokens("connection").includes("upgrade")) throw badRequest("Upgrade request required");
  const command = commandRequest(query, action);
  if (!command.stdin && !command.stdout && !command.stderr) {
    return text(400, "you must specify at least 1 of stdin, stdout, stderr");
  }
  if (container.state.type !== "running") {
    const { name } = container.spec;
    if (action === "exec") return text(500, `container not found (${JSON.stringify(name)})`);
    return text(500, `container ${name} not found in pod ${pod.spec.name}_${pod.namespace}`);
  }
  return new ContainerStream(container, command);
}

/** portforward: the checks of the API server. */
function openPortForward(pod: Pod, ports: readonly number[], request: HttpRequest): Answer {
  if (!isRead(request) && request.method !== "POST") throw methodNotAllowed();
  if (!request.headers.tokens("connection").includes("upgrade")) throw badRequest("Upgrade request required");
  // The kubelet's answer where a pod's sandbox has ended with its containers (containerd `sandbox_portforward.go`).
  if (pod.phase !== "Running") return text(500, "sandbox container is not running");
  return new PortForwardStream(pod, ports);
}

/** The numbers that the API server makes of `ports` (apimachinery `runtime/conversion.go`); the kubelet looks at them later. */
function parsePorts(query: Query): number[] {
  return query.getAll("ports").map((text) => {
    const number = /^\d+$/.test(text) ? Number(text) : NaN;
    if (number < 2 ** 31) return number;
    const reason = Number.isNaN(number) ? "invalid syntax" : "value out of range";
    throw badRequest(`cannot convert to []int32: strconv.ParseUint: parsing ${JSON.stringify(text)}: ${reason}`);
  });
}

/** The container that was named; the only one, if none was (kubernetes `pkg/registry/core/pod/strategy.go`). */
function chooseContainer(pod: Pod, name: string): Container {
  const { containers, spec } = pod;
  const [first] = containers;
  if (name === "") {
    if (containers.length === 1 && first) return first;
    const names = containers.map((container) => container.spec.name).join(" ");
    throw badRequest(`a container name must be specified for pod ${spec.name}, choose one of: [${names}]`);
  }
  const container = containers.find((container) => container.spec.name === name);
  if (!container) throw badRequest(`container ${name} is not valid for pod ${spec.name}`);
  return container;
}

function isRead(request: HttpRequest): boolean {
  return request.method === "GET" || request.method === "HEAD";
}

function requireRead(request: HttpRequest): void {
  if (!isRead(request)) throw methodNotAllowed();
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw badRequest("malformed escape in the path");
  }
}

function json(value: Record<string, unknown>): HttpResponse {
  const headers = [["Cache-Control", "no-cache, private"], ["Content-Type", "application/json"]] as const;
  return { status: 200, headers, body: `${goJson(value)}\n` };
}

/** An answer in the kubelet's manner; the connection ends with it. */
export function text(status: number, body: string): HttpResponse {
  const headers = [["Content-Type", "text/plain; charset=utf-8"]] as const;
  return { status, headers, body, close: true };
}

/** The version that the host claims to be: the Kubernetes whose protocol it speaks. */
const VERSION = { major: "1", minor: "36", gitVersion: "v1.36.0+podwire" };

const DOCUMENTS: Readonly<Record<string, string | Record<string, unknown>>> = {
  "/version": {
    ...VERSION,
    gitCommit: "",
    gitTreeState: "",
    buildDate: "1970-01-01T00:00:00Z",
    goVersion: "",
    compiler: "",
    platform: "",
  },
  "/healthz": "ok",
  "/livez": "ok",
  "/readyz": "ok",
  "/api": { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] },
  "/apis": { kind: "APIGroupList", apiVersion: "v1", groups: [] },
  "/api/v1": {
    kind: "APIResourceList",
    groupVersion: "v1",
    resources: [
      {
        name: "namespaces",
        singularName: "namespace",
        namespaced: false,
        kind: "Namespace",
        verbs: ["get", "list"],
        shortNames: ["ns"],
      },
      {
        name: "pods",
        singularName: "pod",
        namespaced: true,
        kind: "Pod",
        verbs: ["delete", "get", "list", "watch"],
        shortNames: ["po"],
        categories: ["all"],
      },
      { name: "pods/attach", singularName: "", namespaced: true, kind: "PodAttachOptions", verbs: ["create", "get"] },
      { name: "pods/exec", singularName: "", namespaced: true, kind: "PodExecOptions", verbs: ["create", "get"] },
      { name: "pods/log", singularName: "", namespaced: true, kind: "Pod", verbs: ["get"] },
      {
        name: "pods/portforward",
        singularName: "",
        namespaced: true,
        kind: "PodPortForwardOptions",
        verbs: ["create", "get"],
      },
    ],
  },
};
