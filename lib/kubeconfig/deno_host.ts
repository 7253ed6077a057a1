/**
 * Deno as the host.
 *
 * @module
 */
import { readEnvironment } from "../bytes/mod.ts";
import { type HostEnvironment, PluginOutput, type RunOptions, type RunResult } from "./host.ts";

/** Deno's files, environment and processes; each is asked for only when it is used. */
export function denoHost(): HostEnvironment {
  const windows = Deno.build.os === "windows";
  return {
    windows,
    env: readEnvironment,
    homeDirectory: () => readEnvironment(windows ? "USERPROFILE" : "HOME"),
    workingDirectory: () => {
      const { state } = Deno.permissions.querySync({ name: "read", path: "." });
      return state === "granted" ? Deno.cwd() : undefined;
    },
    readTextFile: (path) => Deno.readTextFile(path),
    run,
    stdinIsTerminal: () => Deno.stdin.isTerminal(),
    now: () => Date.now(),
  };
}

async function run(command: string, { args, env, stdin, signal }: RunOptions): Promise<RunResult> {
  signal.throwIfAborted();
  const child = new Deno.Command(command, {
    args: [...args],
    env: { ...env },
    stdin,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  const stop = () => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended, and what it started holds the pipe.
    }
    reader.cancel().catch(() => {}); // What that may still write is of no interest.
  };
  signal.addEventListener("abort", stop);
  try {
    const output = new PluginOutput();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) output.add(piece.value);
    const { code } = await child.status;
    signal.throwIfAborted();
    return { code, stdout: output.text() };
  } catch (error) {
    stop();
    await child.status;
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
