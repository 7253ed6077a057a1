/**
 * Reads the keys of a YAML mapping into the types that a configuration has.
 *
 * @module
 */
import type { Source } from "./source.ts";
import { decodeBase64Text, isTrue, toJson, type YamlNode } from "./parse.ts";

/** The keys of one mapping. What is absent, null or an empty text is `undefined`, as it is to kubectl. */
export class Fields {
  /** The way to this mapping: `clusters[0].cluster`. */
  readonly key: string;
  readonly #source: Source;
  readonly #node: YamlNode;
  readonly #entries: ReadonlyMap<string, YamlNode>;

  /**
   * Takes a mapping; null is an empty one.
   *
   * @throws {Error} The source's, when the value is something else.
   */
  constructor(source: Source, node: YamlNode, key: string) {
    this.key = key;
    this.#source = source;
    this.#node = node;
    if (node.kind === "mapping") this.#entries = node.entries;
    else if (isNull(node)) this.#entries = new Map();
    else throw source.error(node.offset, `must be a mapping, not ${describe(node)}`, key || undefined);
  }

  /** The line of each key's value. */
  lines(): ReadonlyMap<string, number> {
    return new Map([...this.#entries].map(([name, node]) => [name, this.#source.line(node.offset)]));
  }

  /** The line on which the mapping starts. */
  line(): number {
    return this.#source.line(this.#node.offset);
  }

  /** Whether the key is there, even as null. */
  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** The names of all keys. */
  names(): Iterable<string> {
    return this.#entries.keys();
  }

  /**
   * Makes sure that there are no keys but the `known` ones, and each once.
   *
   * @throws {Error} The source's, if there are.
   */
  only(known: readonly string[]): void {
    const seen = new Set<string>();
    for (const [name, offset] of this.#node.kind === "mapping" ? this.#node.keys : []) {
      if (!known.includes(name)) {
        throw this.#source.error(offset, `unknown key; there are ${known.join(", ")}`, this.#path(name));
      }
      if (seen.has(name)) throw this.#source.error(offset, "is there twice", this.#path(name));
      seen.add(name);
    }
  }

  /** A text. */
  string(name: string): string | undefined {
    return this.#string(this.#entries.get(name), this.#path(name)) || undefined;
  }

  /** A boolean. */
  boolean(name: string): boolean | undefined {
    const node = this.#entries.get(name);
    if (!node || isNull(node)) return undefined;
    if (node.kind !== "scalar" || node.type !== "boolean") throw this.#wrong(node, name, "true or false");
    return isTrue(node);
  }

  /** A text behind base64. */
  data(name: string): string | undefined {
    const value = this.string(name);
    if (value === undefined) return undefined;
    const text = decodeBase64Text(value);
    if (text === undefined) throw this.error(name, "must be base64, with padding");
    return text;
  }

  /** A list of texts. */
  strings(name: string): string[] {
    return this.#list(name).map((node, index) => this.#string(node, `${this.#path(name)}[${index}]`));
  }

  /** A mapping; null counts as one that is absent. */
  mapping(name: string): Fields | undefined {
    const node = this.#entries.get(name);
    return node && !isNull(node) ? new Fields(this.#source, node, this.#path(name)) : undefined;
  }

  /** A list of mappings. */
  mappings(name: string): Fields[] {
    return this.#list(name).map((node, index) => new Fields(this.#source, node, `${this.#path(name)}[${index}]`));
  }

  /** Any value, as JSON has it. */
  json(name: string): unknown {
    const node = this.#entries.get(name);
    return node && toJson(node, () => this.error(name, "is too large"));
  }

  /** The error for one key of this mapping, or for the mapping itself when the key is absent. */
  error(name: string, text: string): Error {
    return this.#source.error((this.#entries.get(name) ?? this.#node).offset, text, this.#path(name));
  }

  #list(name: string): readonly YamlNode[] {
    const node = this.#entries.get(name);
    if (!node || isNull(node)) return [];
    if (node.kind !== "sequence") throw this.#wrong(node, name, "a list");
    return node.items;
  }

  #string(node: YamlNode | undefined, path: string): string {
    if (!node || isNull(node)) return "";
    if (node.kind === "scalar" && node.type === "string") return node.value;
    const hint = node.kind === "scalar" ? " (put it in quotes)" : "";
    throw this.#source.error(node.offset, `must be a string, not ${describe(node)}${hint}`, path);
  }

  #wrong(node: YamlNode, name: string, wanted: string): Error {
    return this.#source.error(node.offset, `must be ${wanted}, not ${describe(node)}`, this.#path(name));
  }

  #path(name: string): string {
    return this.key ? `${this.key}.${name}` : name;
  }
}

function isNull(node: YamlNode): boolean {
  return node.kind === "scalar" && node.type === "null";
}

function describe(node: YamlNode): string {
  if (node.kind === "sequence") return "a list";
  if (node.kind === "mapping") return "a mapping";
  // The words that are booleans in YAML 1.1 surprise ("n", "on"), and are never secrets.
  return node.type === "boolean" ? `the boolean ${node.value}` : node.type === "null" ? "null" : `a ${node.type}`;
}
