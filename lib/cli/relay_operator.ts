/**
 * `podwire relay operator`: what `Relay` objects ask for becomes DaemonSets and Services.
 *
 * @module
 */
import { lead, OPERATOR, Operator } from "../relay/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { ALLOW, IMAGE_PULL_POLICY, log, pullPolicyOption, readAllowed, untilEndedAndLogged } from "./relay_common.ts";
import { ENDINGS_BUT_HANGUP } from "./serve.ts";

/** The command. */
export const command = defineCommand({
  name: "operator",
  description:
    "Watch the Relay objects of a namespace and keep ConfigMaps, DaemonSets and Services in line with them.\n\n" +
    "Nothing is exposed that --allow does not name; a Relay that is refused says so in its status. Several operators may " +
    "run: one leads, by a Lease. Ends with an error when it leads no more, to be started anew.",
  usage: "relay operator --image IMAGE --allow ADDRESS[=PATH,...] ... [flags]",
  examples: [
    [
      "The metrics of schedulers, and a stream as it is",
      "podwire relay operator --image registry.example/podwire:1 \\\n    --allow tcp:127.0.0.1:10259=/metrics --allow udp:127.0.0.1:514",
    ],
    [
      "The custom resource, the rights, and this as a Deployment",
      "podwire relay crd --image registry.example/podwire:1 | kubectl apply -f -",
    ],
  ],
  flags: {
    "allow": ALLOW,
    "identity": {
      kind: "string",
      help: "Who this candidate is; no other one may say the same. HOSTNAME_RANDOM if not given",
    },
    "image": { kind: "string", help: "What the relays' pods run: Deno, and podwire as /podwire.js" },
    "image-pull-policy": IMAGE_PULL_POLICY,
    "leader-elect-lease-duration": {
      kind: "duration",
      default: "15s",
      help: "How long the others wait for a leader that has gone silent",
    },
    "leader-elect-renew-deadline": {
      kind: "duration",
      default: "10s",
      help: "How long a leader tries to renew its lease before it gives up; less than the lease's duration",
    },
    "leader-elect-retry-period": {
      kind: "duration",
      default: "2s",
      help: "Between two attempts to get or renew the lease",
    },
  },
  needsCluster: true,
  permissions: ["--allow-sys=hostname without --identity"],

  async run({ flags, words, connect }) {
    if (words.length > 0) throw new UsageError(`extra arguments: [${words.join(" ")}]`);
    const { image } = flags;
    if (!image) throw new UsageError("--image is required: it is what the relays' pods run");
    const times = {
      leaseDuration: flags["leader-elect-lease-duration"],
      renewDeadline: flags["leader-elect-renew-deadline"],
      retryPeriod: flags["leader-elect-retry-period"],
    };
    if (times.leaseDuration <= times.renewDeadline) {
      throw new UsageError("--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline");
    }
    // client-go: with jitter, a period is up to 1.2 times as long.
    if (times.renewDeadline <= times.retryPeriod * 1.2 || times.retryPeriod <= 0) {
      throw new UsageError("--leader-elect-renew-deadline must be longer than 1.2 times --leader-elect-retry-period");
    }
    const allow = readAllowed(flags.allow);
    const pull = pullPolicyOption(flags["image-pull-policy"]);
    const identity = flags.identity || `${Deno.hostname()}_${crypto.randomUUID()}`;
    const say = (line: string) => log.print(`${new Date().toISOString()} ${line}`);
    if (allow.length === 0) say("without --allow every relay is refused");
    await untilEndedAndLogged(async (signal) => {
      await using cluster = await connect();
      const { namespace } = cluster;
      const leases = cluster.resource({ group: "coordination.k8s.io", version: "v1", plural: "leases", namespace });
      await lead(leases, { name: OPERATOR, identity, ...times, signal, log: say }, async (signal) => {
        await new Operator(cluster, { namespace, image, ...pull, allow, identity, log: say }).run(signal);
      });
    }, ENDINGS_BUT_HANGUP);
    return 0;
  },
});
