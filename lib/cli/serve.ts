/**
 * What the commands that go on until they are ended have in common.
 *
 * @module
 */
import type { Gateway, HostServer } from "../server/mod.ts";
import { type FlagDefinition, UsageError } from "./flags.ts";
import { warn, writeText } from "./standard_streams.ts";

/** What ends a server. */
export const ENDINGS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

/** What ends a command that leaves nothing behind: not SIGHUP, as who starts it with nohup wants it to live on. */
export const ENDINGS_BUT_HANGUP: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM"];

/** Runs `work`, whose signal aborts when one of `signals` comes: on Ctrl-C or a request to end. */
export async function untilEnded(
  work: (signal: AbortSignal) => Promise<void>,
  signals: readonly Deno.Signal[] = ENDINGS,
): Promise<void> {
  const ended = new AbortController();
  const end = () => ended.abort();
  for (const signal of signals) Deno.addSignalListener(signal, end);
  try {
    await work(ended.signal);
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, end);
  }
}

/**
 * Reads `--listen`.
 *
 * @throws {UsageError} If it is neither HOST:PORT nor unix:PATH.
 */
export function parseListen(
  text: string,
): { readonly path: string } | { readonly port: number; readonly hostname?: string } {
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

/** `--write-kubeconfig`, for {@linkcode welcome}. */
export const WRITE_KUBECONFIG = {
  kind: "string",
  help: "Write the kubeconfig to this file, which only you can read, instead of printing it",
} as const satisfies FlagDefinition;

/** Says what a server does and how `client` gets there, and hands out its kubeconfig: in `file`, if that is not empty. */
export async function welcome(
  { address, url, kubeconfig }: Pick<Gateway | HostServer, "address" | "url" | "kubeconfig">,
  { does, client, file }: { readonly does: string; readonly client: string; readonly file: string },
): Promise<void> {
  if (file) await writePrivately(file, kubeconfig);
  const use = address.transport === "unix"
    ? `podwire --via-unix-socket ${address.path} --server ${url.host} get pods`
    : file
    ? `${client} --kubeconfig ${file} get pods`
    : `save the kubeconfig below, then ${client} --kubeconfig FILE get pods`;
  await writeText(Deno.stderr, `${does}. Use it: ${use}\nEnd it with Ctrl-C.\n`);
  if (!file) await writeText(Deno.stdout, kubeconfig);
}

/** Writes a kubeconfig, which holds a token: it is never for others to read, also if the file was there before. */
export async function writePrivately(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, "", { mode: 0o600 });
  if (Deno.build.os !== "windows") await Deno.chmod(path, 0o600);
  await Deno.writeTextFile(path, text);
}

/** Tells of a bug that has ended one connection: the others go on. */
export function reportBug(error: unknown): void {
  warn(`error: a bug in podwire ended a connection: ${error instanceof Error ? error.stack : error}\n`);
}
