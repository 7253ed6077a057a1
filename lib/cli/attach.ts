/**
 * `podwire attach`: the main process of a container.
 *
 * @module
 */
import { chooseContainer, type PodObject, refuseCompleted, TargetError } from "../client/mod.ts";
import { defineCommand } from "./command.ts";
import { parseDetachKeys } from "./detach_keys.ts";
import { UsageError } from "./flags.ts";
import { runSession, SESSION_FLAGS, SESSION_PERMISSIONS, WEBSOCKET_SWITCH } from "./pod_session.ts";
import { checkRunningTimeout } from "./running_timeout.ts";
import { warn, writeText } from "./standard_streams.ts";

const DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q";

/** The command (kubectl `pkg/cmd/attach`). */
export const command = defineCommand({
  name: "attach",
  description:
    "Attach to a process that is already running in a container: its output from now on and, with -i, its input.",
  usage: "attach (POD | TYPE/NAME) [-c CONTAINER] [flags]",
  examples: [
    ["The output of a pod's default container", "podwire attach web-0"],
    ["The output of the container 'app'", "podwire attach web-0 -c app"],
    ["A container's own terminal; Ctrl-P Ctrl-Q leaves it running", "podwire attach -it web-0 -c app"],
    ["The first pod of the replica set 'web'", "podwire attach rs/web"],
  ],
  flags: {
    ...SESSION_FLAGS,
    "detach-keys": {
      kind: "string",
      default: DEFAULT_DETACH_KEYS,
      help: "Keys that leave a container's terminal without ending what runs in it",
    },
  },
  needsCluster: true,
  permissions: SESSION_PERMISSIONS,
  webSocketSwitch: WEBSOCKET_SWITCH,

  async run({ commandPath, flags, words, connect, verbosity, requestOptions }) {
    const timeout = flags["pod-running-timeout"];
    checkRunningTimeout(timeout, commandPath);
    await using cluster = await connect();
    if (words.length === 0) throw new UsageError("at least 1 argument is required for attach");
    if (words.length > 2) {
      throw new UsageError(
        `expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw ${words.length}: [${words.join(" ")}]`,
      );
    }

    const pod = await cluster.resolvePod(words.join("/"), { timeout, ...requestOptions() });
    refuseCompleted(pod, "attach");
    const { container, notice } = findContainer(pod, flags.container);
    const notes = flags.quiet ? [] : [notice].filter((text) => text !== undefined);
    let tty = flags.tty;
    if (tty && !container.tty) {
      tty = false;
      if (!flags.quiet) notes.push(`error: Unable to use a TTY - container ${container.name} did not allocate one`);
    } else if (container.tty) {
      tty = true; // Whether asked for or not: the container speaks as to a terminal.
    }
    for (const note of notes) warn(`${note}\n`);

    const { name, namespace = cluster.namespace } = pod.metadata;
    const { code, raw } = await runSession((options) => cluster.pod(name, { namespace }).attach(options), {
      stdin: flags.stdin,
      tty,
      remoteTty: container.tty ?? false,
      quiet: flags.quiet,
      container: container.name,
      ...(verbosity >= 6 && { verbose: `attach ${JSON.stringify(name)}` }),
      detachKeys: parseDetachKeys(flags["detach-keys"] || DEFAULT_DETACH_KEYS),
      redraw: true,
      greeting: GREETING,
    });
    if (raw && !flags.quiet) {
      const again = `${commandPath} ${name} -c ${container.name} -n ${namespace} -i -t`;
      const isEphemeral = pod.spec?.ephemeralContainers?.some(({ name }) => name === container.name);
      await writeText(
        Deno.stdout,
        isEphemeral
          ? `Session ended, the ephemeral container will not be restarted but may be reattached using '${again}' if it is still running\n`
          : `Session ended, resume using '${again}' command\n`,
      ).catch(() => {}); // Nobody is left to be told, and the status stands.
    }
    if (code !== 0) warn(`command terminated with exit code ${code}\n`);
    return code;
  },
});

const GREETING =
  "All commands and output from this session will be recorded in container logs, including credentials and " +
  "sensitive information passed through the command prompt.\nIf you don't see a command prompt, try pressing enter.";

function findContainer(pod: PodObject, name: string): ReturnType<typeof chooseContainer> {
  try {
    return chooseContainer(pod, name);
  } catch (cause) {
    if (!(cause instanceof TargetError)) throw cause;
    throw new TargetError(`cannot attach to the container: ${cause.message}`, { cause });
  }
}
