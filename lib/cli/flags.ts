/**
 * Flags as data, and the parser for them. It reads a command line as kubectl (spf13/pflag) does:
 * `-it`, `-n ns`, `-nns`, `-n=ns`, `--flag value`, `--flag=value`, flags between words, `--` before a foreign command.
 *
 * It does not build on `parseArgs` of `node:util`, which reads `-i=false` as seven letters and takes
 * 4 to 9 ms to load, a twentieth of a whole `exec -- true`.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import { parseBoolean, parseDuration, parseInteger, ValueError } from "./go_values.ts";

/** What kinds of value a flag can have, by the name that {@linkcode FlagDefinition} gives them. */
export interface FlagKinds {
  /** `true` by its name alone, or `=true`, `=false`. */
  readonly boolean: boolean;
  /** Any text; empty if not given. */
  readonly string: string;
  /** Texts, one each time the flag is given. */
  readonly list: readonly string[];
  /** A decimal number. */
  readonly integer: number;
  /** A Go duration, in milliseconds. */
  readonly duration: number;
}

/** One flag. Its name is its key in {@linkcode FlagDefinitions}. */
export interface FlagDefinition {
  /** The kind of its value. Of a flag given twice the last counts, but for a list. */
  readonly kind: keyof FlagKinds;
  /** Its one-letter form. */
  readonly short?: string;
  /** What it is for. */
  readonly help: string;
  /** Its value if it is not given, as it would be typed. */
  readonly default?: string;
  /** Which values the command headers may name: a fixed set, or `filename`'s three sorts of place. */
  readonly reported?: readonly string[] | "filename";
}

/** Flags by name. */
export type FlagDefinitions = Readonly<Record<string, FlagDefinition>>;

/** The values of flags, by name. */
export type FlagValues<D extends FlagDefinitions> = { readonly [K in keyof D]: FlagKinds[D[K]["kind"]] };

/** A flag as it was typed. */
export interface GivenFlag {
  /** Its definition. */
  readonly definition: FlagDefinition;
  /** Its name with its dashes: `--output` or `-o`, whichever was typed. */
  readonly typed: string;
  /** Its value; `true` for a boolean without one. */
  readonly value: string;
}

/** A command line, read. */
export interface ParsedArguments<D extends FlagDefinitions> {
  /** Every flag's value. */
  readonly flags: FlagValues<D>;
  /** The flags that were typed, in order. */
  readonly given: readonly GivenFlag[];
  /** The words before `--`. */
  readonly words: readonly string[];
  /** The words after `--`; `undefined` without one. */
  readonly rest: readonly string[] | undefined;
}

/** The command line is wrong. */
export class UsageError extends PodwireError {
  /** The class's name. */
  override name = "UsageError";
}

/**
 * Reads `args` by `definitions`.
 *
 * @param commandPath The command, for the error's last line: `podwire exec`.
 * @throws {UsageError} If a flag is unknown or its value cannot be read; in kubectl's words.
 *
 * @example
 * ```ts
 * import { parseArguments } from "./flags.ts";
 *
 * const { flags, words } = parseArguments(["-it", "web-0"], {
 *   stdin: { kind: "boolean", short: "i", help: "Pass stdin to the container" },
 *   tty: { kind: "boolean", short: "t", help: "Stdin is a TTY" },
 * }, "podwire exec");
 * console.log(flags.stdin, flags.tty, words); // true true ["web-0"]
 * ```
 */
export function parseArguments<const D extends FlagDefinitions>(
  args: readonly string[],
  definitions: D,
  commandPath: string,
): ParsedArguments<D> {
  const shorts = new Map(Object.entries(definitions).map(([name, { short }]) => [short, name]));
  const values = new Map(Object.entries(definitions).map(([name, definition]) => [name, defaultOf(definition)]));
  const given: GivenFlag[] = [];
  const words: string[] = [];
  let rest: readonly string[] | undefined;
  let next = 0;

  const fail = (text: string): never => {
    throw new UsageError(`${text}\nSee '${commandPath} --help' for usage.`);
  };

  const set = (name: string, definition: FlagDefinition, typed: string, value: string) => {
    try {
      const read = readValue(definition, value);
      values.set(name, definition.kind === "list" ? [...values.get(name) as string[], value] : read);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      const names = definition.short ? `-${definition.short}, --${name}` : `--${name}`;
      fail(`invalid argument ${JSON.stringify(value)} for "${names}" flag: ${error.message}`);
    }
    given.push({ definition, typed, value });
  };

  const long = (argument: string) => {
    const [name = "", inline] = splitOnce(argument.slice(2));
    if (name === "" || name.startsWith("-")) fail(`bad flag syntax: ${argument}`);
    const definition = Object.hasOwn(definitions, name) ? definitions[name] : undefined;
    if (!definition) return fail(`unknown flag: --${name}`);
    const value = inline ?? (definition.kind === "boolean" ? "true" : args[next++]);
    set(name, definition, `--${name}`, value ?? fail(`flag needs an argument: --${name}`));
  };

  const short = (letters: string) => {
    while (letters !== "") {
      const letter = letters.charAt(0);
      const name = shorts.get(letter);
      const definition = name === undefined ? undefined : definitions[name];
      if (name === undefined || !definition) return fail(`unknown shorthand flag: '${letter}' in -${letters}`);
      const after = letters.slice(1);
      const inline = after.length > 1 && after.startsWith("=") ? after.slice(1) : undefined;
      if (inline === undefined && definition.kind === "boolean") {
        set(name, definition, `-${letter}`, "true");
        letters = after;
        continue;
      }
      const value = inline ?? (after || args[next++]);
      return set(name, definition, `-${letter}`, value ?? fail(`flag needs an argument: '${letter}' in -${letters}`));
    }
  };

  while (next < args.length) {
    const argument = args[next++] ?? "";
    if (argument === "--") {
      rest = args.slice(next);
      break;
    }
    if (argument.startsWith("--")) long(argument);
    else if (argument.length > 1 && argument.startsWith("-")) short(argument.slice(1));
    else words.push(argument);
  }
  return { flags: Object.fromEntries(values) as FlagValues<D>, given, words, rest };
}

/**
 * Reads the value of a flag that must be one of `choices`.
 *
 * @throws {UsageError} If it is none of them.
 */
export function readChoice<const T extends string>(flag: string, text: string, choices: readonly T[]): T {
  const choice = choices.find((choice) => choice === text);
  if (choice !== undefined) return choice;
  throw new UsageError(`${flag} must be one of ${choices.join(", ")}, not ${JSON.stringify(text)}`);
}

/**
 * Where the first word of `args` stands that is neither a flag nor a flag's value; -1 if there
 * is none. A flag that is not in `definitions` is taken to have no value of its own.
 */
export function findFirstWord(args: readonly string[], definitions: FlagDefinitions): number {
  const takesValue = (argument: string): boolean => {
    const found = Object.entries(definitions).find(([name, { short }]) =>
      argument === `--${name}` || (short !== undefined && argument === `-${short}`)
    );
    return found !== undefined && found[1].kind !== "boolean";
  };
  for (let i = 0; i < args.length; i++) {
    const argument = args[i] ?? "";
    if (argument === "--") return -1;
    if (!argument.startsWith("-") || argument === "-") return i;
    if (takesValue(argument)) i++;
  }
  return -1;
}

/** What a flag is if nobody gives it. */
function defaultOf(definition: FlagDefinition): FlagKinds[keyof FlagKinds] {
  if (definition.default !== undefined) return readValue(definition, definition.default);
  return { boolean: false, string: "", list: [], integer: 0, duration: 0 }[definition.kind];
}

function readValue({ kind }: FlagDefinition, value: string): FlagKinds[keyof FlagKinds] {
  if (kind === "boolean") return parseBoolean(value);
  if (kind === "integer") return parseInteger(value);
  if (kind === "duration") return parseDuration(value);
  return kind === "list" ? [value] : value;
}

function splitOnce(text: string): [string, string?] {
  const equals = text.indexOf("=");
  return equals < 0 ? [text] : [text.slice(0, equals), text.slice(equals + 1)];
}
