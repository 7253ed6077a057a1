/**
 * `podwire relay`: one relay from the command line, and the commands for many.
 *
 * @module
 */
import { parseRelays, type Relay, RelayConfigError, RelayError, type RelayEvent, Relays } from "../relay/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { report, untilEndedAndLogged } from "./relay_common.ts";
import { nameInWords, readRelayWords } from "./relay_words.ts";

/** The command. */
export const command = defineCommand({
  name: "relay",
  description:
    "Pass on what comes to a socket to another one, until it is ended; addresses are spelled as socat's.\n\n" +
    "Where to listen:\n" +
    "  tcp-listen:[HOST:]PORT  udp-listen:[HOST:]PORT  unix-listen:PATH  unix-dgram-listen:PATH\n" +
    "  tls-listen:[HOST:]PORT,cert=FILE,key=FILE[,cafile=FILE]\n" +
    "  with ,range=CIDR  ,max-children=N  ,idle-timeout=TIME, and for a path ,mode=0660  ,uid=N  ,gid=N\n" +
    "Where to go:\n" +
    "  tcp:HOST:PORT  udp:HOST:PORT  unix:PATH  unix-dgram:PATH  with ,connect-timeout=TIME\n" +
    "  tls:HOST:PORT[,cafile=FILE][,cert=FILE,key=FILE][,snihost=NAME][,verify=0]\n\n" +
    "Without HOST it listens on 127.0.0.1, unlike socat. A path @NAME is an abstract socket. A socket with a path is for you " +
    "alone unless mode says otherwise.\n\n" +
    "Commands of its own, each with --help:\n" +
    "  run        Run the relays of a configuration, which may change meanwhile\n" +
    "  manifest   Print the Kubernetes objects for a configuration\n" +
    "  operator   Keep the cluster in line with its Relay objects\n" +
    "  crd        Print the custom resource Relay and the operator's rights",
  usage: "relay LISTEN-ADDRESS TARGET-ADDRESS | run | manifest | operator | crd",
  examples: [
    ["A unix socket as a local port", "podwire relay tcp-listen:127.0.0.1:9090 unix:/run/x.sock"],
    [
      "A local port as a unix socket for a group",
      "podwire relay unix-listen:/run/x.sock,mode=0660,gid=65532 tcp:127.0.0.1:9090",
    ],
    ["A syslog server's port", "podwire relay udp-listen:5514 udp:127.0.0.1:514"],
    ["A plain port for a TLS server", "podwire relay tcp-listen:8080 tls:example.com:443"],
  ],
  flags: {},
  subcommands: [
    {
      name: "run",
      summary: "Run the relays of a configuration",
      load: async () => (await import("./relay_run.ts")).command,
    },
    {
      name: "manifest",
      summary: "Print the Kubernetes objects for a configuration",
      load: async () => (await import("./relay_manifest.ts")).command,
    },
    {
      name: "operator",
      summary: "Keep the cluster in line with its Relay objects",
      load: async () => (await import("./relay_operator.ts")).command,
    },
    {
      name: "crd",
      summary: "Print the custom resource Relay and the operator's rights",
      load: async () => (await import("./relay_crd.ts")).command,
    },
  ],
  needsCluster: false,
  permissions: [
    "--allow-net=HOST:PORT,unix:PATH for both addresses; all of --allow-net to listen on a path, bound under another name first",
    "--allow-read --allow-write of unix sockets, and --allow-sys to give them their mode",
    "--allow-read of certificates and keys",
    "--unstable-net for unix-dgram, which Deno has not otherwise; UDP is twice as fast with it",
  ],

  async run({ words }) {
    const [listen, target, ...others] = words;
    if (listen !== undefined && !listen.includes(":")) {
      throw new UsageError(
        `${JSON.stringify(listen)} is neither an address to listen on nor a command: run, manifest, operator or crd`,
      );
    }
    if (listen === undefined || target === undefined) {
      throw new UsageError(
        "where to listen and where to go are needed: podwire relay tcp-listen:9090 unix:/run/x.sock",
      );
    }
    if (others.length > 0) throw new UsageError(`extra arguments: [${others.join(" ")}]`);
    const relay = readRelay(listen, target);
    await untilEndedAndLogged(async (signal) => {
      let started = false; // What fails before is thrown.
      const onEvent = (event: RelayEvent) => {
        const message = event.message.replace(/(?:listen|target)\.tls\.\w+/, (key) => nameInWords(key, listen, target));
        if (started || event.type !== "failed") report({ ...event, message });
      };
      await using relays = new Relays({ onEvent });
      await relays.apply([relay]);
      const [failure] = relays.failures;
      if (failure !== undefined) {
        const inWords = (_: string, key = "") => key && nameInWords(key, listen, target);
        throw new RelayError(failure.replace(/^relay: ((?:listen|target)\.[\w.]+)?/, inWords), "listen");
      }
      started = true;
      await new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => resolve(), { once: true });
        if (signal.aborted) resolve();
      });
    });
    return 0;
  },
});

function readRelay(listen: string, target: string): Relay {
  const spec = { name: "relay", ...readRelayWords(listen, target) };
  try {
    return parseRelays([{ file: "", text: JSON.stringify({ relays: [spec] }) }])[0]!;
  } catch (error) {
    if (!(error instanceof RelayConfigError)) throw error;
    const problems = error.details.map(({ key, text }) =>
      `${nameInWords(key.replace("relays[0].", ""), listen, target)} ${text}`
    );
    throw new UsageError(problems.join("\n"));
  }
}
