/**
 * The commands, each loaded when it is called: a start takes no longer for those that are not.
 *
 * @module
 */
import type { Command } from "./command.ts";

/** A command that can be loaded. */
export interface CommandEntry {
  /** Its name. */
  readonly name: string;
  /** What it does, in a few words. */
  readonly summary: string;
  /** Loads it. */
  readonly load: () => Promise<Command>;
}

/** All commands, in the order in which the help shows them. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "exec",
    summary: "Execute a command in a container",
    load: async () => (await import("./exec.ts")).command,
  },
  {
    name: "attach",
    summary: "Attach to a running container",
    load: async () => (await import("./attach.ts")).command,
  },
  {
    name: "port-forward",
    summary: "Forward one or more local ports to a pod",
    load: async () => (await import("./port_forward.ts")).command,
  },
  {
    name: "cp",
    summary: "Copy files and directories to and from containers",
    load: async () => (await import("./cp.ts")).command,
  },
  {
    name: "get",
    summary: "Display one or many resources",
    load: async () => (await import("./get.ts")).command,
  },
  {
    name: "gateway",
    summary: "Pass any client's requests on to the cluster",
    load: async () => (await import("./gateway.ts")).command,
  },
  {
    name: "kubectl",
    summary: "Run kubectl through podwire",
    load: async () => (await import("./kubectl.ts")).command,
  },
  {
    name: "with",
    summary: "Run a program with a kubeconfig that leads through podwire",
    load: async () => (await import("./with.ts")).command,
  },
  {
    name: "host",
    summary: "Serve processes of this machine as pods",
    load: async () => (await import("./host.ts")).command,
  },
  {
    name: "relay",
    summary: "Pass on what comes to a socket to another one",
    load: async () => (await import("./relay.ts")).command,
  },
  {
    name: "version",
    summary: "Print the version of podwire and of the API server",
    load: async () => (await import("./version.ts")).command,
  },
];

/** The names of commands that `word` may have been meant to be: two edits away, or begun with it (cobra). */
export function suggest(word: string): string[] {
  const lower = word.toLowerCase();
  return COMMANDS.map(({ name }) => name).filter((name) => editDistance(lower, name) <= 2 || name.startsWith(lower));
}

/** The Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
