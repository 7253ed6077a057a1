/**
 * `podwire relay manifest`: a configuration as Kubernetes objects, ready to apply.
 *
 * @module
 */
import { isDnsSubdomain, type Manifest } from "../client/mod.ts";
import { halfObjects, parseHalves, readConfigFiles, relayService, type RelaySet, staticPod } from "../relay/mod.ts";
import { defineCommand } from "./command.ts";
import { readChoice, UsageError } from "./flags.ts";
import { GLOBAL_FLAGS } from "./global_flags.ts";
import {
  BAD_CONFIGURATION,
  IMAGE_PULL_POLICY,
  parseOrTell,
  pullPolicyOption,
  readName,
  RELAY_NAMESPACE,
} from "./relay_common.ts";
import { writeText } from "./standard_streams.ts";
import { toYaml } from "./yaml_output.ts";

const PARTS = ["all", "cluster", "static-pod"] as const;

/** The command. */
export const command = defineCommand({
  name: "manifest",
  description: "Print the Kubernetes objects for a configuration of relays, ready to apply.\n\n" +
    "Each relay listens on a TCP or UDP port in the cluster, and its target is a socket of the nodes: " +
    "{listen: {address: tcp:0.0.0.0:10259}, target: {address: tcp:127.0.0.1:10259}}. It becomes two halves with a unix " +
    "socket in a folder of the node between them: one in the node's network (a DaemonSet, or a static pod), one in a " +
    "network of its own (a DaemonSet) behind a Service of the relay's name.",
  usage: "relay manifest -c FILE --image IMAGE [flags]",
  examples: [
    ["On all nodes", "podwire relay manifest -c relays.yaml --image registry.example/podwire:1 | kubectl apply -f -"],
    [
      "On control planes, the node's half as a file for the kubelet",
      "podwire relay manifest -c relays.yaml --image IMAGE --part static-pod > /etc/kubernetes/manifests/relay.yaml\n" +
      "  podwire relay manifest -c relays.yaml --image IMAGE --part cluster \\\n" +
      "    --node-selector node-role.kubernetes.io/control-plane= | kubectl apply -f -",
    ],
  ],
  flags: {
    "config": { kind: "string", short: "c", help: "The configuration: a file, or a folder with files" },
    "image": { kind: "string", help: "What the pods run: Deno, and podwire as /podwire.js" },
    "image-pull-policy": IMAGE_PULL_POLICY,
    "name": { kind: "string", default: "podwire-relay", help: "What the objects' names begin with" },
    "namespace": { ...GLOBAL_FLAGS.namespace, help: `The objects' namespace; ${RELAY_NAMESPACE} if not given` },
    "node-selector": { kind: "list", help: "Label of the nodes, KEY=VALUE; may be given several times" },
    "part": {
      kind: "string",
      default: "all",
      help: "all, cluster (without the node's half), or static-pod (the node's half as a file for the kubelet)",
    },
  },
  needsCluster: false,
  permissions: ["--allow-read=FILE of the configuration"],

  async run({ flags, words }) {
    if (words.length > 0) throw new UsageError(`extra arguments: [${words.join(" ")}]`);
    const { config, image } = flags;
    const part = readChoice("--part", flags.part, PARTS);
    if (!config) throw new UsageError("--config is required: the file with the relays");
    if (!image) throw new UsageError("--image is required: it is what the pods run");
    const set = {
      name: readName("--name", flags.name),
      namespace: readName("--namespace", flags.namespace || RELAY_NAMESPACE),
      image,
      ...pullPolicyOption(flags["image-pull-policy"]),
      nodeSelector: Object.fromEntries(flags["node-selector"].map(readLabel)),
    };
    const files = await readConfigFiles(config);
    if (files.length === 0) throw new UsageError(`--config ${config} has no *.yaml, *.yml or *.json in it`);
    const relays = await parseOrTell(parseHalves, files);
    if (!relays) return BAD_CONFIGURATION;
    const objects = objectsOf({ ...set, relays }, part);
    await writeText(Deno.stdout, NOTES[part] + objects.map(toYaml).join("---\n"));
    return 0;
  },
});

function objectsOf(set: RelaySet, part: typeof PARTS[number]): Manifest[] {
  if (part === "static-pod") return [staticPod(set)];
  const halves = part === "all" ? ["node", "cluster"] as const : ["cluster"] as const;
  return [
    ...halves.flatMap((half): Manifest[] => Object.values(halfObjects(set, half))),
    ...set.relays.map((relay) => relayService(set, relay)),
  ];
}

/** A label's value, unless it is empty, and its key after the `/`. */
const LABEL_NAME = /^[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/;

function readLabel(text: string): [string, string] {
  const [key = "", value] = text.split(/=(.*)/s, 2);
  if (key === "" || value === undefined) {
    throw new UsageError(`--node-selector must be KEY=VALUE, not ${JSON.stringify(text)}`);
  }
  const [, prefix, name = ""] = /^(?:(.*?)\/)?(.*)$/s.exec(key) ?? [];
  if (!LABEL_NAME.test(name) || (prefix !== undefined && !isDnsSubdomain(prefix))) {
    throw new UsageError(`--node-selector ${text}: the key must be [DOMAIN/]NAME, not ${JSON.stringify(key)}`);
  }
  if (value !== "" && !LABEL_NAME.test(value)) {
    const wanted = "at most 63 letters, digits, -, _ and ., a letter or digit at both ends";
    throw new UsageError(`--node-selector ${text}: the value must be ${wanted}, not ${JSON.stringify(value)}`);
  }
  return [key, value];
}

/** What needs more than a pod usually has, and why. */
const NODE_NOTES =
  `# The node's half: hostNetwork, as the node's 127.0.0.1 is in the node's network only. hostPath: the folder with
# the sockets. The kubelet makes it for root; an init container, root with CAP_CHOWN and nothing else, gives it to
# the user of everything else.
`;
const CLUSTER_NOTES = `# The cluster's half: hostPath, read-only: the folder with the sockets.
# Hence the namespace must admit host paths: pod-security.kubernetes.io/enforce=privileged.
`;
const NOTES = { all: NODE_NOTES + CLUSTER_NOTES, cluster: CLUSTER_NOTES, "static-pod": NODE_NOTES };
