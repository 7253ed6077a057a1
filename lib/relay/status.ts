/**
 * What the operator says of a `Relay`: conditions, as a whole and per node.
 *
 * @module
 */
import type { KubernetesObject } from "../client/mod.ts";
import { type Condition, MAX_NODES, type NodeStatus, type RelayObject, type RelayObjectStatus } from "./crd.ts";

/** A pod, as far as its health goes. */
export interface RelayPod extends KubernetesObject {
  /** Where it runs, or shall: a DaemonSet's pod is for one node from the beginning. */
  readonly spec?: {
    readonly nodeName?: string;
    readonly affinity?: {
      readonly nodeAffinity?: {
        readonly requiredDuringSchedulingIgnoredDuringExecution?: {
          readonly nodeSelectorTerms?: ReadonlyArray<{
            readonly matchFields?: ReadonlyArray<{ readonly key: string; readonly values?: readonly string[] }>;
          }>;
        };
      };
    };
  };
  /** How it is. */
  readonly status?: {
    readonly phase?: string;
    readonly conditions?: ReadonlyArray<
      { readonly type: string; readonly status: string; readonly reason?: string; readonly message?: string }
    >;
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}

interface ContainerStatus {
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly terminated?: { readonly reason?: string; readonly exitCode?: number };
  };
}

/** Whether something is so, and why. */
export type Finding = Pick<Condition, "status" | "reason" | "message">;

/** How the relays of a set are on one node. */
export interface NodeFinding {
  /** The node. */
  readonly name: string;
  /** Whether they work there. */
  readonly ready: Finding;
}

/** How the pods of `node` are: of each half one has to be ready. */
export function findNode(node: string, pods: readonly RelayPod[]): NodeFinding {
  for (const half of ["node", "cluster"]) {
    const pod = pods.find(({ metadata, spec }) =>
      nodeOf(spec) === node && !metadata.deletionTimestamp &&
      metadata.labels?.["app.kubernetes.io/component"] === half
    );
    if (!pod) {
      const message = `the ${half} half has no pod here`;
      return { name: node, ready: { status: "False", reason: "PodMissing", message } };
    }
    if (!isReady(pod)) {
      const message = `the pod ${pod.metadata.name} is not ready${explain(pod)}`;
      return { name: node, ready: { status: "False", reason: "PodNotReady", message } };
    }
  }
  return { name: node, ready: { status: "True", reason: "PodsReady", message: "both halves run" } };
}

/** The node of a DaemonSet's pod, also before it is scheduled. */
function nodeOf({ nodeName, affinity }: NonNullable<RelayPod["spec"]> = {}): string | undefined {
  if (nodeName !== undefined) return nodeName;
  const terms = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  return terms.flatMap(({ matchFields = [] }) => matchFields).find(({ key }) => key === "metadata.name")?.values?.[0];
}

function isReady({ status }: RelayPod): boolean {
  return status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

function explain({ status }: RelayPod): string {
  const unscheduled = status?.conditions?.find(({ type, status }) => type === "PodScheduled" && status === "False");
  if (unscheduled) return `: ${unscheduled.reason ?? "Unscheduled"}: ${unscheduled.message ?? "no node takes it"}`;
  const states = [...status?.initContainerStatuses ?? [], ...status?.containerStatuses ?? []].map(({ state }) => state);
  const waiting = states.find((state) => state?.waiting && state.waiting.reason !== "PodInitializing")?.waiting;
  if (waiting?.reason) return `: ${waiting.reason}${waiting.message ? `: ${waiting.message}` : ""}`;
  const ended = states.find((state) => state?.terminated?.exitCode)?.terminated;
  return ended ? `: ${ended.reason ?? "Error"}, exit code ${ended.exitCode}` : "";
}

/** Whether a relay that is accepted works, from how it is on its nodes. */
export function findReady(nodes: readonly NodeFinding[]): Finding {
  const ready = nodes.filter((node) => node.ready.status === "True").length;
  if (nodes.length === 0) {
    return { status: "False", reason: "NoNodes", message: "no node has the labels of spec.nodeSelector" };
  }
  const message = `ready on ${ready} of ${nodes.length} nodes`;
  return ready === nodes.length
    ? { status: "True", reason: "NodesReady", message }
    : { status: "False", reason: "NodesNotReady", message };
}

/** The status of `relay`, which was `last`. The time of a condition stays until its status is another. */
export function relayStatus(
  relay: RelayObject,
  last: RelayObjectStatus | undefined,
  findings: { readonly accepted: Finding; readonly ready: Finding; readonly nodes: readonly NodeFinding[] },
): RelayObjectStatus {
  const observedGeneration = relay.metadata.generation ?? 0;
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const condition = (type: string, finding: Finding, before: readonly Condition[] = []): Condition => {
    const last = before.find((one) => one.type === type && one.status === finding.status);
    return { type, ...finding, lastTransitionTime: last?.lastTransitionTime ?? now };
  };
  const { accepted, ready, nodes } = findings;
  const before = new Map(last?.nodes?.map((node) => [node.name, node.conditions]));
  const order = ({ name, ready }: NodeFinding) => `${ready.status === "True" ? 1 : 0}${name}`;
  return {
    observedGeneration,
    conditions: [
      { ...condition("Accepted", accepted, last?.conditions), observedGeneration },
      { ...condition("Ready", ready, last?.conditions), observedGeneration },
    ],
    desiredNodes: nodes.length,
    readyNodes: nodes.filter(({ ready }) => ready.status === "True").length,
    nodes: nodes.toSorted((a, b) => order(a) < order(b) ? -1 : 1).slice(0, MAX_NODES).map((
      { name, ready },
    ): NodeStatus => ({
      name,
      conditions: [condition("Ready", ready, before.get(name))],
    })),
  };
}
