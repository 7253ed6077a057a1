/**
 * `podwire gateway`: a local way to a cluster, for any client.
 *
 * @module
 */
import { readEnvironment, systemText } from "../bytes/mod.ts";
import { type AccessRecord, loadPolicy, serveGateway, type ServerCertificate } from "../server/mod.ts";
import { defineCommand } from "./command.ts";
import { UsageError } from "./flags.ts";
import { ENDINGS, parseListen, reportBug, welcome, WRITE_KUBECONFIG } from "./serve.ts";
import { warn } from "./standard_streams.ts";

/** The command. */
export const command = defineCommand({
  name: "gateway",
  description:
    "Pass requests on to the cluster, with your credentials: any client can go there, over a unix socket or a local port, " +
    "without knowing how. Exec, attach and port-forward pass too, over WebSocket or SPDY, whichever client and server speak.\n\n" +
    "Whoever can use the gateway can do in the cluster what you can. Hence it listens on a unix socket that only you can " +
    "open, or on loopback and wants a token, which is in the kubeconfig that it prints. With a certificate it listens " +
    "anywhere.\n\n" +
    "The gateway answers /healthz, /readyz and /metrics itself.",
  usage: "gateway [--listen ADDRESS] [--write-kubeconfig FILE]",
  examples: [
    [
      "Serve on a unix socket",
      "podwire gateway --listen unix:/tmp/k.sock\n  podwire --via-unix-socket /tmp/k.sock -s k get pods",
    ],
    [
      "Serve on a free port, and go there with kubectl",
      "podwire gateway --listen 127.0.0.1:0 --write-kubeconfig gateway.kubeconfig\n" +
      "  kubectl --kubeconfig gateway.kubeconfig get pods",
    ],
  ],
  flags: {
    "access-log": { kind: "boolean", help: "Show every request on stderr when it is over" },
    "allow-origin": {
      kind: "list",
      help: "Origin of web pages that may use the gateway, such as https://page.example; may be given several times",
    },
    "authorize": {
      kind: "string",
      help: "File with what clients may do, in RBAC's terms; without it they may do all that you may",
    },
    "drain": {
      kind: "duration",
      default: "10s",
      help: "How long requests under way get after Ctrl-C; a second Ctrl-C ends them at once",
    },
    "listen": {
      kind: "string",
      help:
        "Where to listen: unix:PATH, or HOST:PORT (port 0 is any free one). By default a unix socket in XDG_RUNTIME_DIR, " +
        "or in a new folder if that is not set",
    },
    "tls-cert-file": {
      kind: "string",
      help:
        "File with the certificate chain to speak TLS with, PEM, its authority last unless clients know that anyway",
    },
    "tls-private-key-file": { kind: "string", help: "File with the key of --tls-cert-file, PEM" },
    "write-kubeconfig": WRITE_KUBECONFIG,
  },
  needsCluster: true,
  permissions: [
    "--allow-net=HOST:PORT or, for a unix socket, --allow-sys --allow-net=unix:PATH --allow-read=PATH --allow-write=PATH",
    "--allow-env=XDG_RUNTIME_DIR for the default of --listen",
    "--allow-read=FILE for --authorize, --tls-cert-file and --tls-private-key-file; --allow-write=FILE for --write-kubeconfig",
  ],

  async run({ flags, words, wire: chosen, access }) {
    if (words.length > 0) throw new UsageError(`extra arguments: [${words.join(" ")}]`);
    if (flags.drain < 0) throw new UsageError("--drain must not be less than 0");
    const certificate = await readCertificate(flags["tls-cert-file"], flags["tls-private-key-file"]);
    const listen = flags.listen === "" ? undefined : parseListen(flags.listen);
    if (certificate && !(listen && "port" in listen)) {
      throw new UsageError("--tls-cert-file needs --listen HOST:PORT: over a unix socket there is no TLS");
    }
    const wire = chosen();
    if (wire === "tunnel") throw new UsageError("--wire of a gateway is auto, websocket or spdy, not tunnel");
    const authorize = flags.authorize === "" ? undefined : await loadPolicy(flags.authorize);
    const cluster = await access();
    await using place = await choosePlace(listen);
    const gateway = await serveGateway({
      access: cluster,
      listen: place.listen,
      wire,
      allowOrigins: flags["allow-origin"],
      ...(certificate && { certificate }),
      ...(authorize && { authorize }),
      ...(flags["access-log"] && { onRequest: log }),
      onBug: reportBug,
    });
    let signals = 0;
    const end = () => {
      const patience = ++signals > 1 ? 0 : flags.drain;
      if (patience > 0) warn(`Ending when what is under way is over, in ${patience / 1000} s at the latest.\n`);
      void gateway.drain(patience);
    };
    for (const signal of ENDINGS) Deno.addSignalListener(signal, end);
    try {
      const file = flags["write-kubeconfig"];
      await welcome(gateway, { does: `Passing requests on to ${cluster.server.host}`, client: "kubectl", file });
      await gateway.finished;
    } finally {
      for (const signal of ENDINGS) Deno.removeSignalListener(signal, end);
      await gateway.drain(0);
    }
    return 0;
  },
});

/** Where to listen if nobody says: in the user's runtime folder, else in a new one, which goes with the gateway. */
async function choosePlace(
  listen: ReturnType<typeof parseListen> | undefined,
): Promise<AsyncDisposable & { readonly listen: ReturnType<typeof parseListen> }> {
  const keep = () => Promise.resolve();
  if (listen) return { listen, [Symbol.asyncDispose]: keep };
  const runtime = readEnvironment("XDG_RUNTIME_DIR");
  if (runtime) return { listen: { path: `${runtime}/podwire-gateway.sock` }, [Symbol.asyncDispose]: keep };
  const folder = await Deno.makeTempDir({ prefix: "podwire-" }); // Its mode is 0700.
  return { listen: { path: `${folder}/gateway.sock` }, [Symbol.asyncDispose]: () => Deno.remove(folder) };
}

async function readCertificate(certFile: string, keyFile: string): Promise<ServerCertificate | undefined> {
  if (!certFile && !keyFile) return undefined;
  if (!certFile || !keyFile) throw new UsageError("--tls-cert-file and --tls-private-key-file go together");
  return {
    cert: await readPem(certFile, "--tls-cert-file", "CERTIFICATE"),
    key: await readPem(keyFile, "--tls-private-key-file", "PRIVATE KEY"),
  };
}

async function readPem(file: string, flag: string, what: "CERTIFICATE" | "PRIVATE KEY"): Promise<string> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    throw new UsageError(`${flag} ${file}: ${systemText(error)}`, { cause: error });
  }
  if (!new RegExp(`^-----BEGIN (RSA |EC )?${what}-----`, "m").test(text)) {
    const why = /^-----BEGIN ENCRYPTED /m.test(text)
      ? "it is encrypted"
      : `there is no PEM block of a ${what.toLowerCase()} in it`;
    throw new UsageError(`${flag} ${file}: ${why}`);
  }
  return text;
}

function log(record: AccessRecord): void {
  const { time, client = "unix", method, path, status, received, sent, milliseconds, wireIn, wireOut, error } = record;
  const wires = wireIn ? [`${wireIn}>${wireOut ?? ""}`] : [];
  const failure = error === undefined ? [] : [JSON.stringify(error)];
  const fields = [
    time.toISOString(),
    client,
    method,
    path,
    status,
    `in=${received}`,
    `out=${sent}`,
    `${milliseconds}ms`,
  ];
  warn(`${[...fields, ...wires, ...failure].join(" ")}\n`);
}
