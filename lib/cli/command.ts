/**
 * What a command is: what it is called, what it takes, how its help reads, and what it does.
 *
 * @module
 */
import type { Cluster, Wire } from "../client/mod.ts";
import type { ClusterAccess } from "../kubeconfig/mod.ts";
import type { CommandEntry } from "./commands.ts";
import type { FlagDefinitions, FlagValues } from "./flags.ts";

/** A command. */
export interface Command<D extends FlagDefinitions = FlagDefinitions> {
  /** Its name on the command line. */
  readonly name: string;
  /** What it does, in sentences. */
  readonly description: string;
  /** How it is called, without the program's name. */
  readonly usage: string;
  /** Examples: what for, and the command line. */
  readonly examples: ReadonlyArray<readonly [purpose: string, commandLine: string]>;
  /** Its own flags. */
  readonly flags: D;
  /** `false` if what follows its name belongs to another program: it is `rest`, unread. */
  readonly ownArguments?: false;
  /** Commands of its own, one of which its first word may name. */
  readonly subcommands?: readonly CommandEntry[];
  /** `true`, or the release that removes it, once it shall go. */
  readonly deprecated?: true | string;
  /** Whether it goes to a cluster, which takes permissions of its own. */
  readonly needsCluster: boolean;
  /** What Deno must permit beside that. */
  readonly permissions: readonly string[];
  /** The environment variable, kubectl's, that keeps its streams from trying WebSocket if it is `false`. */
  readonly webSocketSwitch?: string;
  /**
   * Runs it.
   *
   * @returns The exit code.
   */
  run(invocation: Invocation<D>): Promise<number>;
}

/** One run of a command. */
export interface Invocation<D extends FlagDefinitions = FlagDefinitions> {
  /** The program and the command: `podwire exec`. */
  readonly commandPath: string;
  /** The command's own flags. */
  readonly flags: FlagValues<D>;
  /** The words before `--`. */
  readonly words: readonly string[];
  /** The words after `--`; `undefined` without one. */
  readonly rest: readonly string[] | undefined;
  /** `-v`: how much to show of what goes on. */
  readonly verbosity: number;
  /** The options that every request to the server takes: `--request-timeout`. Ask anew for each. */
  requestOptions(): { readonly signal?: AbortSignal };
  /** `--wire`, or what the command's switch says. */
  wire(): Wire;
  /** The cluster that the global flags and the kubeconfig name. */
  connect(): Promise<Cluster>;
  /** The way to that cluster, for a command that connects by itself. */
  access(): Promise<ClusterAccess>;
}

/** Gives a command's `run` the types of its flags. */
export function defineCommand<const D extends FlagDefinitions>(command: Command<D>): Command<D> {
  return command;
}
