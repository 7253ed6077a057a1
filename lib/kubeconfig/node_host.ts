/**
 * Node as the host.
 *
 * @module
 */
import { type HostEnvironment, PluginOutput, type RunOptions, type RunResult } from "./host.ts";

/** Node's files, environment and processes. */
export async function nodeHost(): Promise<HostEnvironment> {
  const [{ default: process }, { readFile }, { spawn }] = await Promise.all([
    import("node:process"),
    import("node:fs/promises"),
    import("node:child_process"),
  ]);
  const windows = process.platform === "win32";

  function run(command: string, { args, env, stdin, signal }: RunOptions): Promise<RunResult> {
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const child = spawn(command, [...args], {
        env: { ...process.env, ...env },
        stdio: [stdin === "inherit" ? "inherit" : "ignore", "pipe", "inherit"],
      });
      const output = new PluginOutput();
      const stop = (reason: unknown) => {
        child.kill("SIGKILL");
        child.stdout?.destroy();
        reject(reason);
      };
      const abort = () => stop(signal.reason);
      signal.addEventListener("abort", abort);
      child.stdout?.on("data", (piece: Uint8Array) => {
        try {
          output.add(piece);
        } catch (error) {
          stop(error);
        }
      });
      child.on("error", reject);
      child.on("close", (code) => {
        signal.removeEventListener("abort", abort);
        resolve({ code: code ?? -1, stdout: output.text() });
      });
    });
  }

  return {
    windows,
    env: (name) => process.env[name],
    homeDirectory: () => process.env[windows ? "USERPROFILE" : "HOME"],
    workingDirectory: () => process.cwd(),
    readTextFile: (path) => readFile(path, "utf8"),
    run,
    stdinIsTerminal: () => process.stdin.isTTY === true,
    now: () => Date.now(),
  };
}
