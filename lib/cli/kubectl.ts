/**
 * `podwire kubectl`: kubectl, through podwire.
 *
 * @module
 */
import { defineCommand } from "./command.ts";
import { runWithGateway, WITH_PERMISSIONS } from "./with.ts";

/** The command. */
export const command = defineCommand({
  name: "kubectl",
  description: "Run kubectl through podwire: short for `podwire with -- kubectl ARGS...`.\n\n" +
    "What comes before the word kubectl is podwire's, what comes after it is kubectl's.",
  usage: "[flags] kubectl [ARGS...]",
  examples: [
    ["Pods of a cluster behind a unix socket", "podwire --via-unix-socket ~/.myunixsocket kubectl get pods -A"],
  ],
  flags: {},
  ownArguments: false,
  needsCluster: true,
  permissions: WITH_PERMISSIONS,

  async run({ rest = [], access }) {
    return await runWithGateway(["kubectl", ...rest], await access());
  },
});
