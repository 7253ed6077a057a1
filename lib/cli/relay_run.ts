/**
 * `podwire relay run`: the relays of a configuration, until it is ended.
 *
 * @module
 */
import { messageOf, PodwireError } from "../bytes/mod.ts";
import {
  type ConfigFile,
  explainProblem,
  formatAddress,
  isDatagram,
  parseAddress,
  parseRelays,
  readConfigFiles,
  readTlsFiles,
  type Relay,
  RelayConfigError,
  Relays,
  serveAdmin,
  TlsFileError,
  watchConfigFiles,
} from "../relay/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { BAD_CONFIGURATION, log, parseOrTell, report, untilEndedAndLogged } from "./relay_common.ts";
import { writeText } from "./standard_streams.ts";

/** The command. */
export const command = defineCommand({
  name: "run",
  description:
    "Run the relays of a configuration: a file, or a folder such as a mounted ConfigMap, whose *.yaml, *.yml and *.json " +
    "files count together.\n\n" +
    "The configuration is read again when it changes. Relays that are the same as before keep their connections; a " +
    "configuration that is wrong changes nothing, and what is wrong is printed as FILE:LINE: KEY: TEXT. At the start, it " +
    "ends the command with exit code 2.\n\n" +
    "A relay is a name, where it listens and where it goes:\n\n" +
    "  relays:\n" +
    "  - name: kube-scheduler\n" +
    '    listen: {address: "unix:/run/podwire/kube-scheduler.sock", mode: "0660", gid: 65532}\n' +
    '    target: {address: "tcp:127.0.0.1:10259", tls: {insecureSkipVerify: true}}\n' +
    "    http: {paths: [/metrics]}\n\n" +
    "Addresses are tcp:HOST:PORT, udp:HOST:PORT, unix:PATH, unix:@NAME (abstract) and unix-dgram:PATH; without HOST it is " +
    "127.0.0.1. Where one side has datagrams and the other a stream, each datagram goes after its length, two bytes.\n\n" +
    "With http only GET and HEAD of its paths pass, and of their header fields those that scrapers send. A request's head " +
    "may take 10 s, the next request 90 s to come, a piece of an answer 60 s to be taken.",
  usage: "relay run -c FILE|DIR [--admin ADDRESS] [--check]",
  examples: [
    ["Run relays, and let Prometheus see how they do", "podwire relay run -c /etc/podwire --admin tcp:127.0.0.1:9402"],
    ["See whether a configuration is right", "podwire relay run -c relays.yaml --check"],
  ],
  flags: {
    "config": { kind: "string", short: "c", help: "The configuration: a file, or a folder with files" },
    "admin": {
      kind: "string",
      help: "Serve /metrics, /healthz and /readyz there: tcp:HOST:PORT or unix:PATH",
    },
    "check": { kind: "boolean", help: "Only say whether the configuration is right, and its certificates" },
  },
  needsCluster: false,
  permissions: [
    "--allow-read of the configuration, of certificates and keys, and of unix sockets",
    "--allow-net=HOST:PORT,unix:PATH for every address; all of --allow-net to listen on a path, bound under another name first",
    "--allow-write of unix sockets, and --allow-sys to give them their mode",
    "--unstable-net for unix-dgram:, which Deno has not otherwise; UDP is twice as fast with it",
  ],

  async run({ flags, words }) {
    if (words.length > 0) throw new UsageError(`extra arguments: [${words.join(" ")}]`);
    if (flags.config === "") throw new UsageError("--config (-c) is needed: a file or a folder");
    const admin = flags.admin ? readAdmin(flags.admin) : undefined;
    const files = await readConfigFiles(flags.config);
    const relays = await parseOrTell(flags.check ? checkRelays : parseRelays, files);
    if (!relays) return BAD_CONFIGURATION;
    if (flags.check) {
      await writeText(
        Deno.stdout,
        `${relays.length} ${relays.length === 1 ? "relay" : "relays"}: the configuration is right\n`,
      );
      return 0;
    }
    await untilEndedAndLogged(async (signal) => {
      await using running = new Relays({ onEvent: report });
      await using endpoint = admin && await serveAdmin(running, admin);
      if (endpoint) log.print(`admin endpoint on ${formatAddress(endpoint.address)}`);
      if (relays.length === 0) log.print(`${flags.config}: no relays yet`);
      await running.apply(relays);
      await follow(flags.config, files, running, signal);
    });
    return 0;
  },
});

function readAdmin(text: string): ReturnType<typeof parseAddress> {
  try {
    const address = parseAddress(text);
    if (isDatagram(address)) throw new SyntaxError(`must be tcp:HOST:PORT or unix:PATH, not ${JSON.stringify(text)}`);
    return address;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new UsageError(`--admin ${error.message}`);
  }
}

/** As {@linkcode parseRelays}, with the certificates: what is wrong with them is wrong with a configuration that is read anew. */
async function checkRelays(files: readonly ConfigFile[]): Promise<Relay[]> {
  const relays = parseRelays(files);
  await explaining(files, () => Promise.all(relays.map(readTlsFiles)));
  return relays;
}

/**
 * Takes what the configuration becomes, until `signal` aborts. One that is wrong only in its certificates is tried again: the
 * kubelet brings a Secret and a ConfigMap up to date one after the other.
 */
async function follow(
  path: string,
  files: readonly ConfigFile[],
  running: Relays,
  signal: AbortSignal,
): Promise<void> {
  let wrong = "";
  let waiting = false;
  for await (const now of watchConfigFiles(path, files, signal, () => waiting)) {
    const again = waiting;
    try {
      waiting = false;
      if (now instanceof Error) throw now;
      await take(path, now, running);
      running.countReload(true);
      log.print("the new configuration is in use");
    } catch (error) {
      waiting = error instanceof RelayConfigError && error.cause instanceof TlsFileError;
      const before = wrong;
      wrong = messageOf(error);
      if (again && waiting && wrong === before) continue; // It has been told.
      running.countReload(false);
      log.print(`the new configuration is wrong and not used:\n${wrong}`);
    }
  }
}

async function take(path: string, files: readonly ConfigFile[], running: Relays): Promise<void> {
  if (files.length === 0 && running.state().length > 0) {
    throw new PodwireError(`${path}: its last file is gone; no relays at all is a file with \`relays: []\``);
  }
  await explaining(files, () => running.apply(parseRelays(files)));
}

/** Does `work`, and names the place in `files` if a certificate is wrong. */
async function explaining<T>(files: readonly ConfigFile[], work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof TlsFileError)) throw error;
    throw explainProblem(files, error);
  }
}
