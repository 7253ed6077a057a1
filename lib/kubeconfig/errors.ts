/**
 * What a configuration can get wrong, and what its credentials can.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";

/** A place in a kubeconfig. */
export interface Position {
  /** The file's name, as it was found. */
  readonly file: string;
  /** The line, from 1. */
  readonly line: number;
  /** The way to the value: `clusters[0].cluster.server`. */
  readonly key: string;
}

/**
 * The configuration is wrong: a kubeconfig, an environment variable or an option.
 *
 * @example
 * ```ts
 * import { Cluster, ConfigError } from "@podwire/podwire";
 *
 * try {
 *   await Cluster.fromKubeconfig();
 * } catch (error) {
 *   if (!(error instanceof ConfigError)) throw error;
 *   console.error(error.file, error.line, error.key); // /home/jane/.kube/config 12 clusters[0].cluster.server
 * }
 * ```
 */
export class ConfigError extends PodwireError {
  /** The class's name. */
  override name = "ConfigError";
  /** The file that is wrong, if it is one. */
  readonly file: string | undefined;
  /** The line in that file, from 1. */
  readonly line: number | undefined;
  /** The value in that file: `clusters[0].cluster.server`. */
  readonly key: string | undefined;
  /** What is wrong, one text each and without positions: the lines that kubectl prints. */
  readonly problems: readonly string[];

  /** Makes the error; without a position the fields stay `undefined`. */
  constructor(
    message: string,
    options: Partial<Position> & { readonly problems?: readonly string[]; readonly cause?: unknown } = {},
  ) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.problems = options.problems ?? [message];
    this.file = options.file;
    this.line = options.line;
    this.key = options.key;
  }
}

/** The configuration is right, yet the credentials could not be had: a plugin failed, a file is gone. */
export class CredentialsError extends PodwireError {
  /** The class's name. */
  override name = "CredentialsError";
}

/** One thing that is wrong with the chosen context, cluster or user. */
export interface Problem {
  /** What is wrong, in kubectl's words where it has some. */
  readonly text: string;
  /** Where it is wrong; a flag has no position. */
  readonly position?: Position | undefined;
}

/** All problems in one error, joined as kubectl joins them; the position is the first one's. */
export function invalidConfiguration(problems: readonly Problem[]): ConfigError {
  const texts = [...new Set(problems.map(({ text, position }) => located(text, position)))];
  const joined = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  return new ConfigError(`invalid configuration: ${joined}`, {
    ...problems[0]?.position,
    problems: problems.map(({ text }) => text),
  });
}

/** The error for one thing that is wrong at a place in a file. */
export function misconfigured(text: string, position: Position | undefined, cause?: unknown): ConfigError {
  return new ConfigError(located(text, position), {
    ...position,
    problems: [text],
    ...(cause !== undefined && { cause }),
  });
}

function located(text: string, position: Position | undefined): string {
  return position ? `${text} (${position.file}:${position.line})` : text;
}
