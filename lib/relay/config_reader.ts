/**
 * Reads a YAML mapping key by key, and collects everything that is wrong with its place.
 *
 * @module
 */
import { ConfigError } from "../kubeconfig/mod.ts";
import {
  isTrue,
  Source,
  type YamlMapping,
  type YamlNode,
  type YamlScalar,
  type YamlSequence,
} from "../kubeconfig/yaml/mod.ts";

/** More problems than this are counted, not told: the message goes to a log. */
const MAX_TOLD = 20;

/** The longest value that is told whole, in characters: a key or a token that was pasted by mistake stays out of the log. */
const MAX_VALUE = 40;

/** The longest text of a problem, in characters. */
const MAX_TEXT = 300;

/** One thing that is wrong with a configuration. */
export interface ConfigProblem {
  /** The file. */
  readonly file: string;
  /** The line in it, from 1. */
  readonly line: number;
  /** The way to the value, `relays[0].listen.address`; empty for the file as a whole. */
  readonly key: string;
  /** What is wrong. */
  readonly text: string;
}

/** The configuration of relays is wrong. Its message has a line for each of the first problems: `file:line: key: text`. */
export class RelayConfigError extends ConfigError {
  /** The class's name. */
  override name = "RelayConfigError";
  /** All that is wrong, in the files' order. */
  readonly details: readonly ConfigProblem[];

  /** An error for `details`, of which there is at least one. */
  constructor(details: readonly ConfigProblem[], options?: ErrorOptions) {
    const [first] = details;
    const told = details.slice(0, MAX_TOLD).map(formatProblem);
    if (details.length > MAX_TOLD) told.push(`and ${details.length - MAX_TOLD} more`);
    super(told.join("\n"), { ...options, ...first, problems: details.map(({ text }) => text) });
    this.details = details;
  }
}

function formatProblem({ file, line, key, text }: ConfigProblem): string {
  return `${file}:${line}: ${key ? `${key}: ` : ""}${text}`;
}

/** A file of relays, whose errors say `file:line: key: text`, and what is wrong with it so far. */
export class ConfigSource extends Source {
  /** What is wrong. */
  readonly problems: ConfigProblem[] = [];

  /** Notes a problem at `offset`. */
  report(offset: number, key: string, text: string): void {
    this.problems.push(this.#problem(offset, key, text));
  }

  /** The error for a text that is not YAML. */
  override error(offset: number, text: string, key = ""): ConfigError {
    return new RelayConfigError([this.#problem(offset, key, text)]);
  }

  #problem(offset: number, key: string, text: string): ConfigProblem {
    const shorter = text.replace(/"(?:[^"\\]|\\.)*"/g, (quoted) => {
      return quoted.length > MAX_VALUE + 2 ? `${clip(quoted, MAX_VALUE)}"` : quoted;
    });
    return { file: this.file, line: this.line(offset), key: clip(key, MAX_TEXT), text: clip(shorter, MAX_TEXT) };
  }
}

/**
 * The keys of one mapping. What has the wrong type is reported and read as absent. So is null: a key whose content was
 * commented out would lift the limit that it names.
 */
export class ConfigReader {
  /** The way to this mapping. */
  readonly key: string;
  readonly #source: ConfigSource;
  readonly #node: YamlMapping;

  private constructor(source: ConfigSource, node: YamlMapping, key: string) {
    this.key = key;
    this.#source = source;
    this.#node = node;
  }

  /** A reader of `node`, if it is a mapping; keys that are not in `known` or repeat are reported. */
  static of(source: ConfigSource, node: YamlNode, key: string, known: readonly string[]): ConfigReader | undefined {
    if (node.kind !== "mapping") {
      source.report(node.offset, key, `must be a mapping, not ${describe(node)}`);
      return undefined;
    }
    const path = (name: string) => key ? `${key}.${name}` : name;
    const seen = new Map<string, number>();
    for (const [name, offset] of node.keys) {
      if (!known.includes(name)) {
        source.report(offset, path(clip(name, MAX_VALUE)), `unknown key; there are ${known.join(", ")}`);
      } else if (seen.has(name)) source.report(offset, path(name), "is there twice");
      seen.set(name, offset);
    }
    for (const name of known) {
      if (!isNull(node.entries.get(name))) continue;
      source.report(seen.get(name) ?? node.offset, path(name), "is null: give it a value or leave the key out");
    }
    return new ConfigReader(source, node, key);
  }

  /** Whether the key is there, also with a value that is wrong. */
  has(name: string): boolean {
    return this.#node.entries.has(name);
  }

  /** Notes a problem with a key's value; with the mapping, if the key is absent. */
  report(name: string, text: string, index?: number): void {
    const node = this.#node.entries.get(name);
    const item = index !== undefined && node?.kind === "sequence" ? node.items[index] : node;
    const key = index === undefined ? this.#path(name) : `${this.#path(name)}[${index}]`;
    this.#source.report((item ?? this.#node).offset, key, text);
  }

  /** A text that is not empty. */
  string(name: string): string | undefined {
    const node = this.#get(name);
    return node && this.#string(node, this.#path(name));
  }

  /** A text, read by `parse`, whose {@linkcode SyntaxError} is reported. */
  parsed<T>(name: string, parse: (text: string) => T): T | undefined {
    const text = this.string(name);
    return text === undefined ? undefined : this.#attempt(() => parse(text), name);
  }

  /** Texts, each read by `parse`; a list with nothing in it is reported. */
  list<T>(name: string, parse: (text: string) => T): T[] | undefined {
    const node = this.#get(name);
    if (!node) return undefined;
    if (node.kind !== "sequence") return this.#wrong(node, name, "a list");
    if (node.items.length === 0) this.report(name, "has nothing in it");
    return itemsOf(node).flatMap((item, index) => {
      const text = this.#string(item, `${this.#path(name)}[${index}]`);
      const value = text === undefined ? undefined : this.#attempt(() => parse(text), name, index);
      return value === undefined ? [] : [value];
    });
  }

  /** A whole number from `least` to `most`. */
  integer(name: string, least: number, most: number): number | undefined {
    const node = this.#get(name);
    if (!node) return undefined;
    const value = node.kind === "scalar" && node.type === "number" && /^(0|[1-9]\d*)$/.test(node.value)
      ? Number(node.value)
      : undefined;
    if (value !== undefined && value >= least && value <= most) return value;
    return this.#wrong(node, name, `a whole number from ${least} to ${most}`);
  }

  /** A boolean. */
  boolean(name: string): boolean | undefined {
    const node = this.#get(name);
    if (!node) return undefined;
    return node.kind === "scalar" && node.type === "boolean" ? isTrue(node) : this.#wrong(node, name, "true or false");
  }

  /** A mapping. */
  mapping(name: string, known: readonly string[]): ConfigReader | undefined {
    const node = this.#get(name);
    return node && ConfigReader.of(this.#source, node, this.#path(name), known);
  }

  /** A list of mappings. */
  mappings(name: string, known: readonly string[]): ConfigReader[] {
    const node = this.#get(name);
    if (!node) return [];
    if (node.kind !== "sequence") return this.#wrong(node, name, "a list") ?? [];
    return itemsOf(node).flatMap((item, index) =>
      ConfigReader.of(this.#source, item, `${this.#path(name)}[${index}]`, known) ?? []
    );
  }

  #attempt<T>(parse: () => T, name: string, index?: number): T | undefined {
    try {
      return parse();
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.report(name, error.message, index);
      return undefined;
    }
  }

  #get(name: string): YamlNode | undefined {
    const node = this.#node.entries.get(name);
    return isNull(node) ? undefined : node;
  }

  #string(node: YamlNode, path: string): string | undefined {
    if (node.kind === "scalar" && node.type === "string" && node.value !== "") return node.value;
    const hint = node.kind === "scalar" && node.type !== "null" && node.value !== "" ? ": put it in quotes" : "";
    this.#source.report(node.offset, path, `must be text, not ${describe(node)}${hint}`);
    return undefined;
  }

  #wrong(node: YamlNode, name: string, wanted: string): undefined {
    this.#source.report(node.offset, this.#path(name), `must be ${wanted}, not ${describe(node)}`);
  }

  #path(name: string): string {
    return this.key ? `${this.key}.${name}` : name;
  }
}

function isNull(node: YamlNode | undefined): node is YamlScalar {
  return node?.kind === "scalar" && node.type === "null";
}

/** A list's items; one with nothing behind its dash has no place of its own. */
function itemsOf({ items, offset }: YamlSequence): YamlNode[] {
  return items.map((item) => isNull(item) && item.value === "" ? { ...item, offset } : item);
}

function clip(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

function describe(node: YamlNode): string {
  if (node.kind === "sequence") return "a list";
  if (node.kind === "mapping") return "a mapping";
  if (node.type === "null") return "null";
  if (node.type === "string") return node.value === "" ? "an empty text" : JSON.stringify(node.value);
  return `the ${node.type} ${clip(node.value, MAX_VALUE)}`;
}
