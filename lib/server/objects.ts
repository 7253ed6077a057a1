/**
 * Kubernetes' JSON for what the embedded host has: pods and namespaces (core/v1).
 *
 * @module
 */
import type { Container, Pod } from "./pods.ts";

/** The name of the only node: these pods are processes of whoever runs the host. */
export const NODE_NAME = "podwire-host";

/** The annotation on every pod that says so. */
const NOTICE = {
  "podwire.dev/host": "The containers of this pod are processes of the local user: no isolation of any kind.",
};

/** A pod as an API object. */
export function podObject(pod: Pod): Record<string, unknown> {
  return { kind: "Pod", apiVersion: "v1", ...podBody(pod) };
}

/** A list of pods as an API object. */
export function podList(pods: readonly Pod[]): Record<string, unknown> {
  return { kind: "PodList", apiVersion: "v1", metadata: LIST_META, items: pods.map(podBody) };
}

/** The metadata of a pod. */
export function podMetadata(pod: Pod): Record<string, unknown> {
  return {
    name: pod.spec.name,
    namespace: pod.namespace,
    uid: pod.uid,
    resourceVersion: "1",
    creationTimestamp: timestamp(pod.createdAt),
    ...(pod.spec.labels && { labels: pod.spec.labels }),
    annotations: { ...NOTICE, ...pod.spec.annotations },
  };
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

/** What lists have; nothing here ever changes its version. */
export const LIST_META = { resourceVersion: "1" };

function namespaceBody(name: string): Record<string, unknown> {
  return {
    metadata: namespaceMetadata(name),
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  };
}

function podBody(pod: Pod): Record<string, unknown> {
  const running = pod.phase === "Running";
  const ready = pod.containers.every((container) => container.state.type === "running");
  const since = timestamp(pod.createdAt);
  const condition = (type: string, holds: boolean) => ({
    type,
    status: holds ? "True" : "False",
    lastProbeTime: null,
    lastTransitionTime: since,
  });
  return {
    metadata: podMetadata(pod),
    spec: {
      containers: pod.containers.map(({ spec }) => ({
        name: spec.name,
        image: "local-process",
        command: spec.command,
        ...(spec.cwd !== undefined && { workingDir: spec.cwd }),
        ...(spec.stdin && { stdin: true }),
        ...(spec.tty && { tty: true }),
      })),
      nodeName: NODE_NAME,
      restartPolicy: "Never",
      hostNetwork: true,
      hostPID: true,
    },
    status: {
      phase: pod.phase,
      conditions: [
        condition("Initialized", true),
        condition("Ready", running && ready),
        condition("ContainersReady", running && ready),
        condition("PodScheduled", true),
      ],
      hostIP: LOOPBACK,
      podIP: LOOPBACK,
      podIPs: [{ ip: LOOPBACK }],
      startTime: since,
      containerStatuses: pod.containers.map(containerStatus),
    },
  };
}

const LOOPBACK = "127.0.0.1";

function containerStatus({ spec, state }: Container): Record<string, unknown> {
  const running = state.type === "running";
  return {
    name: spec.name,
    image: "local-process",
    imageID: "",
    ready: running,
    started: running,
    restartCount: 0,
    lastState: {},
    state: running ? { running: { startedAt: timestamp(state.startedAt) } } : {
      terminated: {
        exitCode: state.exitCode,
        reason: state.reason,
        ...(state.message !== undefined && { message: state.message }),
        startedAt: timestamp(state.startedAt),
        finishedAt: timestamp(state.finishedAt),
      },
    },
  };
}

/** RFC 3339 in whole seconds, as the API has it. */
export function timestamp(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, "Z");
}
