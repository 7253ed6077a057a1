/**
 * A runtime made of plain values.
 *
 * @module
 */
import type { HostEnvironment, RunOptions, RunResult } from "../../lib/kubeconfig/mod.ts";

/** An error as the operating system's are: with a code. */
export function systemError(code: string, message = code): Error {
  return Object.assign(new Error(message), { code });
}

/** A host whose files, variables, clock and programs the test sets. */
export class FakeHost implements HostEnvironment {
  windows = false;
  terminal = false;
  time = Date.parse("2026-01-01T00:00:00Z");
  home: string | undefined = "/home/me";
  folder: string | undefined;
  readonly variables: Record<string, string>;
  readonly files: Map<string, string | Error>;
  /** What was asked for, in order. */
  readonly asked: string[] = [];
  readonly runs: Array<{ command: string; options: RunOptions }> = [];
  /** What the next programs answer. */
  program: (command: string, options: RunOptions) => Promise<RunResult> = () => Promise.reject(systemError("ENOENT"));

  constructor(files: Record<string, string | Error> = {}, variables: Record<string, string> = {}) {
    this.files = new Map(Object.entries(files));
    this.variables = variables;
  }

  env(name: string): string | undefined {
    this.asked.push(`env ${name}`);
    return this.variables[name];
  }

  homeDirectory(): string | undefined {
    this.asked.push("home");
    return this.home;
  }

  workingDirectory(): string | undefined {
    return this.folder;
  }

  readTextFile(path: string): Promise<string> {
    this.asked.push(`read ${path}`);
    const file = this.files.get(path) ?? systemError("ENOENT");
    return typeof file === "string" ? Promise.resolve(file) : Promise.reject(file);
  }

  run(command: string, options: RunOptions): Promise<RunResult> {
    this.runs.push({ command, options });
    return this.program(command, options);
  }

  stdinIsTerminal(): boolean {
    return this.terminal;
  }

  now(): number {
    return this.time;
  }
}

/** A kubeconfig with one context, from the bodies of its cluster and its user (YAML flow mappings). */
export function kubeconfig(cluster: string, user = "{}", context = "cluster: c, user: u"): string {
  return [
    "current-context: x",
    "clusters:",
    `- name: c`,
    `  cluster: ${cluster}`,
    "users:",
    `- name: u`,
    `  user: ${user}`,
    "contexts:",
    `- name: x`,
    `  context: {${context}}`,
  ].join("\n");
}

/** A host with that kubeconfig, and further files. */
export function hostWith(config: string, files: Record<string, string | Error> = {}): FakeHost {
  return new FakeHost({ "/home/me/.kube/config": config, ...files });
}
