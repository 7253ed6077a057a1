/**
 * The paths that the embedded host serves, and what it answers.
 *
 * @module
 */
import { goJson } from "./go_json.ts";
import type { HttpRequest, HttpResponse } from "./http.ts";
import { namespaceList, namespaceObject, NODE_NAME, podList, podObject } from "./objects.ts";
import type { Container, Pod } from "./pods.ts";
import { Query } from "./query.ts";
import type { RemoteCommandRequest, ServedCommand } from "./remote_command.ts";
import { parseFieldSelector, parseLabelSelector } from "./selectors.ts";
import { badRequest, methodNotAllowed, objectNotFound, pathNotFound } from "./status_error.ts";
import { namespaceTable, podTable, wantsTable } from "./table.ts";

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
export type Answer = HttpResponse | ContainerStream | PortForwardStream;

/**
 * Answers a request for `path`, which is the request's without what only concerned access.
 *
 * @throws {StatusError} If it is refused.
 */
export function serveApi(pods: readonly Pod[], path: string, request: HttpRequest): Answer {
  if (path.startsWith("/api/v1/")) return serveCore(pods, path, request);
  const document = DOCUMENTS[path.replace(/(.)\/$/, "$1")];
  if (document === undefined) throw pathNotFound();
  requireRead(request);
  if (typeof document !== "string") return json(document);
  const headers = [["Content-Type", "text/plain; charset=utf-8"]] as const;
  return { status: 200, headers, body: document };
}

/** The objects of core/v1. */
function serveCore(pods: readonly Pod[], path: string, request: HttpRequest): Answer {
  const query = new Query(request.query);
  const asTable = wantsTable(request.headers.get("accept"));
  const segments = path.split("/").slice(3).map(decodeSegment);
  const [first, namespace = "", second, name = "", action] = segments;
  if (action === undefined) requireRead(request);
  if (query.flag("watch")) throw methodNotAllowed();

  if (first === "pods" && segments.length === 1) return listPods(pods, query, asTable);
  if (first !== "namespaces" || (segments.length > 2 && second !== "pods")) throw pathNotFound();
  switch (segments.length) {
    case 1:
      return listNamespaces(pods, query, asTable);
    case 2:
      return getNamespace(pods, namespace, asTable);
    case 3:
      return listPods(pods.filter((pod) => pod.namespace === namespace), query, asTable);
    case 4: {
      const pod = findPod(pods, namespace, name);
      return json(asTable ? podTable([pod]) : podObject(pod));
    }
    case 5:
      if (action === "exec" || action === "attach") {
        return openStream(findPod(pods, namespace, name), action, query, request);
      }
      if (action === "portforward") {
        const ports = parsePorts(query);
        return openPortForward(findPod(pods, namespace, name), ports, request);
      }
  }
  throw pathNotFound();
}

function listPods(pods: readonly Pod[], query: Query, asTable: boolean): HttpResponse {
  const byLabel = parseLabelSelector(query.get("labelSelector") ?? "");
  const byField = parseFieldSelector(query.get("fieldSelector") ?? "", Object.keys(podFields()));
  const found = pods.filter((pod) => byLabel(pod.spec.labels ?? {}) && byField(podFields(pod)));
  return json(asTable ? podTable(found) : podList(found));
}

/** The fields that pods can be selected by (kubernetes `pkg/registry/core/pod/strategy.go`). */
function podFields(pod?: Pod): Record<string, string> {
  return {
    "metadata.name": pod?.spec.name ?? "",
    "metadata.namespace": pod?.namespace ?? "",
    "spec.nodeName": NODE_NAME,
    "spec.restartPolicy": "Never",
    "status.phase": pod?.phase ?? "",
    "status.podIP": "127.0.0.1",
  };
}

function listNamespaces(pods: readonly Pod[], query: Query, asTable: boolean): HttpResponse {
  const byLabel = parseLabelSelector(query.get("labelSelector") ?? "");
  const byField = parseFieldSelector(query.get("fieldSelector") ?? "", ["metadata.name", "status.phase"]);
  const found = namespaceNames(pods).filter((name) =>
    byLabel({ "kubernetes.io/metadata.name": name }) && byField({ "metadata.name": name, "status.phase": "Active" })
  );
  return json(asTable ? namespaceTable(found) : namespaceList(found));
}

function getNamespace(pods: readonly Pod[], name: string, asTable: boolean): HttpResponse {
  if (!namespaceNames(pods).includes(name)) throw objectNotFound("namespaces", name);
  return json(asTable ? namespaceTable([name]) : namespaceObject(name));
}

function namespaceNames(pods: readonly Pod[]): string[] {
  return [...new Set(["default", ...pods.map((pod) => pod.namespace)])].sort();
}

function findPod(pods: readonly Pod[], namespace: string, name: string): Pod {
  const pod = pods.find((pod) => pod.namespace === namespace && pod.spec.name === name);
  if (!pod) throw objectNotFound("pods", name);
  return pod;
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
  const tty = query.flag("tty");
  const stdin = query.flag("stdin");
  const stdout = query.flag("stdout");
  const stderr = query.flag("stderr");
  if (!stdin && !stdout && !stderr) return text(400, "you must specify at least 1 of stdin, stdout, stderr");
  if (container.state.type !== "running") {
    const { name } = container.spec;
    if (action === "exec") return text(500, `container not found (${JSON.stringify(name)})`);
    return text(500, `container ${name} not found in pod ${pod.spec.name}_${pod.namespace}`);
  }
  const command = action === "exec" ? query.getAll("command") : [];
  return new ContainerStream(container, { action, command, stdin, stdout, stderr: stderr && !tty, tty });
}

/** portforward: the checks of the API server. */
function openPortForward(pod: Pod, ports: readonly number[], request: HttpRequest): Answer {
  if (!isRead(request) && request.method !== "POST") throw methodNotAllowed();
  if (!request.headers.tokens("connection").includes("upgrade")) throw badRequest("Upgrade request required");
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
        verbs: ["get", "list"],
        shortNames: ["po"],
        categories: ["all"],
      },
      { name: "pods/attach", singularName: "", namespaced: true, kind: "PodAttachOptions", verbs: ["create", "get"] },
      { name: "pods/exec", singularName: "", namespaced: true, kind: "PodExecOptions", verbs: ["create", "get"] },
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
