/**
 * YAML as kubectl's parser (goyaml v2, YAML 1.1) understands it, each value with its place in the text.
 *
 * @module
 */
import { type Event, EVENT_ID, getScalarValue, parseEvents, SCALAR_STYLE, YAMLException } from "js-yaml";
import type { Source } from "./source.ts";

/** What a scalar is without a quote or a tag; kubectl converts none into another. */
export type ScalarType = "string" | "number" | "boolean" | "null";

/** A text, number, boolean or null. */
export interface YamlScalar {
  readonly kind: "scalar";
  readonly offset: number;
  readonly type: ScalarType;
  /** The text as written, without quotes. */
  readonly value: string;
  /** Whether it stands there without quotes. */
  readonly plain: boolean;
}

/** A list. */
export interface YamlSequence {
  readonly kind: "sequence";
  readonly offset: number;
  readonly items: YamlNode[];
}

/** A mapping; of a key that appears twice the last one counts, as in kubectl. */
export interface YamlMapping {
  readonly kind: "mapping";
  readonly offset: number;
  readonly entries: Map<string, YamlNode>;
  /** Where each key stands, in the text's order and as often as it does; merged ones (`<<`) are not among them. */
  readonly keys: Array<readonly [name: string, offset: number]>;
}

/** Any value. */
export type YamlNode = YamlScalar | YamlSequence | YamlMapping;

/** More merged keys than this are an attack, not a kubeconfig. */
const MAX_MERGED_KEYS = 10_000;

const NULL = /^(?:|~|null|Null|NULL)$/;
const BOOLEAN = /^(?:y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON|n|N|no|No|NO|false|False|FALSE|off|Off|OFF)$/;
const TRUE = /^(?:y|yes|true|on)$/i;
const NUMBER =
  /^[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$/;

/** Whether a scalar of type `boolean` is true. */
export function isTrue(scalar: YamlScalar): boolean {
  return TRUE.test(scalar.value);
}

/** As many values may be in one that is made: aliases can make a small text a huge one. */
const MAX_VALUES = 100_000;

/**
 * A value as JSON has it.
 *
 * @throws What `tooLarge` makes, if it holds too many values.
 */
export function toJson(node: YamlNode, tooLarge: () => Error): unknown {
  let left = MAX_VALUES;
  const convert = (node: YamlNode): unknown => {
    if (left-- <= 0) throw tooLarge();
    switch (node.kind) {
      case "sequence":
        return node.items.map(convert);
      case "mapping":
        return Object.fromEntries([...node.entries].map(([key, item]) => [key, convert(item)]));
    }
    switch (node.type) {
      case "null":
        return null;
      case "boolean":
        return isTrue(node);
      case "number":
        return Number(node.value.replaceAll("_", ""));
    }
    return node.value;
  };
  return convert(node);
}

/**
 * Reads the first document of a text; a text without one is `undefined`. Later documents are not looked at.
 *
 * @throws {Error} The source's, when the text is not YAML; the text itself is never quoted.
 */
export function parseYaml(text: string, source: Source): YamlNode | undefined {
  text = firstDocument(text);
  let events: Event[];
  try {
    events = parseEvents(text, {});
  } catch (error) {
    // The library's error quotes the text around the place, which may be a secret: only its reason is kept.
    const { reason, mark } = error instanceof YAMLException ? error : { reason: String(error), mark: undefined };
    throw source.error(mark?.position ?? 0, `not YAML: ${reason.replace(/(?:: | ").*$/s, "")}`);
  }
  return new Builder(text, source).build(events);
}

/** Cuts off what follows the first document, because kubectl ignores even broken YAML there. */
function firstDocument(text: string): string {
  let markers = 0;
  for (const { index } of text.matchAll(/^(?:---|\.\.\.)(?=\s|$)/gm)) {
    markers++;
    const before = text.slice(0, index);
    if (markers > 1 || /^(?!\s*(?:#|$)|%)[^\n]*\S/m.test(before)) return before;
  }
  return text;
}

class Builder {
  readonly #text: string;
  readonly #source: Source;
  readonly #anchors = new Map<string, YamlNode>();
  #merged = 0;

  constructor(text: string, source: Source) {
    this.#text = text;
    this.#source = source;
  }

  build(events: Event[]): YamlNode | undefined {
    let root: YamlNode | undefined;
    const open: Array<{ node: YamlSequence | YamlMapping; anchor: string | undefined; key?: YamlNode | undefined }> =
      [];
    const add = (node: YamlNode) => {
      const parent = open.at(-1);
      if (!parent) root = node;
      else if (parent.node.kind === "sequence") parent.node.items.push(node);
      else if (!parent.key) parent.key = node;
      else {
        this.#addPair(parent.node, parent.key, node);
        parent.key = undefined;
      }
    };
    for (const event of events) {
      switch (event.type) {
        case EVENT_ID.DOCUMENT:
          break;
        case EVENT_ID.SEQUENCE:
          open.push({ node: { kind: "sequence", offset: event.start, items: [] }, anchor: this.#anchor(event) });
          break;
        case EVENT_ID.MAPPING:
          open.push({
            node: { kind: "mapping", offset: event.start, entries: new Map(), keys: [] },
            anchor: this.#anchor(event),
          });
          break;
        case EVENT_ID.SCALAR: {
          const node = this.#scalar(event);
          const anchor = this.#anchor(event);
          if (anchor !== undefined) this.#anchors.set(anchor, node);
          add(node);
          break;
        }
        case EVENT_ID.ALIAS: {
          // An anchor counts from its value's end on, so nothing can contain itself.
          const node = this.#anchors.get(this.#text.slice(event.anchorStart, event.anchorEnd));
          if (!node) throw this.#source.error(event.anchorStart, "not YAML: the alias has no anchor before it");
          add(node);
          break;
        }
        case EVENT_ID.POP: {
          const closed = open.pop();
          if (!closed) break; // The document's own end.
          if (closed.anchor !== undefined) this.#anchors.set(closed.anchor, closed.node);
          add(closed.node);
        }
      }
    }
    return root;
  }

  #anchor(event: { anchorStart: number; anchorEnd: number }): string | undefined {
    return event.anchorStart < 0 ? undefined : this.#text.slice(event.anchorStart, event.anchorEnd);
  }

  #scalar(event: Event & { type: typeof EVENT_ID.SCALAR }): YamlScalar {
    const value = getScalarValue(this.#text, event);
    const offset = Math.max(0, event.valueStart);
    const plain = event.style === SCALAR_STYLE.PLAIN;
    const scalar = (type: ScalarType, text = value): YamlScalar => ({
      kind: "scalar",
      offset,
      type,
      value: text,
      plain,
    });
    const tag = event.tagStart < 0 ? "" : this.#text.slice(event.tagStart, event.tagEnd);
    switch (tag) {
      case "":
        return scalar(plain ? implicitType(value) : "string");
      case "!!null":
      case "!!bool":
      case "!!int":
      case "!!float":
        return scalar(implicitType(value));
      case "!!binary":
        return scalar("string", this.#binary(value, offset));
    }
    return scalar("string"); // "!", "!!str", and what kubectl does not know.
  }

  #binary(value: string, offset: number): string {
    const text = decodeBase64Text(value);
    if (text === undefined) throw this.#source.error(offset, "!!binary value contains invalid base64 data");
    return text;
  }

  #addPair(mapping: YamlMapping, key: YamlNode, value: YamlNode): void {
    if (key.kind !== "scalar") throw this.#source.error(key.offset, "not YAML for kubectl: a key must be a scalar");
    if (key.value !== "<<" || !key.plain) {
      mapping.keys.push([key.value, key.offset]);
      mapping.entries.set(key.value, value);
      return;
    }
    // As in kubectl's parser, a merge also overrides what stands before it in the mapping.
    for (const from of value.kind === "sequence" ? value.items.toReversed() : [value]) {
      if (from.kind !== "mapping") throw this.#source.error(value.offset, "<< needs a mapping or a list of mappings");
      this.#merged += from.entries.size;
      if (this.#merged > MAX_MERGED_KEYS) throw this.#source.error(key.offset, "<< merges too many keys");
      for (const [name, node] of from.entries) mapping.entries.set(name, node);
    }
  }
}

function implicitType(value: string): ScalarType {
  if (NULL.test(value)) return "null";
  if (BOOLEAN.test(value)) return "boolean";
  return NUMBER.test(value) ? "number" : "string";
}

/** Standard base64 with padding, line breaks allowed, to text; `undefined` when it is not that. */
export function decodeBase64Text(value: string): string | undefined {
  const text = value.replace(/[\r\n]/g, "");
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  return new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
}
