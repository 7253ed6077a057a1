/**
 * The cluster's programs and their flags.
 *
 * @module
 */

import type { Programs } from "./build.ts";
import { type Layout, type NodeName, NODES, type ServerName, SERVERS } from "./shape.ts";

/** A program of the cluster that runs until the cluster is taken down. */
export interface Component {
  /** Unique; names its log and its process record. */
  readonly name: string;
  /** The program and its arguments. */
  readonly command: readonly string[];
}

const ETCD = "http://127.0.0.1:2379";
const ETCD_PEER = "http://127.0.0.1:2380";
const POD_ADDRESSES = "10.244.0.0/16";

/** Where Services' addresses come from. */
export const SERVICE_ADDRESSES = "10.96.0.0/16";

/** The only etcd. */
export function etcd(layout: Layout, programs: Programs): Component {
  return {
    name: "etcd",
    command: [
      programs.kube("etcd"),
      `--data-dir=${layout.dir}/etcd`,
      `--listen-client-urls=${ETCD}`,
      `--advertise-client-urls=${ETCD}`,
      `--listen-peer-urls=${ETCD_PEER}`,
      `--initial-advertise-peer-urls=${ETCD_PEER}`,
      `--initial-cluster=default=${ETCD_PEER}`,
      "--unsafe-no-fsync", // Nothing here outlives the machine.
    ],
  };
}

/** One of the API servers. Pods reach `default` through the Service `kubernetes`; the others are for tests only. */
export function apiServer(layout: Layout, programs: Programs, server: ServerName): Component {
  const { port, gates } = SERVERS[server];
  const reach = server === "default"
    ? ["--bind-address=0.0.0.0", `--advertise-address=${NODES.node1.address}`]
    : ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"];
  return {
    name: `kube-apiserver-${server}`,
    command: [
      programs.kube("kube-apiserver"),
      `--etcd-servers=${ETCD}`,
      `--secure-port=${port}`,
      ...reach,
      `--tls-cert-file=${layout.certificate("kube-apiserver")}`,
      `--tls-private-key-file=${layout.key("kube-apiserver")}`,
      `--client-ca-file=${layout.certificate("ca")}`,
      `--token-auth-file=${layout.tokens}`,
      "--authorization-mode=Node,RBAC",
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${layout.publicKey("service-accounts")}`,
      `--service-account-signing-key-file=${layout.key("service-accounts")}`,
      `--service-cluster-ip-range=${SERVICE_ADDRESSES}`,
      `--kubelet-client-certificate=${layout.certificate("admin")}`,
      `--kubelet-client-key=${layout.key("admin")}`,
      `--kubelet-certificate-authority=${layout.certificate("ca")}`,
      "--kubelet-preferred-address-types=InternalIP",
      "--allow-privileged",
      ...(gates.length === 0 ? [] : [`--feature-gates=${gates.join(",")}`]),
    ],
  };
}

/** What turns deployments into pods and gives pods their node. */
export function controllers(layout: Layout, programs: Programs): Component[] {
  const flags = (name: string) => [
    // Who asks for metrics, and whether they may, is the API server's to say.
    ...["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"].map((flag) =>
      `--${flag}=${layout.kubeconfig("default", name)}`
    ),
    "--bind-address=127.0.0.1",
    "--leader-elect=false",
  ];
  return [
    {
      name: "kube-controller-manager",
      command: [
        programs.kube("kube-controller-manager"),
        ...flags("kube-controller-manager"),
        `--service-account-private-key-file=${layout.key("service-accounts")}`,
        `--root-ca-file=${layout.certificate("ca")}`,
        "--use-service-account-credentials",
        `--flex-volume-plugin-dir=${layout.dir}/volume-plugins`, // It would make one in /usr.
      ],
    },
    { name: "kube-scheduler", command: [programs.kube("kube-scheduler"), ...flags("kube-scheduler")] },
  ];
}

/** What gives Services their addresses, for both nodes, as they share one network. */
export function proxy(layout: Layout, programs: Programs): Component {
  return {
    name: "kube-proxy",
    command: [
      programs.kube("kube-proxy"),
      `--kubeconfig=${layout.kubeconfig("default", "kube-proxy")}`,
      "--hostname-override=node1",
      "--proxy-mode=iptables",
      `--cluster-cidr=${POD_ADDRESSES}`,
      "--nodeport-addresses=127.0.0.0/8",
      "--conntrack-max-per-core=0", // The limit belongs to the machine, not to us.
    ],
  };
}

/** A node's container runtime, in a mount namespace that is the node's: there the nodes have a `/run/podwire` each. */
export function containerd(layout: Layout, programs: Programs, node: NodeName): Component {
  const script = 'mkdir -p /run/podwire && mount -t tmpfs -o mode=755 tmpfs /run/podwire && exec "$@"';
  return {
    name: `containerd-${node}`,
    command: [
      ...["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", script, "sh"],
      ...[`${programs.containerd}/containerd`, `--config=${layout.node(node)}/containerd.toml`],
    ],
  };
}

/** A node's agent, in the mount namespace of its containerd, which it needs. */
export function kubelet(layout: Layout, programs: Programs, node: NodeName): Component {
  const script = `exec nsenter --mount=/proc/$(cut -d" " -f1 ${layout.pid(`containerd-${node}`)})/ns/mnt -- "$@"`;
  return {
    name: `kubelet-${node}`,
    command: [
      ...["/bin/sh", "-c", script, "sh"],
      programs.kube("kubelet"),
      `--config=${layout.node(node)}/kubelet.json`,
      `--kubeconfig=${layout.kubeconfig("default", node)}`,
      `--hostname-override=${node}`,
      `--node-ip=${NODES[node].address}`,
      `--root-dir=${layout.node(node)}/kubelet`,
    ],
  };
}

/** The relay of {@link file://./bridge.ts}. */
export function bridge(layout: Layout): Component {
  return {
    name: "bridge",
    command: [
      Deno.execPath(),
      "run",
      "--no-config",
      "--no-remote",
      "--no-npm",
      "--allow-net",
      "--allow-read",
      "--allow-write",
      new URL("./bridge.ts", import.meta.url).pathname,
      ...Object.entries(SERVERS).map(([server, { port }]) => `${layout.socket(server as ServerName)}=${port}`),
    ],
  };
}
