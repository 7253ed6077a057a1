/**
 * Kubernetes' JSON for what the embedded host has: pods and namespaces (core/v1).
 *
 * @module
 */
import type { Container, ContainerState } from "./container.ts";
import type { Pod } from "./pods.ts";

/** The name of the only node: these pods are processes of whoever runs the host. */
export const NODE_NAME = "podwire-host";

/** The annotation on every pod that says so. */
const NOTICE = {
  "podwire.dev/host": "The containers of this pod are processes of the local user: no isolation of any kind.",
};

/** A pod as the API has it, without what names its type. */
export interface PodBody {
  /** Name, labels and so on. */
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly creationTimestamp: string;
    readonly deletionTimestamp?: string;
    readonly deletionGracePeriodSeconds?: number;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  /** What was asked for. */
  readonly spec: Readonly<Record<string, unknown>>;
  /** How it is. */
  readonly status: {
    readonly phase: string;
    readonly containerStatuses: readonly ContainerStatus[];
    readonly [field: string]: unknown;
  };
}

/** How a container is. */
export interface ContainerStatus {
  /** Its name. */
  readonly name: string;
  /** Whether it runs. */
  readonly ready: boolean;
  /** How often it was started again. */
  readonly restartCount: number;
  /** Its state. */
  readonly state: ContainerStateBody;
  /** How it ended the time before. */
  readonly lastState: ContainerStateBody;
  readonly [field: string]: unknown;
}

/** One of these, or none. */
export interface ContainerStateBody {
  /** It waits to be started again. */
  readonly waiting?: { readonly reason: string; readonly message: string };
  /** It runs. */
  readonly running?: { readonly startedAt: string };
  /** It has ended. */
  readonly terminated?: { readonly reason: string; readonly finishedAt: string; readonly [field: string]: unknown };
}

/** A pod as an API object. */
export function podObject(pod: PodBody): Record<string, unknown> {
  return { kind: "Pod", apiVersion: "v1", ...pod };
}

/** A list of pods as an API object. */
export function podList(pods: readonly PodBody[], resourceVersion: string): Record<string, unknown> {
  return { kind: "PodList", apiVersion: "v1", metadata: { resourceVersion }, items: pods };
}

/** A namespace as an API object. */
export function namespaceObject(name: string): Record<string, unknown> {
  return { kind: "Namespace", apiVersion: "v1", ...namespaceBody(name) };
}

/** A list of namespaces as an API object. */
export function namespaceList(names: readonly string[]): Record<string, unknown> {
  return { kind: "NamespaceList", apiVersion: "v1", metadata: LIST_META, items: names.map(namespaceBody) };
}

/** The metadata of a namespace. */
export function namespaceMetadata(name: string): Record<string, unknown> {
  return { name, resourceVersion: "1", labels: { "kubernetes.io/metadata.name": name } };
}

/** What lists of namespaces have, which never change. */
export const LIST_META = { resourceVersion: "1" };

function namespaceBody(name: string): Record<string, unknown> {
  return {
    metadata: namespaceMetadata(name),
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  };
}

/** A pod as it is now, which is its state at `version`. */
export function podBody(pod: Pod, version: number): PodBody {
  const { spec, deletion, readiness } = pod;
  const since = timestamp(pod.createdAt);
  const condition = (type: string, more: Record<string, unknown> = {}) => ({
    type,
    status: "True",
    lastProbeTime: null,
    lastTransitionTime: since,
    ...more,
  });
  const ready = (type: string) => condition(type, { lastTransitionTime: timestamp(readiness.since), ...unready(pod) });
  return {
    metadata: {
      name: spec.name,
      namespace: pod.namespace,
      uid: pod.uid,
      resourceVersion: String(version),
      creationTimestamp: since,
      ...(deletion && { deletionTimestamp: timestamp(deletion.at), deletionGracePeriodSeconds: deletion.grace }),
      ...(spec.labels && { labels: spec.labels }),
      annotations: { ...NOTICE, ...spec.annotations },
    },
    spec: {
      containers: pod.containers.map(containerSpec),
      nodeName: NODE_NAME,
      restartPolicy: pod.restartPolicy,
      terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE,
      hostNetwork: true,
      hostPID: true,
    },
    status: {
      phase: pod.phase,
      conditions: [condition("Initialized"), ready("Ready"), ready("ContainersReady"), condition("PodScheduled")],
      hostIP: LOOPBACK,
      podIP: LOOPBACK,
      podIPs: [{ ip: LOOPBACK }],
      startTime: since,
      containerStatuses: pod.containers.map(containerStatus),
    },
  };
}

/** How long the processes of a pod have to end, in seconds. */
export const DEFAULT_GRACE = 30;

const LOOPBACK = "127.0.0.1";

/** What makes a condition false, if the pod is not ready. */
function unready(pod: Pod): Record<string, unknown> {
  if (pod.readiness.ready) return {};
  if (pod.phase !== "Running") {
    return { status: "False", reason: pod.phase === "Succeeded" ? "PodCompleted" : "PodFailed" };
  }
  const names = pod.containers.filter(({ state }) => state.type !== "running").map(({ spec }) => spec.name);
  return {
    status: "False",
    reason: "ContainersNotReady",
    message: `containers with unready status: [${names.join(" ")}]`,
  };
}

function containerSpec({ spec }: Container): Record<string, unknown> {
  return {
    name: spec.name,
    image: "local-process",
    command: spec.command,
    ...(spec.args && { args: spec.args }),
    ...(spec.env && { env: Object.entries(spec.env).map(([name, value]) => ({ name, value })) }),
    ...(spec.ports && { ports: spec.ports.map((port) => ({ ...port, protocol: "TCP" })) }),
    ...(spec.cwd !== undefined && { workingDir: spec.cwd }),
    ...(spec.stdin && { stdin: true }),
    ...(spec.tty && { tty: true }),
  };
}

function containerStatus({ spec, state, lastState, restartCount }: Container): ContainerStatus {
  const running = state.type === "running";
  return {
    name: spec.name,
    image: "local-process",
    imageID: "",
    ready: running,
    started: running,
    restartCount,
    lastState: lastState ? stateBody(lastState) : {},
    state: stateBody(state),
  };
}

function stateBody(state: ContainerState): ContainerStateBody {
  switch (state.type) {
    case "waiting":
      return { waiting: { reason: state.reason, message: state.message } };
    case "running":
      return { running: { startedAt: timestamp(state.startedAt) } };
    case "terminated": {
      const { exitCode, reason, message, startedAt, finishedAt } = state;
      return {
        terminated: {
          exitCode,
          reason,
          ...(message !== undefined && { message }),
          startedAt: timestamp(startedAt),
          finishedAt: timestamp(finishedAt),
        },
      };
    }
  }
}

/** RFC 3339 in whole seconds, as the API has it. */
export function timestamp(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, "Z");
}
