/**
 * Files in YAML that a server reads, with errors that say `file:line: key: text`.
 *
 * @module
 */
import { systemText } from "../bytes/mod.ts";
import { ConfigError } from "../kubeconfig/mod.ts";
import { Fields, parseYaml, Source } from "../kubeconfig/yaml/mod.ts";

/** A file's text. */
export class YamlFile extends Source {
  readonly #text: string;

  /** The text of the file of that name. */
  constructor(text: string, file: string) {
    super(text, file);
    this.#text = text;
  }

  /**
   * Reads a file.
   *
   * @throws {ConfigError} If it cannot be read.
   */
  static async read(file: string): Promise<YamlFile> {
    try {
      return new YamlFile(await Deno.readTextFile(file), file);
    } catch (cause) {
      throw new ConfigError(`${file}: ${systemText(cause)}`, { file, cause });
    }
  }

  /**
   * The mappings of the file's documents, of which empty ones do not count.
   *
   * @throws {ConfigError} If one is not YAML, or no mapping.
   */
  documents(): Fields[] {
    const starts = [0, ...[...this.#text.matchAll(/^---(?=\s|$)/gm)].map(({ index }) => index)];
    return starts.flatMap((start, i) => {
      // What stands before and behind is blanked, so that each value keeps its place.
      const text = this.#text.slice(0, start).replace(/[^\n]/g, " ") + this.#text.slice(start, starts[i + 1]);
      const node = parseYaml(text, this);
      return node === undefined || (node.kind === "scalar" && node.type === "null") ? [] : [new Fields(this, node, "")];
    });
  }

  /** The error for something at `offset`. */
  override error(offset: number, text: string, key?: string): ConfigError {
    const line = this.line(offset);
    const message = `${this.file}:${line}: ${key === undefined ? "" : `${key}: `}${text}`;
    return new ConfigError(message, { file: this.file, line, problems: [text], ...(key !== undefined && { key }) });
  }
}
