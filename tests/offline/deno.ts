/**
 * Runs `deno SUBCOMMAND ARGS…` in the repository, with the stand-ins of this folder where
 * JSR is out of reach: `deno run -A --no-config tests/offline/deno.ts check mod.ts`.
 *
 * Where JSR answers, the stand-ins are not touched.
 *
 * @module
 */

const ROOT = new URL("../../", import.meta.url);
const JSR = Deno.env.get("JSR_URL") ?? "https://jsr.io/";

async function jsrAnswers(): Promise<boolean> {
  try {
    const response = await fetch(new URL("@std/assert/meta.json", JSR), { signal: AbortSignal.timeout(5_000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false; // Out of reach, for whatever reason: that is the question.
  }
}

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
if (await jsrAnswers()) Deno.exit(await deno([subcommand, ...args]));
if (subcommand === "doc") Deno.exit(await docWithLinks(args));
Deno.exit(await deno([subcommand, "--config", "deno.offline.json", "--no-lock", ...args]));
