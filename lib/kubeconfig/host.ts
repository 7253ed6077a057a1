/**
 * What the room needs of a runtime: a few reads and one kind of process.
 *
 * @module
 */
import { systemText } from "../bytes/mod.ts";
import { ConfigError } from "./errors.ts";

/** How a plugin is run. */
export interface RunOptions {
  /** The arguments. */
  readonly args: readonly string[];
  /** Variables on top of the process's own environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Whether the process's own standard input is handed on. */
  readonly stdin: "inherit" | "null";
  /** Ends the program. */
  readonly signal: AbortSignal;
}

/** What a plugin said. */
export interface RunResult {
  /** The exit code. */
  readonly code: number;
  /** What it wrote to standard output. */
  readonly stdout: string;
}

/** The runtime, as far as a configuration needs one. Tests hand in their own. */
export interface HostEnvironment {
  /** Whether paths are Windows'. */
  readonly windows: boolean;
  /** An environment variable. */
  env(name: string): string | undefined;
  /** The user's home, if known. */
  homeDirectory(): string | undefined;
  /** The folder that relative paths start from, if known: the program may change it, and its files are read again later. */
  workingDirectory?(): string | undefined;
  /** A file's text. Rejects with an error whose `code` is `ENOENT` when there is no such file. */
  readTextFile(path: string): Promise<string>;
  /**
   * Runs a program to its end; its standard error is the process's own.
   * Rejects with `code` `ENOENT` when there is no such program, and with the signal's reason.
   */
  run(command: string, options: RunOptions): Promise<RunResult>;
  /** Whether standard input is a terminal. */
  stdinIsTerminal(): boolean;
  /** Milliseconds since 1970. */
  now(): number;
}

/** More than this on a plugin's standard output is not an ExecCredential. In bytes. */
export const MAX_PLUGIN_OUTPUT: number = 1024 * 1024;

/**
 * The host for the runtime that this runs in: Deno or Node.
 *
 * @throws {ConfigError} in any other, such as a browser.
 */
export async function platformHost(): Promise<HostEnvironment> {
  if ("Deno" in globalThis) return (await import("./deno_host.ts")).denoHost();
  const process = (globalThis as { process?: { versions?: { node?: string } } }).process;
  if (process?.versions?.node) return await (await import("./node_host.ts")).nodeHost();
  throw new ConfigError("there are no files and no environment here to read a kubeconfig from: give server and token");
}

/** Collects the output of a plugin as text. */
export class PluginOutput {
  readonly #decoder = new TextDecoder();
  #bytes = 0;
  #text = "";

  /**
   * Takes a piece.
   *
   * @throws {RangeError} when it is too much.
   */
  add(piece: Uint8Array): void {
    this.#bytes += piece.length;
    if (this.#bytes > MAX_PLUGIN_OUTPUT) throw new RangeError(`the plugin wrote more than ${MAX_PLUGIN_OUTPUT} bytes`);
    this.#text += this.#decoder.decode(piece, { stream: true });
  }

  /** All of it. */
  text(): string {
    return this.#text + this.#decoder.decode();
  }
}

/** Why a file or program could not be had, in the words of the operating system. */
export function explain(error: unknown): string {
  switch (errorCode(error)) {
    case "ENOENT":
      return "no such file or directory";
    case "EACCES":
      return "permission denied";
    case "EISDIR":
      return "is a directory";
    case "ENOTDIR":
      return "not a directory";
  }
  return systemText(error);
}

/** The operating system's name for what happened, if that is what it is. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}
