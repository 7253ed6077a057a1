/** The objects for relays: what their pods may do, and what they may not. That a server takes them: tests/cluster/. */
import { assert, assertEquals } from "@std/assert";
import type { RelaySpec } from "../../lib/relay/config.ts";
import { operatorDeployment } from "../../lib/relay/crd.ts";
import { halfObjects, relayService, type RelaySet, staticPod } from "../../lib/relay/manifest.ts";

const WEB: RelaySpec = {
  name: "web",
  listen: { address: "tcp:0.0.0.0:80" },
  target: { address: "tcp:9000" },
  http: { paths: ["/metrics"] },
};
const DOCKER: RelaySpec = {
  name: "docker",
  listen: { address: "tcp:0.0.0.0:2375" },
  target: { address: "unix:/run/docker/api.sock" },
};
const SYSLOG: RelaySpec = { name: "syslog", listen: { address: "udp:0.0.0.0:514" }, target: { address: "udp:514" } };
const SET: RelaySet = { name: "set", namespace: "relays", image: "podwire", relays: [WEB, DOCKER, SYSLOG] };

interface PodSpec {
  readonly hostNetwork?: boolean;
  readonly automountServiceAccountToken?: boolean;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: ReadonlyArray<{ readonly name: string; readonly hostPath?: { readonly path: string } }>;
}

interface Container {
  readonly name: string;
  readonly command: readonly string[];
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly resources: { readonly limits?: Readonly<Record<string, string>> };
  readonly volumeMounts: ReadonlyArray<
    { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }
  >;
}

function templateOf(workload: object): PodSpec {
  return (workload as { spec: { template: { spec: PodSpec } } }).spec.template.spec;
}

const PODS: Readonly<Record<string, PodSpec>> = {
  node: templateOf(halfObjects(SET, "node").daemonSet),
  cluster: templateOf(halfObjects(SET, "cluster").daemonSet),
  static: (staticPod(SET) as unknown as { spec: PodSpec }).spec,
  operator: templateOf(operatorDeployment({ namespace: "relays", image: "podwire", allow: ["tcp:9000=/metrics"] })),
};

for (const [name, pod] of Object.entries(PODS)) {
  Deno.test(`the ${name} pod's containers are confined`, () => {
    assertEquals(
      [pod.securityContext["runAsNonRoot"], pod.securityContext["runAsUser"], pod.securityContext["seccompProfile"]],
      [true, 65532, { type: "RuntimeDefault" }],
    );
    for (const { securityContext, resources, command } of pod.containers) {
      assertEquals(securityContext, {
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"] },
        readOnlyRootFilesystem: true,
      });
      assertEquals(Object.keys(resources.limits ?? {}), ["cpu", "memory"]);
      const all = command.filter((word) => /^(-A|--allow-(all|run|ffi|read|write|env))$/.test(word));
      assertEquals(all, [], "Deno permits no more than it has to");
    }
    assertEquals(pod.hostNetwork ?? false, name === "node" || name === "static");
    if (name !== "operator") assertEquals(pod.automountServiceAccountToken, false);
  });
}

Deno.test("only the node's half has root, once, with CAP_CHOWN and nothing else", () => {
  for (const [name, { initContainers = [] }] of Object.entries(PODS)) {
    const contexts = initContainers.map(({ securityContext }) => securityContext);
    assertEquals(
      contexts,
      name !== "node" && name !== "static" ? [] : [{
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"], add: ["CHOWN"] },
        readOnlyRootFilesystem: true,
        runAsNonRoot: false,
        runAsUser: 0,
        runAsGroup: 0,
      }],
      name,
    );
  }
});

Deno.test("the pods have the folder with the sockets and those of unix targets, and write to nothing else", () => {
  const writable = ({ containers }: PodSpec) =>
    containers.flatMap(({ volumeMounts }) => volumeMounts).filter(({ readOnly }) => !readOnly).map((mount) =>
      mount.mountPath
    );
  const paths = ({ volumes }: PodSpec) => volumes.flatMap(({ hostPath }) => hostPath?.path ?? []);
  const { node, cluster } = PODS;
  assert(node && cluster);
  assertEquals([writable(node), paths(node)], [["/run/podwire"], ["/run/podwire/relay/relays/set", "/run/docker"]]);
  assertEquals([writable(cluster), paths(cluster)], [[], ["/run/podwire/relay/relays/set"]]);
});

Deno.test("the cluster's half, which reads no HTTP, ends silent connections for it; no other relay's", () => {
  const idle = (half: "node" | "cluster", relay: RelaySpec): unknown => {
    const { data } = halfObjects({ ...SET, relays: [relay] }, half).configMap;
    return JSON.parse(data[`${relay.name}.json`] ?? "").relays[0].idleTimeout;
  };
  assertEquals([idle("cluster", WEB), idle("node", WEB)], ["2m", undefined]);
  assertEquals(idle("cluster", { ...WEB, idleTimeout: "0s" }), "0s");
  assertEquals([idle("cluster", DOCKER), idle("cluster", SYSLOG)], [undefined, undefined]);
});

Deno.test("sets of one name in two namespaces share no folder on a node", () => {
  const folders = ["a", "b"].map((namespace) =>
    JSON.stringify(templateOf(halfObjects({ ...SET, namespace }, "node").daemonSet).volumes)
  );
  assert(folders[0] !== folders[1]);
});

Deno.test("the pods use what is unstable in Deno only for unix sockets for datagrams, on the node", () => {
  const journal: RelaySpec = {
    ...SYSLOG,
    name: "journal",
    target: { address: "unix-dgram:/run/systemd/journal/dev-log" },
  };
  const unstable = (half: "node" | "cluster", relays: readonly RelaySpec[]) =>
    templateOf(halfObjects({ ...SET, relays }, half).daemonSet).containers[0]?.command.includes("--unstable-net");
  assertEquals([unstable("node", SET.relays), unstable("cluster", SET.relays)], [false, false]);
  assertEquals([unstable("node", [journal]), unstable("cluster", [journal])], [true, false]);
});

Deno.test("a static pod carries its configuration, and refers to no other object", () => {
  const { metadata } = staticPod(SET);
  const { relays } = JSON.parse(metadata.annotations?.["podwire.dev/relays"] ?? "");
  assertEquals(relays.map(({ name }: RelaySpec) => name), ["web", "docker", "syslog"]);
  const text = JSON.stringify(staticPod(SET));
  for (const kind of ["configMap", "secret", "serviceAccount", "persistentVolumeClaim"]) {
    assert(!text.includes(`"${kind}`), kind);
  }
});

Deno.test("relayService() leads to the pods of the cluster's half, by the relay's port and protocol", () => {
  const ports = SET.relays.map((relay) =>
    (relayService(SET, relay) as unknown as { spec: { ports: unknown[] } }).spec.ports[0]
  );
  assertEquals(ports, [
    { name: "http", port: 80, protocol: "TCP", targetPort: 80 },
    { name: "tcp", port: 2375, protocol: "TCP", targetPort: 2375 },
    { name: "udp", port: 514, protocol: "UDP", targetPort: 514 },
  ]);
});
