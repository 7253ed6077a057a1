/** What is said of a relay: whose fault it is, since when, and no more than an object can hold. */
import { assertEquals } from "@std/assert";
import type { RelayObject } from "../../lib/relay/crd.ts";
import { type Finding, findNode, type NodeFinding, type RelayPod, relayStatus } from "../../lib/relay/status.ts";

const RELAY: RelayObject = {
  metadata: { name: "r", generation: 3 },
  spec: { nodeSelector: {}, port: 80, target: { address: "tcp:9000" } },
};
const YES: Finding = { status: "True", reason: "Yes", message: "" };
const NO: Finding = { status: "False", reason: "No", message: "" };

function pod(half: string, status: RelayPod["status"] = {}, node = "n1"): RelayPod {
  return {
    metadata: { name: `${half}-1`, labels: { "app.kubernetes.io/component": half } },
    spec: { nodeName: node },
    status,
  };
}

const READY = { conditions: [{ type: "Ready", status: "True" }] };

Deno.test("findNode() says which half is missing or not ready, and what the kubelet says of it", () => {
  const message = (...pods: RelayPod[]) => findNode("n1", pods).ready.message;
  assertEquals(findNode("n1", [pod("node", READY), pod("cluster", READY)]).ready.status, "True");
  assertEquals(message(pod("node", READY)), "the cluster half has no pod here");
  assertEquals(message(pod("node", READY, "n2"), pod("cluster", READY)), "the node half has no pod here");
  assertEquals(message(pod("node")), "the pod node-1 is not ready");
  const waiting = { reason: "ErrImagePull", message: "no such image" };
  assertEquals(
    message(pod("node", { containerStatuses: [{ state: { waiting } }] })),
    "the pod node-1 is not ready: ErrImagePull: no such image",
  );
  assertEquals(
    message(pod("node", { initContainerStatuses: [{ state: { terminated: { reason: "Error", exitCode: 2 } } }] })),
    "the pod node-1 is not ready: Error, exit code 2",
  );
});

Deno.test("findNode() says why a DaemonSet's pod does not get onto its node", () => {
  const matchFields = [{ key: "metadata.name", operator: "In", values: ["n1"] }];
  const required = { nodeSelectorTerms: [{ matchFields }] };
  const pending: RelayPod = {
    ...pod("node", {
      conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message: "Too many pods." }],
    }),
    spec: { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } } },
  };
  const { ready } = findNode("n1", [pending, pod("cluster", READY)]);
  assertEquals(
    [ready.reason, ready.message],
    ["PodNotReady", "the pod node-1 is not ready: Unschedulable: Too many pods."],
  );
  assertEquals(findNode("n2", [pending]).ready.reason, "PodMissing");
});

Deno.test("findNode() does not count a pod that is on its way out", () => {
  const { metadata, ...rest } = pod("node", READY);
  const ending = { ...rest, metadata: { ...metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } };
  assertEquals(findNode("n1", [ending, pod("cluster", READY)]).ready.reason, "PodMissing");
});

Deno.test("relayStatus() keeps a condition's time until its status changes", () => {
  const nodes: NodeFinding[] = [{ name: "n1", ready: YES }];
  const then = "2020-01-01T00:00:00Z";
  const first = relayStatus(RELAY, undefined, { accepted: YES, ready: NO, nodes });
  const old = {
    ...first,
    conditions: first.conditions!.map((condition) => ({ ...condition, lastTransitionTime: then })),
    nodes: first.nodes!.map((node) => ({
      ...node,
      conditions: node.conditions.map((one) => ({ ...one, lastTransitionTime: then })),
    })),
  };
  const next = relayStatus(RELAY, old, { accepted: { ...YES, reason: "Other" }, ready: YES, nodes });
  const [accepted, ready] = next.conditions ?? [];
  assertEquals([accepted?.lastTransitionTime, accepted?.reason], [then, "Other"]);
  assertEquals([ready?.lastTransitionTime === then, ready?.observedGeneration], [false, 3]);
  assertEquals(next.nodes?.[0]?.conditions[0]?.lastTransitionTime, then);
});

Deno.test("relayStatus() names at most a hundred nodes, those that are not ready first", () => {
  const nodes = Array.from({ length: 300 }, (_, i): NodeFinding => ({ name: `n${i}`, ready: i === 250 ? NO : YES }));
  const status = relayStatus(RELAY, undefined, { accepted: YES, ready: NO, nodes });
  assertEquals([status.desiredNodes, status.readyNodes, status.nodes?.length], [300, 299, 100]);
  assertEquals(status.nodes?.[0]?.name, "n250");
});
