/**
 * `podwire relay crd`: the custom resource and the operator's rights, ready to apply.
 *
 * @module
 */
import { CRD, operatorAccess, operatorDeployment } from "../relay/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { GLOBAL_FLAGS } from "./global_flags.ts";
import { ALLOW, IMAGE_PULL_POLICY, pullPolicyOption, readAllowed, readName, RELAY_NAMESPACE } from "./relay_common.ts";
import { writeText } from "./standard_streams.ts";
import { toYaml } from "./yaml_output.ts";

/** The command. */
export const command = defineCommand({
  name: "crd",
  description:
    "Print the custom resource Relay and what its operator may do, ready to apply; with --image the operator's " +
    "Deployment too.\n\n" +
    "Relays, the operator and the pods that it makes all live in one namespace. Whoever may create a Relay there exposes " +
    "what --allow names, and nothing else.",
  usage: "relay crd [--image IMAGE --allow ADDRESS[=PATH,...] ...]",
  examples: [
    ["The custom resource and the rights", "podwire relay crd | kubectl apply -f -"],
    [
      "The operator too, for the metrics of schedulers",
      "podwire relay crd --image registry.example/podwire:1 --allow tcp:127.0.0.1:10259=/metrics | kubectl apply -f -",
    ],
  ],
  flags: {
    "allow": ALLOW,
    "image": { kind: "string", help: "Print the operator's Deployment too; it and its pods run this image" },
    "image-pull-policy": IMAGE_PULL_POLICY,
    "namespace": {
      ...GLOBAL_FLAGS.namespace,
      help: `The namespace of the relays and the operator; ${RELAY_NAMESPACE} if not given. Any other has to exist`,
    },
  },
  needsCluster: false,
  permissions: [],

  async run({ flags, words }) {
    if (words.length > 0) throw new UsageError(`extra arguments: [${words.join(" ")}]`);
    const { allow, image } = flags;
    const namespace = readName("--namespace", flags.namespace || RELAY_NAMESPACE);
    if (!image && allow.length > 0) throw new UsageError("--allow is for the operator: it needs --image");
    readAllowed(allow);
    const pull = pullPolicyOption(flags["image-pull-policy"]);
    const makeNamespace = namespace === RELAY_NAMESPACE;
    const objects = [
      CRD,
      ...operatorAccess(namespace, { makeNamespace }),
      ...(image ? [operatorDeployment({ namespace, image, ...pull, allow })] : []),
    ];
    await writeText(Deno.stdout, (makeNamespace ? "" : note(namespace)) + objects.map(toYaml).join("---\n"));
    return 0;
  },
});

/** What a namespace needs that is not printed. */
function note(namespace: string): string {
  return `# The namespace ${namespace} has to exist, and to admit pods with host paths and the host's network:\n` +
    `#   kubectl label namespace ${namespace} pod-security.kubernetes.io/enforce=privileged\n`;
}
