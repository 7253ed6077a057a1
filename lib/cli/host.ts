/**
 * `podwire host`: a small Kubernetes-shaped API whose pods are processes of this machine.
 *
 * @module
 */
import { loadPods, serveHost } from "../server/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { parseListen, reportBug, untilEnded, welcome, WRITE_KUBECONFIG } from "./serve.ts";
import { writeText } from "./standard_streams.ts";

/** The command. */
export const command = defineCommand({
  name: "host",
  description:
    'Serve a small Kubernetes-shaped API whose "pods" are processes of this machine: version, discovery, pods with watch ' +
    "and delete, exec, attach, port-forward, logs. For trying out and testing; there are no containers and no isolation." +
    "\n\n" +
    "The pods are those of a manifest, -f, or one that tells the time. A container runs its command, again when it ends as " +
    "its pod's restartPolicy says; its ports are those of this machine. Fields of a manifest that have no effect are warned " +
    "of. With its command ends all that runs in a container; without --allow-all, what has left its process group stays.\n\n" +
    "Forward a port to another one than itself: where only the port-forward listens on it, it would lead to itself, which is " +
    "refused after 128 connections.\n\n" +
    "Whoever can reach it can run any command as you. Hence it listens on loopback only and wants a token, which is in " +
    "the kubeconfig that it prints, or on a unix socket that only you can open.",
  usage: "host [-f FILENAME] [--listen ADDRESS] [--write-kubeconfig FILE] [flags]",
  examples: [
    ["Serve the pods of a manifest", "podwire host -f pods.yaml --write-kubeconfig host.kubeconfig"],
    [
      "Serve on a free port, and go there from another shell",
      "podwire host --write-kubeconfig host.kubeconfig\n  podwire --kubeconfig host.kubeconfig exec demo -- date",
    ],
    [
      "Serve on a unix socket",
      "podwire host --listen unix:/tmp/host.sock\n  podwire --via-unix-socket /tmp/host.sock --server podwire get pods",
    ],
  ],
  flags: {
    "filename": {
      kind: "string",
      short: "f",
      help: "YAML file with the pods to run, one or more documents; the default is one pod that tells the time",
    },
    "listen": {
      kind: "string",
      default: "127.0.0.1:0",
      help: "Where to listen: HOST:PORT on loopback (port 0 is any free one), or unix:PATH",
    },
    "write-kubeconfig": WRITE_KUBECONFIG,
  },
  needsCluster: false,
  permissions: [
    "--allow-run --allow-read, and --allow-ffi --allow-write for commands with a terminal",
    "--allow-net=127.0.0.1 or, for a unix socket, --allow-sys --allow-net=unix:PATH --allow-write=PATH",
    "--allow-net=127.0.0.1,[::1] for port-forward",
    "--allow-env=PATH to have programs looked for there instead of in the usual folders",
    "--allow-write=FILE for --write-kubeconfig, --allow-read=FILE for -f",
  ],

  async run({ flags, words }) {
    if (words.length > 0) throw new UsageError(`extra arguments: [${words.join(" ")}]`);
    await untilEnded(async (signal) => {
      const listen = parseListen(flags.listen);
      const manifest = flags.filename === "" ? undefined : await loadPods(flags.filename);
      for (const warning of manifest?.warnings ?? []) await writeText(Deno.stderr, `Warning: ${warning}\n`);
      await using host = await serveHost({
        listen,
        ...(manifest && { pods: manifest.pods }),
        onBug: reportBug,
        signal,
      });
      const file = flags["write-kubeconfig"];
      await welcome(host, { does: "Serving processes of this machine as pods", client: "podwire", file });
      await host.finished;
    });
    return 0;
  },
});
