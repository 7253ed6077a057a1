/**
 * Runs `deno SUBCOMMAND ARGS…` in the repository, with the stand-ins of this folder where
 * JSR is out of reach: `deno run -A --no-config tests/offline/deno.ts check mod.ts`.
 *
 * Where JSR answers, the stand-ins are not touched.
 *
 * @module
 */

import { denoFlags, ROOT } from "./flags.ts";

async function deno(args: readonly string[], cwd: URL | string = ROOT): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), { args: [...args], cwd }).spawn();
  const pass = (signal: Deno.Signal) => () => child.kill(signal);
  const [interrupt, terminate] = [pass("SIGINT"), pass("SIGTERM")];
  Deno.addSignalListener("SIGINT", interrupt);
  Deno.addSignalListener("SIGTERM", terminate);
  try {
    return (await child.status).code;
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
    Deno.removeSignalListener("SIGTERM", terminate);
  }
}

/** `deno doc` reads no `--config`: it runs in a copy of the sources whose `deno.json` has the links. */
async function docWithLinks(args: readonly string[]): Promise<number> {
  const copy = await Deno.makeTempDir({ prefix: "podwire-doc-" });
  try {
    for (const path of ["lib", "tests/offline", "mod.ts", "cli.ts"]) await copyTree(path, copy);
    await Deno.copyFile(new URL("deno.offline.json", ROOT), `${copy}/deno.json`);
    return await deno(["doc", ...args], copy);
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
}

async function copyTree(path: string, to: string): Promise<void> {
  const from = new URL(path, ROOT);
  if ((await Deno.stat(from)).isFile) {
    await Deno.mkdir(`${to}/${path}/..`.replace(/[^/]+\/\.\.$/, ""), { recursive: true });
    await Deno.copyFile(from, `${to}/${path}`);
    return;
  }
  for await (const entry of Deno.readDir(from)) await copyTree(`${path}/${entry.name}`, to);
}

const [subcommand = "help", ...args] = Deno.args;
const flags = await denoFlags();
Deno.exit(
  subcommand === "doc" && flags.length > 0 ? await docWithLinks(args) : await deno([subcommand, ...flags, ...args]),
);
