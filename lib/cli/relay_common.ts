/**
 * What the relay commands have in common.
 *
 * @module
 */
import { isDnsLabel } from "../client/mod.ts";
import { type ConfigFile, parseAllowed, RelayConfigError, type RelayEvent } from "../relay/mod.ts";
import { type FlagDefinition, readChoice, UsageError } from "./flags.ts";
import { Lines } from "./lines.ts";
import { untilEnded } from "./serve.ts";
import { type ByteSink, writeText } from "./standard_streams.ts";

/** Where relays live unless told otherwise. */
export const RELAY_NAMESPACE = "podwire-relay";

/** `--allow`, which {@linkcode readAllowed} reads. */
export const ALLOW = {
  kind: "list",
  help: "What relays may expose: ADDRESS, or ADDRESS=PATH,... for these HTTP paths only; may be given several times",
} as const satisfies FlagDefinition;

/**
 * Reads `--allow`.
 *
 * @throws {UsageError} If one of the values is malformed.
 */
export function readAllowed(values: readonly string[]): ReturnType<typeof parseAllowed>[] {
  return values.map((value) => {
    try {
      return parseAllowed(value);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new UsageError(`--allow ${value}: ${error.message}`, { cause: error });
    }
  });
}

const PULL_POLICIES = ["Always", "IfNotPresent", "Never"] as const;

/** `--image-pull-policy`, which {@linkcode pullPolicyOption} reads. */
export const IMAGE_PULL_POLICY = {
  kind: "string",
  help: "When the image is pulled: Always, IfNotPresent or Never",
} as const satisfies FlagDefinition;

/**
 * `--image-pull-policy` as an option of what is made. An empty value is one that was not given.
 *
 * @throws {UsageError} If it is none of Kubernetes' policies.
 */
export function pullPolicyOption(text: string): { readonly imagePullPolicy?: string } {
  return text === "" ? {} : { imagePullPolicy: readChoice("--image-pull-policy", text, PULL_POLICIES) };
}

/**
 * Reads what becomes a name and a label's value: both take a DNS label.
 *
 * @throws {UsageError} If it is none.
 */
export function readName(flag: string, text: string): string {
  if (isDnsLabel(text)) return text;
  const wanted = "a DNS label (at most 63 of a-z, 0-9 and -, not - at an end)";
  throw new UsageError(`${flag} must be ${wanted}, not ${JSON.stringify(text)}`);
}

/** What a wrong configuration ends with. */
export const BAD_CONFIGURATION = 2;

/** Reads a configuration by `parse`; what is wrong with it is told on stderr, and nothing is returned then. */
export async function parseOrTell<T>(
  parse: (files: readonly ConfigFile[]) => T | Promise<T>,
  files: readonly ConfigFile[],
): Promise<T | undefined> {
  try {
    return await parse(files);
  } catch (error) {
    if (!(error instanceof RelayConfigError)) throw error;
    await writeText(Deno.stderr, `${error.message}\n`);
    return undefined;
  }
}

/** A log to `sink`: a reader that stalls (a full pipe, a stopped terminal) loses lines, is told how many, and stalls nothing. */
export function openRelayLog(sink: ByteSink): Lines {
  const log: Lines = new Lines(sink, {
    onLost: (lost) => log.print(`${lost} ${lost === 1 ? "line is" : "lines are"} missing here: the log was not read`),
  });
  return log;
}

/** The log, which nothing waits for. */
export const log: Lines = openRelayLog(Deno.stderr);

/** How long the end waits for whoever reads the log, in milliseconds. */
const LAST_WAIT = 500;

/** {@linkcode untilEnded}, and what the log still holds. */
export async function untilEndedAndLogged(...work: Parameters<typeof untilEnded>): Promise<void> {
  await untilEnded(...work).finally(() => log.flush(LAST_WAIT));
}

/** Says what happened to a relay. */
export function report({ relay, type, message }: RelayEvent): void {
  log.print(`${relay}: ${type === "listening" ? `from ${message}` : message}`);
}
