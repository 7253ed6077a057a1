/**
 * `podwire host`: a small Kubernetes-shaped API whose pods are processes of this machine.
 *
 * @module
 */
import { loadPods, serveHost } from "../server/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { ENDINGS, parseListen, reportBug, writePrivately } from "./serve.ts";
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
    "of.\n\n" +
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
    "write-kubeconfig": {
      kind: "string",
      help: "Write the kubeconfig to this file, which only you can read, instead of printing it",
    },
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
    const ended = new AbortController();
    const end = () => ended.abort();
    for (const signal of ENDINGS) Deno.addSignalListener(signal, end);
    try {
      const listen = parseListen(flags.listen);
      const manifest = flags.filename === "" ? undefined : await loadPods(flags.filename);
      for (const warning of manifest?.warnings ?? []) await writeText(Deno.stderr, `Warning: ${warning}\n`);
      await using host = await serveHost({
        listen,
        ...(manifest && { pods: manifest.pods }),
        onBug: reportBug,
        signal: ended.signal,
      });
      const file = flags["write-kubeconfig"];
      if (file) await writePrivately(file, host.kubeconfig);
      const use = host.address.transport === "unix"
        ? `podwire --via-unix-socket ${host.address.path} --server ${host.url.host} get pods`
        : file
        ? `podwire --kubeconfig ${file} get pods`
        : "save the kubeconfig below, then podwire --kubeconfig FILE get pods";
      await writeText(Deno.stderr, `Serving processes of this machine as pods. Use it: ${use}\nEnd it with Ctrl-C.\n`);
      if (!file) await writeText(Deno.stdout, host.kubeconfig.trimEnd() + "\n");
      await host.finished;
    } finally {
      for (const signal of ENDINGS) Deno.removeSignalListener(signal, end);
    }
    return 0;
  },
});
