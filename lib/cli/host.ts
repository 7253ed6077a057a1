/**
 * `podwire host`: a small Kubernetes-shaped API whose pods are processes of this machine.
 *
 * @module
 */
import { type HostOptions, serveHost } from "../server/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { writeText } from "./standard_streams.ts";

/** The command. */
export const command = defineCommand({
  name: "host",
  description:
    'Serve a small Kubernetes-shaped API whose "pods" are processes of this machine: version, discovery, pods, exec, ' +
    "attach. For trying out and testing; there are no containers and no isolation.\n\n" +
    "Whoever can reach it can run any command as you. Hence it listens on loopback only and wants a token, which is in " +
    "the kubeconfig that it prints, or on a unix socket that only you can open.",
  usage: "host [--listen ADDRESS] [--write-kubeconfig FILE]",
  examples: [
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
    "--allow-write=FILE for --write-kubeconfig",
  ],

  async run({ flags, words }) {
    if (words.length > 0) throw new UsageError(`extra arguments: [${words.join(" ")}]`);
    const ended = new AbortController();
    const end = () => ended.abort();
    for (const signal of ENDINGS) Deno.addSignalListener(signal, end);
    try {
      await using host = await serveHost({ listen: parseListen(flags.listen), signal: ended.signal });
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

const ENDINGS: readonly Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM", "SIGHUP"];

function parseListen(text: string): HostOptions["listen"] {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "") throw new UsageError("--listen unix: needs a path, for example unix:/run/user/1000/podwire.sock");
    return { path };
  }
  const [, hostname = "", digits = ""] = /^(?:(.+):)?(\d+)$/.exec(text) ?? [];
  const port = Number(digits);
  if (port > 65535) throw new UsageError(`--listen ${text}: port ${digits} is larger than 65535`);
  if (digits === "") {
    throw new UsageError(`--listen must be HOST:PORT or unix:PATH, not ${JSON.stringify(text)}`);
  }
  return { port, ...(hostname && { hostname: hostname.replace(/^\[(.*)\]$/, "$1") }) };
}

/** A kubeconfig holds a token: it is never for others to read, also if the file was there before. */
async function writePrivately(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, "", { mode: 0o600 });
  if (Deno.build.os !== "windows") await Deno.chmod(path, 0o600);
  await Deno.writeTextFile(path, text);
}
