/**
 * `podwire exec`: a command in a container.
 *
 * @module
 */
import { chooseContainer, refuseCompleted } from "../client/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { type ManifestTarget, readManifest } from "./manifest.ts";
import { runSession, SESSION_FLAGS, SESSION_PERMISSIONS, WEBSOCKET_SWITCH } from "./pod_session.ts";
import { checkRunningTimeout } from "./running_timeout.ts";
import { warn } from "./standard_streams.ts";

/** The command (kubectl `pkg/cmd/exec`). */
export const command = defineCommand({
  name: "exec",
  description: "Execute a command in a container.",
  usage: "exec (POD | TYPE/NAME) [-c CONTAINER] [flags] -- COMMAND [args...]",
  examples: [
    ["The output of 'date' in a pod's default container", "podwire exec web-0 -- date"],
    ["The same in the container 'app'", "podwire exec web-0 -c app -- date"],
    ["A shell in this terminal, in a pod of the deployment 'web'", "podwire exec -it deploy/web -- sh"],
    [
      "An archive unpacked in the container: stdin is passed on, byte for byte",
      "podwire exec -i web-0 -- tar x -C /srv < site.tar",
    ],
    ["Behind '--' everything belongs to the command, flags too", "podwire exec web-0 -- ls -lt /usr"],
  ],
  flags: {
    ...SESSION_FLAGS,
    "filename": {
      kind: "string",
      short: "f",
      help: "File that describes the pod or workload, instead of its name",
      reported: "filename",
    },
  },
  needsCluster: true,
  permissions: SESSION_PERMISSIONS,
  webSocketSwitch: WEBSOCKET_SWITCH,

  async run({ commandPath, flags, words, rest, connect, verbosity, requestOptions }) {
    if (rest === undefined && words.length + Number(flags.filename !== "") > 1) {
      throw new UsageError(
        "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\n" +
          `See '${commandPath} -h' for help and examples`,
      );
    }
    checkRunningTimeout(flags["pod-running-timeout"], commandPath);
    if (flags.stdin && flags.filename === "-") {
      throw new UsageError("-f - and -i both read standard input: write the object to a file, and name that");
    }
    await using cluster = await connect();
    if (!words[0] && !flags.filename) throw new UsageError("pod, type/name or --filename must be specified");
    if (!rest?.length) throw new UsageError("you must specify at least one command for the container");

    if (words[0] && flags.filename) {
      throw new UsageError("resource/name arguments cannot be provided when a path is specified");
    }
    const { target, namespace: place }: ManifestTarget = words[0]
      ? { target: words[0] }
      : await readManifest(flags.filename);
    const pod = await cluster.resolvePod(target, {
      ...(place && { namespace: place }),
      timeout: flags["pod-running-timeout"],
      ...requestOptions(),
    });
    refuseCompleted(pod, "exec into");
    const { container, notice } = chooseContainer(pod, flags.container);
    if (notice && !flags.quiet) warn(`${notice}\n`);

    const { name, namespace = cluster.namespace } = pod.metadata;
    const { code } = await runSession((options) => cluster.pod(name, { namespace }).exec(rest, options), {
      stdin: flags.stdin,
      tty: flags.tty,
      quiet: flags.quiet,
      container: container.name,
      ...(verbosity >= 6 && { verbose: `exec ${JSON.stringify(name)}` }),
    });
    if (code !== 0) warn(`command terminated with exit code ${code}\n`);
    return code;
  },
});
