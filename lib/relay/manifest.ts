/**
 * The Kubernetes objects that bring relays from the localhost of nodes into the cluster.
 *
 * On every node there are two pods. The node's half has the node's network, so that it reaches 127.0.0.1, and gives each relay
 * a unix socket in a folder of the node. The cluster's half has a network of its own, and gives each socket a port. Both run
 * as {@linkcode USER}, without capabilities, on a read-only root; what needs more is said where it is asked for.
 *
 * @module
 */
import type { Manifest, OwnerReference } from "../client/mod.ts";
import { parseAddress } from "./address.ts";
import type { RelayFile, RelaySpec } from "./config.ts";
import { ADMIN_PORT, NODE_ADMIN, NODE_ADMIN_PORT, NODE_ADMIN_RELAY, SOCKET_FOLDER, splitRelay } from "./halves.ts";

/** Relays that share pods, and what the pods need. */
export interface RelaySet {
  /** What the objects' names begin with. */
  readonly name: string;
  /** Their namespace. It has to admit host networks and host paths (Pod Security: `privileged`). */
  readonly namespace: string;
  /** The image: Deno, and podwire as `/podwire.js`. */
  readonly image: string;
  /** When it is pulled; as Kubernetes has it, if absent. */
  readonly imagePullPolicy?: string;
  /** The relays, each from a port of the cluster to a socket of the node. */
  readonly relays: readonly RelaySpec[];
  /** The nodes; all that run Linux, if absent. */
  readonly nodeSelector?: Readonly<Record<string, string>>;
  /** Labels of every object, beside those that every set has. */
  readonly labels?: Readonly<Record<string, string>>;
  /** What made the objects. */
  readonly ownerReferences?: readonly OwnerReference[];
}

/** The user and the group that podwire runs as. */
export const USER = 65532;

/** Where the containers find their configuration. */
const CONFIG_FOLDER = "/etc/podwire/relays";

/** Where the nodes have the folders with the sockets, one a set; sets of two namespaces can have one name. */
const NODE_FOLDER = "/run/podwire/relay";

/** A static pod has no ConfigMap: it carries its configuration in this annotation. */
const CONFIG_ANNOTATION = "podwire.dev/relays";

type Half = "node" | "cluster";

/** The labels by which the pods of a half are found. */
function podLabels({ name }: RelaySet, half: Half): Record<string, string> {
  return { ...LABELS, "app.kubernetes.io/instance": name, "app.kubernetes.io/component": half };
}

const LABELS = { "app.kubernetes.io/name": "podwire-relay" };

/**
 * A half's ConfigMap and the DaemonSet that mounts it.
 *
 * @throws {RelayHalvesError} If a relay cannot be cut into halves.
 */
export function halfObjects(set: RelaySet, half: Half): { configMap: Manifest & ConfigData; daemonSet: Manifest } {
  const name = `${set.name}-${half}`;
  const labels = { ...set.labels, ...podLabels(set, half) };
  const metadata = { ...meta(set, name), labels };
  const halves = set.relays.map((relay) => halfOf(relay, half));
  const relays = half === "node" ? halves : [NODE_ADMIN_RELAY, ...halves];
  const volume = { name: "config", configMap: { name, defaultMode: 0o444 } };
  return {
    configMap: {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata,
      data: Object.fromEntries(relays.map((relay) => [`${relay.name}.json`, fileText([relay])])),
    },
    daemonSet: {
      apiVersion: "apps/v1",
      kind: "DaemonSet",
      metadata,
      spec: {
        selector: { matchLabels: podLabels(set, half) },
        template: { metadata: { labels }, spec: podSpec(set, half, volume) },
      },
    } as Manifest,
  };
}

/** How long a connection for HTTP may be silent in the cluster's half: longer than the node's half lets it be. */
const HTTP_IDLE = "2m";

/** A relay's half. The node's reads HTTP and ends who asks for nothing; the cluster's sees bytes, and goes by their silence. */
function halfOf(relay: RelaySpec, half: Half): RelaySpec {
  const own = splitRelay(relay)[half];
  return half === "cluster" && relay.http ? { ...own, idleTimeout: own.idleTimeout ?? HTTP_IDLE } : own;
}

/** A ConfigMap's content. */
export interface ConfigData {
  /** By file name. */
  readonly data: Readonly<Record<string, string>>;
}

/**
 * The node's half as a static pod: a file for the kubelet's `staticPodPath`, configuration included.
 *
 * @throws {RelayHalvesError} If a relay cannot be cut into halves.
 */
export function staticPod(set: RelaySet): Manifest {
  const fieldPath = `metadata.annotations['${CONFIG_ANNOTATION}']`;
  const volume = { name: "config", downwardAPI: { items: [{ path: "relays.json", fieldRef: { fieldPath } }] } };
  const relays = set.relays.map((relay) => splitRelay(relay).node);
  const { nodeSelector: _, tolerations: __, ...spec } = podSpec(set, "node", volume); // The kubelet takes it as it is.
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      ...meta(set, `${set.name}-node`),
      labels: { ...set.labels, ...podLabels(set, "node") },
      annotations: { [CONFIG_ANNOTATION]: fileText(relays) },
    },
    spec,
  } as Manifest;
}

/**
 * The Service of one of the set's relays.
 *
 * @throws {RelayHalvesError} If the relay cannot be cut into halves.
 */
export function relayService(set: RelaySet, relay: RelaySpec): Manifest {
  const { port, protocol } = splitRelay(relay);
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      ...meta(set, relay.name),
      labels: { ...set.labels, ...LABELS, "app.kubernetes.io/instance": set.name },
    },
    spec: {
      selector: podLabels(set, "cluster"),
      ports: [{ name: relay.http ? "http" : protocol.toLowerCase(), port, protocol, targetPort: port }],
    },
  } as Manifest;
}

function meta({ namespace, ownerReferences }: RelaySet, name: string) {
  return { name, namespace, ...(ownerReferences && { ownerReferences }) };
}

function fileText(relays: readonly RelaySpec[]): string {
  const file: RelayFile = { relays };
  return JSON.stringify(file, null, 2) + "\n";
}

/** What a container of ours may do to its machine. */
export const CONFINED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  readOnlyRootFilesystem: true,
};

function podSpec(set: RelaySet, half: Half, configVolume: { readonly name: string }) {
  const { image, imagePullPolicy } = set;
  const pull = { image, ...(imagePullPolicy && { imagePullPolicy }) };
  const sockets = {
    name: "sockets",
    hostPath: { path: `${NODE_FOLDER}/${set.namespace}/${set.name}`, type: "DirectoryOrCreate" },
  };
  const targets = half === "node" ? targetFolders(set.relays) : [];
  const common = {
    ...pull,
    name: half,
    securityContext: CONFINED,
    resources: { requests: { cpu: "10m", memory: "64Mi" }, limits: { cpu: "1", memory: "256Mi" } },
    volumeMounts: [
      { name: "config", mountPath: CONFIG_FOLDER, readOnly: true },
      // Connecting to a socket writes nothing to the file system.
      { name: sockets.name, mountPath: SOCKET_FOLDER, ...(half === "cluster" && { readOnly: true }) },
      ...targets.map(({ name, hostPath }) => ({ name, mountPath: hostPath.path, readOnly: true })),
    ],
  };
  return {
    nodeSelector: { "kubernetes.io/os": "linux", ...set.nodeSelector },
    // The selector says which nodes; a control plane's taint is no reason against its own metrics.
    tolerations: [{ operator: "Exists" }],
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    dnsPolicy: "Default", // Only a target on a node can have a name.
    terminationGracePeriodSeconds: 5,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      seccompProfile: { type: "RuntimeDefault" },
      // So that ports below 1024 (syslog's 514) need no capability; a safe sysctl, of the pod's own network.
      ...(half === "cluster" && { sysctls: [{ name: "net.ipv4.ip_unprivileged_port_start", value: "0" }] }),
    },
    ...(half === "node"
      ? {
        hostNetwork: true,
        initContainers: [{
          ...pull,
          name: "folder",
          command: ["deno", "eval", "--no-config", OWN_FOLDER],
          securityContext: {
            ...CONFINED,
            capabilities: { drop: ["ALL"], add: ["CHOWN"] },
            runAsNonRoot: false,
            runAsUser: 0,
            runAsGroup: 0,
          },
          resources: common.resources,
          volumeMounts: [{ name: sockets.name, mountPath: SOCKET_FOLDER }],
        }],
        containers: [{
          ...common,
          command: relayCommand(NODE_ADMIN, targets.map(({ hostPath }) => hostPath.path), unstableFlags(set.relays)),
        }],
      }
      : {
        containers: [{
          ...common,
          command: relayCommand(`tcp:[::]:${ADMIN_PORT}`, []),
          // Through the relay to the node's half: without that one, this pod is of no use.
          readinessProbe: { httpGet: { path: "/readyz", port: NODE_ADMIN_PORT }, periodSeconds: 1, timeoutSeconds: 2 },
          livenessProbe: { httpGet: { path: "/healthz", port: ADMIN_PORT }, periodSeconds: 10, timeoutSeconds: 5 },
        }],
      }),
    volumes: [configVolume, sockets, ...targets],
  };
}

/** The folder belongs to root when the kubelet makes it. Giving it away takes root and CAP_CHOWN, once. */
const OWN_FOLDER = `const folder = "${SOCKET_FOLDER}";
if (Deno.statSync(folder).uid !== ${USER}) {
  Deno.chmodSync(folder, 0o700);
  Deno.chownSync(folder, ${USER}, ${USER});
}`;

/** `podwire relay run` with the permissions that it needs. */
function relayCommand(admin: string, targets: readonly string[], unstable: readonly string[] = []): string[] {
  const sockets = [SOCKET_FOLDER, ...targets].join(); // Connecting takes both permissions.
  return [
    ...["deno", "run", "--no-config", "--no-prompt", ...unstable, "--allow-net", "--allow-sys"],
    ...[`--allow-read=${CONFIG_FOLDER},${sockets}`, `--allow-write=${sockets}`, "/podwire.js"],
    ...["relay", "run", "-c", CONFIG_FOLDER, "--admin", admin],
  ];
}

/**
 * Only Deno's unstable sockets have unix ones for datagrams. UDP would be faster with them too, but an operator's first UDP relay
 * must not change its pods, whose other relays have connections.
 */
function unstableFlags(relays: readonly RelaySpec[]): string[] {
  return relays.some(({ target }) => parseAddress(target.address).kind === "unix-dgram") ? ["--unstable-net"] : [];
}

/** The folders of the nodes' unix sockets that relays go to: a socket that is made anew has another inode. */
function targetFolders(relays: readonly RelaySpec[]) {
  const paths = relays.map(({ target }) => parseAddress(target.address))
    .flatMap((address) => "path" in address && address.path.startsWith("/") ? [address.path] : [])
    .map((path) => path.slice(0, Math.max(1, path.lastIndexOf("/"))));
  return [...new Set(paths)].map((path, i) => ({ name: `target-${i}`, hostPath: { path, type: "Directory" } }));
}
