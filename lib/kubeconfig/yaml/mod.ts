/**
 * YAML as kubectl reads it, each value with its place in the text.
 *
 * @module
 */
export { Fields } from "./fields.ts";
export {
  isTrue,
  parseYaml,
  toJson,
  type YamlMapping,
  type YamlNode,
  type YamlScalar,
  type YamlSequence,
} from "./parse.ts";
export { Source } from "./source.ts";
