/**
 * Writes what the cluster's programs read: certificates, kubeconfigs, the configuration of the nodes.
 *
 * @module
 */

import { writeImages } from "./image.ts";
import { CNI_PLUGINS } from "./machine.ts";
import { must } from "./process.ts";
import {
  IMAGE,
  type Layout,
  NODE_NAMES,
  type NodeName,
  NODES,
  PAUSE_IMAGE,
  SERVER_NAMES,
  serverUrl,
  TOKENS,
  USER_NAMES,
} from "./shape.ts";

/** The cluster's components that have a kubeconfig, and their certificate's subject. */
const COMPONENTS = {
  admin: "/O=system:masters/CN=admin",
  "kube-controller-manager": "/CN=system:kube-controller-manager",
  "kube-scheduler": "/CN=system:kube-scheduler",
  "kube-proxy": "/CN=system:kube-proxy",
  node1: "/O=system:nodes/CN=system:node:node1",
  node2: "/O=system:nodes/CN=system:node:node2",
} as const;

/** Writes everything that must be there before the first program starts. */
export async function writeConfiguration(layout: Layout): Promise<void> {
  for (const folder of ["pki", "kubeconfig", "socket", "log", "pid", "image"]) {
    await Deno.mkdir(`${layout.dir}/${folder}`);
  }
  await Promise.all([
    writeCertificates(layout),
    writeKubeconfigs(layout),
    writeImages([{ path: layout.image("busybox"), name: IMAGE }, { path: layout.image("pause"), name: PAUSE_IMAGE }]),
    ...NODE_NAMES.map((node) => writeNode(layout, node)),
  ]);
}

async function writeCertificates(layout: Layout): Promise<void> {
  await Deno.writeTextFile(`${layout.dir}/pki/openssl.cnf`, "[req]\ndistinguished_name = dn\n[dn]\n");
  await must([
    ...newCertificate(layout, "ca", "/CN=podwire-test-ca"),
    "-addext",
    "basicConstraints=critical,CA:TRUE",
    "-addext",
    "keyUsage=critical,keyCertSign,cRLSign",
  ]);
  const names = "IP:127.0.0.1,IP:::1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc";
  const addresses = NODE_NAMES.map((node) => `IP:${NODES[node].address}`).join(",");
  await Promise.all([
    writeServiceAccountKey(layout),
    sign(layout, "kube-apiserver", "/CN=kube-apiserver", `${names},${addresses}`),
    ...Object.entries(COMPONENTS).map(([name, subject]) => {
      const node = NODE_NAMES.find((one) => one === name); // A kubelet is a server as well.
      return sign(layout, name, subject, node && `IP:${NODES[node].address},DNS:${node}`);
    }),
    Deno.writeTextFile(
      layout.tokens,
      Object.entries(TOKENS).map(([user, token]) => `${token},${user},${user}\n`).join(""),
    ),
  ]);
}

/** The key pair that signs service accounts' tokens. */
async function writeServiceAccountKey(layout: Layout): Promise<void> {
  const curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
  await must(["openssl", "genpkey", ...curve, "-out", layout.key("service-accounts")]);
  const files = ["-in", layout.key("service-accounts"), "-out", layout.publicKey("service-accounts")];
  await must(["openssl", "pkey", "-pubout", ...files]);
}

/** A key and a certificate of our authority, for clients, and for servers if there are alternative names. */
async function sign(layout: Layout, name: string, subject: string, alternativeNames?: string): Promise<void> {
  const server = alternativeNames === undefined ? [] : ["-addext", `subjectAltName=${alternativeNames}`];
  await must([
    ...newCertificate(layout, name, subject),
    ...["-CA", layout.certificate("ca"), "-CAkey", layout.key("ca")],
    ...["-addext", "basicConstraints=critical,CA:FALSE"],
    ...["-addext", `extendedKeyUsage=clientAuth${alternativeNames === undefined ? "" : ",serverAuth"}`],
    ...server,
  ]);
}

/** An `openssl` that makes a key and a certificate, self-signed unless an authority is added. */
function newCertificate(layout: Layout, name: string, subject: string): string[] {
  return [
    ...["openssl", "req", "-x509", "-config", `${layout.dir}/pki/openssl.cnf`, "-days", "3650", "-subj", subject],
    ...["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
    ...["-keyout", layout.key(name), "-out", layout.certificate(name)],
  ];
}

async function writeKubeconfigs(layout: Layout): Promise<void> {
  const write = (server: typeof SERVER_NAMES[number], user: string, credentials: Record<string, string>) =>
    Deno.writeTextFile(
      layout.kubeconfig(server, user),
      JSON.stringify(
        {
          apiVersion: "v1",
          kind: "Config",
          "current-context": server,
          contexts: [{ name: server, context: { cluster: server, user } }],
          clusters: [{
            name: server,
            cluster: { server: serverUrl(server), "certificate-authority": layout.certificate("ca") },
          }],
          users: [{ name: user, user: credentials }],
        },
        null,
        2,
      ),
    );
  const certificate = (name: string) => ({
    "client-certificate": layout.certificate(name),
    "client-key": layout.key(name),
  });
  for (const server of SERVER_NAMES) {
    for (const user of USER_NAMES) {
      await write(server, user, user === "admin" ? certificate(user) : { token: TOKENS[user] });
    }
  }
  for (const component of Object.keys(COMPONENTS)) {
    if (component !== "admin") await write("default", component, certificate(component));
  }
}

async function writeNode(layout: Layout, node: NodeName): Promise<void> {
  const dir = layout.node(node);
  const shape = NODES[node];
  for (const folder of ["", "/cni", "/manifests"]) await Deno.mkdir(`${dir}${folder}`);
  await Deno.writeTextFile(
    `${dir}/cni/10-pods.conflist`,
    JSON.stringify({
      cniVersion: "1.0.0",
      name: "pods",
      plugins: [{
        type: "bridge",
        bridge: shape.bridge,
        isGateway: true,
        isDefaultGateway: true, // So that pods reach Services and the API server.
        ipMasq: false,
        ipam: { type: "host-local", dataDir: `${dir}/cni-addresses`, ranges: [[{ subnet: shape.podSubnet }]] },
      }],
    }),
  );
  await Deno.writeTextFile(
    `${dir}/containerd.toml`,
    `version = 3
root = "${dir}/containerd"
state = "${dir}/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
  address = "${layout.containerd(node)}"
[ttrpc]
  address = "${layout.containerd(node)}.ttrpc"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "${PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
  # Machines that are containers themselves forbid lowering oom_score_adj.
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["${CNI_PLUGINS}"]
  conf_dir = "${dir}/cni"
`,
  );
  await Deno.writeTextFile(
    `${dir}/kubelet.json`,
    JSON.stringify({
      apiVersion: "kubelet.config.k8s.io/v1beta1",
      kind: "KubeletConfiguration",
      address: shape.address,
      healthzPort: 0,
      authentication: {
        anonymous: { enabled: false },
        webhook: { enabled: true },
        x509: { clientCAFile: layout.certificate("ca") },
      },
      authorization: { mode: "Webhook" },
      tlsCertFile: layout.certificate(node),
      tlsPrivateKeyFile: layout.key(node),
      featureGates: shape.gates,
      containerRuntimeEndpoint: `unix://${layout.containerd(node)}`,
      staticPodPath: `${dir}/manifests`,
      podLogsDir: `${dir}/pod-logs`, // In the folder they share by default, kubelets remove each other's logs.
      volumePluginDir: `${dir}/volume-plugins`,
      cgroupDriver: "cgroupfs",
      cgroupsPerQOS: false, // Two kubelets on one machine would remove each other's pods' cgroups.
      enforceNodeAllocatable: [],
      failCgroupV1: false,
      failSwapOn: false,
      localStorageCapacityIsolation: false,
      evictionHard: { "nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi" },
    }),
  );
}
