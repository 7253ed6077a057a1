/**
 * What the commands that listen have in common.
 *
 * @module
 */
import { UsageError } from "./flags.ts";
import { warn } from "./standard_streams.ts";

/** What ends a server. */
export const ENDINGS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

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
