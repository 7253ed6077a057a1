/**
 * Files whose relays all become two halves.
 *
 * @module
 */
import { parseYaml, toJson, type YamlNode } from "../kubeconfig/yaml/mod.ts";
import type { RelaySpec } from "./config.ts";
import { type ConfigProblem, ConfigSource, RelayConfigError } from "./config_reader.ts";
import { RelayHalvesError, splitRelay } from "./halves.ts";
import { type ConfigFile, parseRelays } from "./parse_config.ts";

/**
 * Reads files that together are one configuration, as {@linkcode parseRelays} does, for one set of pods.
 *
 * @throws {RelayConfigError} With all that is wrong, or cannot be cut into halves, each with its file, line and key.
 */
export function parseHalves(files: readonly ConfigFile[]): RelaySpec[] {
  parseRelays(files, { together: false });
  const problems: ConfigProblem[] = [];
  const ports = new Map<string, string>();
  const relays = files.flatMap(({ file, text }) => {
    const source = new ConfigSource(text, file);
    const placed = relaysOf(source, parseYaml(text, source));
    placed.forEach(([node, relay], i) => {
      const problem = findProblem(relay, ports);
      if (problem) source.report(find(node, problem.key).offset, `relays[${i}].${problem.key}`, problem.text);
    });
    problems.push(...source.problems);
    return placed.map(([, relay]) => relay);
  });
  if (problems.length > 0) throw new RelayConfigError(problems);
  return relays;
}

/** What is wrong with a relay; `ports` has those of the ones before it. */
function findProblem(relay: RelaySpec, ports: Map<string, string>): Pick<ConfigProblem, "key" | "text"> | undefined {
  try {
    const { port, protocol } = splitRelay(relay);
    const owner = ports.get(`${port}/${protocol}`);
    if (owner !== undefined) {
      return { key: "listen.address", text: `the relay ${owner} has port ${port} of the same pod` };
    }
    ports.set(`${port}/${protocol}`, relay.name);
    return undefined;
  } catch (error) {
    if (!(error instanceof RelayHalvesError)) throw error;
    return { key: error.key, text: error.problem };
  }
}

/** The relays of a file that {@linkcode parseRelays} has found nothing wrong with, each with its place. */
function relaysOf(
  source: ConfigSource,
  root: YamlNode | undefined,
): ReadonlyArray<readonly [node: YamlNode, relay: RelaySpec]> {
  const list = root && find(root, "relays");
  if (list?.kind !== "sequence") return [];
  return list.items.map((node) => [node, toJson(node, () => source.error(node.offset, "is too large")) as RelaySpec]);
}

/** The value at `path`, or what there is of the way to it. */
function find(node: YamlNode, path: string): YamlNode {
  for (const key of path.split(".")) {
    const value = node.kind === "mapping" ? node.entries.get(key) : undefined;
    if (!value) break;
    node = value;
  }
  return node;
}
