/**
 * What the test cluster looks like: API servers, nodes, users, the rows of the matrix, and where its files lie.
 * Everything else in this folder reads it from here.
 *
 * @module
 */

import { GroundError } from "./errors.ts";

/** One of the API servers that share one etcd. */
export interface ServerShape {
  /** TCP port on 127.0.0.1 inside the cluster's network namespace. */
  readonly port: number;
  /** Feature gates, as the flag `--feature-gates` takes them. */
  readonly gates: readonly string[];
}

/** `default` is Kubernetes 1.36 as it comes; `mid` and `old` behave like the releases before 1.36 and before 1.30. */
export const SERVERS = {
  default: { port: 6443, gates: [] },
  mid: { port: 6444, gates: ["ExtendWebSocketsToKubelet=false"] },
  old: {
    port: 6445,
    gates: [
      "TranslateStreamCloseWebsocketRequests=false",
      "PortForwardWebsockets=false",
      "ExtendWebSocketsToKubelet=false",
    ],
  },
} as const satisfies Record<string, ServerShape>;

/** The name of an API server. */
export type ServerName = keyof typeof SERVERS;

/** The names of all API servers, in the order of the matrix. */
export const SERVER_NAMES = Object.keys(SERVERS) as readonly ServerName[];

/** One of the nodes, each with a kubelet and a containerd of its own. */
export interface NodeShape {
  /** The node's InternalIP: on `lo` of the namespace, but not a loopback address, which a kubelet refuses. */
  readonly address: string;
  /** The bridge device that its pods hang on. */
  readonly bridge: string;
  /** Where its pods' addresses come from. */
  readonly podSubnet: string;
  /** The kubelet's feature gates. */
  readonly gates: Readonly<Record<string, boolean>>;
}

/** `node2` has a kubelet that does not speak WebSocket. */
export const NODES = {
  node1: { address: "10.240.0.1", bridge: "podbr1", podSubnet: "10.244.1.0/24", gates: {} },
  node2: {
    address: "10.240.0.2",
    bridge: "podbr2",
    podSubnet: "10.244.2.0/24",
    gates: { ExtendWebSocketsToKubelet: false },
  },
} as const satisfies Record<string, NodeShape>;

/** The name of a node. */
export type NodeName = keyof typeof NODES;

/** The names of all nodes. */
export const NODE_NAMES = Object.keys(NODES) as readonly NodeName[];

/**
 * The users, each with a kubeconfig per API server:
 *
 * - `admin`: client certificate, group `system:masters`
 * - `token`: bearer token, `cluster-admin`
 * - `getter`: bearer token, may `get` pods, pods/exec, pods/attach and pods/portforward
 * - `creator`: bearer token, may `get` pods and `create` pods/exec, pods/attach and pods/portforward
 * - `nobody`: bearer token, may do nothing
 */
export const USER_NAMES = ["admin", "token", "getter", "creator", "nobody"] as const;

/** The name of a user. */
export type UserName = typeof USER_NAMES[number];

/** The bearer tokens; they open nothing but this cluster. */
export const TOKENS: Readonly<Record<Exclude<UserName, "admin">, string>> = {
  token: "token-of-token",
  getter: "token-of-getter",
  creator: "token-of-creator",
  nobody: "token-of-nobody",
};

/** The way that a session takes from kubectl 1.36 to the node. */
export type Way =
  /** WebSocket all the way: the API server passes it through to the kubelet. */
  | "direct"
  /** WebSocket up to the API server, SPDY from there. */
  | "translated"
  /** WebSocket all the way, through an API server that knows nothing of it and counts nothing. */
  | "uncounted"
  /** WebSocket is refused and kubectl starts again with SPDY. */
  | "fallback";

/** One row of the matrix: an API server, a node, and the way that sessions take there. */
export interface Row {
  /** For test names. */
  readonly name: string;
  readonly server: ServerName;
  readonly node: NodeName;
  readonly way: Way;
}

/** All pairs of API server and node. `mid` treats both nodes alike, so that they are one row in two halves. */
export const ROWS: readonly Row[] = [
  { name: "default/node1", server: "default", node: "node1", way: "direct" },
  { name: "default/node2", server: "default", node: "node2", way: "translated" },
  { name: "mid/node1", server: "mid", node: "node1", way: "translated" },
  { name: "mid/node2", server: "mid", node: "node2", way: "translated" },
  { name: "old/node1", server: "old", node: "node1", way: "uncounted" },
  { name: "old/node2", server: "old", node: "node2", way: "fallback" },
];

/** The image that pods run: the machine's static busybox. */
export const IMAGE = "localhost/busybox:1";

/** The image that holds a pod's namespaces open. */
export const PAUSE_IMAGE = "localhost/pause:1";

/** Where the cluster's state lies: `PODWIRE_CLUSTER_DIR`, else a folder in the machine's temporary folder. */
export function stateDir(): string {
  const dir = Deno.env.get("PODWIRE_CLUSTER_DIR") ?? `${Deno.env.get("TMPDIR") ?? "/tmp"}/podwire-cluster`;
  if (!dir.startsWith("/") || /[\s"'\\]/.test(dir)) {
    throw new GroundError(`The cluster's folder must be an absolute path without blanks and quotes, but is: ${dir}`);
  }
  if (/^\/(run|var\/run|var\/lib|var\/log)\//.test(dir)) {
    throw new GroundError(
      `The cluster hides /run, /var/lib and /var/log from its programs; its folder cannot be ${dir}`,
    );
  }
  return dir.replace(/\/+$/, "");
}

/** The paths inside a state folder. */
export class Layout {
  /** The state folder itself. */
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
  }

  /** Says that the folder is ours and may be removed. */
  get marker(): string {
    return `${this.dir}/podwire-cluster`;
  }

  /** Written last by `up`: the folder of the programs, and what the cluster was made by. */
  get ready(): string {
    return `${this.dir}/ready`;
  }

  /** What process 1 of the cluster runs. */
  get init(): string {
    return `${this.dir}/init.sh`;
  }

  /** Process 1 writes this once its namespaces are set up. */
  get initReady(): string {
    return `${this.dir}/init.ready`;
  }

  /** The network namespace, bound to a file. */
  get netns(): string {
    return `${this.dir}/netns`;
  }

  /** In front of a command, these words run it inside the network namespace. */
  get enter(): readonly string[] {
    return ["nsenter", `--net=${this.netns}`, "--"];
  }

  /** Where kubectl keeps what it learns about API servers, instead of in the home folder. */
  get kubectlCache(): string {
    return `${this.dir}/kubectl-cache`;
  }

  /** The users' bearer tokens, as `--token-auth-file` reads them. */
  get tokens(): string {
    return `${this.dir}/pki/tokens.csv`;
  }

  /** A certificate (or `ca`). */
  certificate(name: string): string {
    return `${this.dir}/pki/${name}.crt`;
  }

  /** A private key. */
  key(name: string): string {
    return `${this.dir}/pki/${name}.key`;
  }

  /** A public key. */
  publicKey(name: string): string {
    return `${this.dir}/pki/${name}.pub`;
  }

  /** The kubeconfig of a user (or a component) at an API server. */
  kubeconfig(server: ServerName, user: string): string {
    return `${this.dir}/kubeconfig/${server}-${user}`;
  }

  /** A unix socket, in the file system and so in reach from every network namespace, that leads to an API server. */
  socket(server: ServerName): string {
    return `${this.dir}/socket/${server}`;
  }

  /** What a component writes. */
  log(component: string): string {
    return `${this.dir}/log/${component}`;
  }

  /** A component's process id and start time. */
  pid(component: string): string {
    return `${this.dir}/pid/${component}`;
  }

  /** An image as an OCI archive. */
  image(name: "busybox" | "pause"): string {
    return `${this.dir}/image/${name}.tar`;
  }

  /** What belongs to one node. */
  node(node: NodeName): string {
    return `${this.dir}/${node}`;
  }

  /** The socket of a node's containerd. */
  containerd(node: NodeName): string {
    return `${this.dir}/${node}/containerd.sock`;
  }
}

/** The URL of an API server, as seen inside the network namespace. */
export function serverUrl(server: ServerName): string {
  return `https://127.0.0.1:${SERVERS[server].port}`;
}
