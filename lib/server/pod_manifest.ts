/**
 * Pods from a file, as Kubernetes spells them.
 *
 * @module
 */
import { isDnsLabel, isDnsSubdomain } from "../client/mod.ts";
import type { Fields } from "../kubeconfig/yaml/mod.ts";
import type { ContainerPort, HostContainer, RestartPolicy } from "./container.ts";
import type { HostPod } from "./pods.ts";
import { YamlFile } from "./yaml_file.ts";

/** What a file says. */
export interface PodManifest {
  /** Its pods. */
  readonly pods: readonly HostPod[];
  /** What in it has no effect, a line each: `file:line: key: text`. */
  readonly warnings: readonly string[];
}

/**
 * Reads pods from a file: any number of documents, each a `Pod` or a `List` of them (core/v1).
 *
 * Of a pod it takes `metadata.name`, `namespace`, `labels` and `annotations`, `spec.restartPolicy` and
 * `terminationGracePeriodSeconds`, and of each container `name`, `command`, `args`, `env` with values, `workingDir`,
 * `stdin`, `tty` and `ports`. A port is one of this machine, `hostPort` where that is given, else `containerPort`. What else there is,
 * is warned of; there is no image, so a container needs its `command`.
 *
 * @throws {ConfigError} If it cannot be read or is wrong; it names file, line and key.
 */
export async function loadPods(file: string): Promise<PodManifest> {
  return parsePods(await YamlFile.read(file));
}

/**
 * The pods of a file.
 *
 * @throws {ConfigError} If it is wrong; it names file, line and key.
 */
export function parsePods(file: YamlFile): PodManifest {
  const warnings: string[] = [];
  const pods = new Map<string, HostPod>();
  for (const document of file.documents()) {
    for (const fields of document.string("kind") === "List" ? document.mappings("items") : [document]) {
      const pod = new PodReader(warnings).read(fields);
      const { name, namespace = "default" } = pod;
      if (pods.has(`${namespace}/${name}`)) {
        throw required(fields, "metadata").error("name", `another pod in the namespace ${namespace} is called ${name}`);
      }
      pods.set(`${namespace}/${name}`, pod);
    }
  }
  if (pods.size === 0) throw file.error(0, "there is no pod in it");
  return { pods: [...pods.values()], warnings };
}

/** Reads one pod. */
class PodReader {
  readonly #warnings: string[];
  readonly #ports: Record<number, number> = {};

  constructor(warnings: string[]) {
    this.#warnings = warnings;
  }

  read(fields: Fields): HostPod {
    const [apiVersion, kind] = [fields.string("apiVersion"), fields.string("kind")];
    if (kind !== "Pod") {
      throw fields.error("kind", `must be Pod, not ${kind ?? "nothing"}: the host runs no other objects`);
    }
    if (apiVersion !== "v1") throw fields.error("apiVersion", `must be v1, not ${apiVersion ?? "nothing"}`);
    this.#warn(fields, ["apiVersion", "kind", "metadata", "spec"]);
    const metadata = required(fields, "metadata");
    this.#warn(metadata, ["name", "namespace", "labels", "annotations"]);
    const namespace = metadata.string("namespace");
    const [labels, annotations] = [texts(metadata, "labels"), texts(metadata, "annotations")];
    const spec = required(fields, "spec");
    this.#warn(spec, ["containers", "restartPolicy", "terminationGracePeriodSeconds"]);
    const grace = integer(spec, "terminationGracePeriodSeconds", 0, 2 ** 31 - 1);
    const containers: HostContainer[] = [];
    for (const fields of spec.mappings("containers")) {
      const container = this.#readContainer(fields);
      const { name } = container;
      if (containers.some((other) => other.name === name)) {
        throw fields.error("name", `another container is called ${name}`);
      }
      containers.push(container);
    }
    if (containers.length === 0) throw spec.error("containers", "must have at least one container");
    return {
      name: name(metadata, 253),
      ...(namespace !== undefined && { namespace: checkName(metadata, "namespace", namespace, 63) }),
      ...(labels && { labels }),
      ...(annotations && { annotations }),
      containers,
      ports: this.#ports,
      restartPolicy: restartPolicy(spec),
      ...(grace !== undefined && { terminationGracePeriodSeconds: grace }),
    };
  }

  #readContainer(fields: Fields): HostContainer {
    this.#warn(fields, CONTAINER_FIELDS);
    const env: Record<string, string> = {};
    for (const variable of fields.mappings("env")) {
      this.#warn(variable, ["name", "value"]);
      env[variable.string("name") ?? missing(variable, "name")] = expand(variable.string("value") ?? "", env);
    }
    const command = fields.strings("command").map((text) => expand(text, env));
    if (command.length === 0) throw fields.error("command", "is missing: there is no image that has one");
    const args = fields.strings("args").map((text) => expand(text, env));
    const ports = fields.mappings("ports").map((port) => this.#readPort(port));
    const cwd = fields.string("workingDir");
    return {
      name: name(fields, 63),
      command,
      ...(args.length > 0 && { args }),
      ...(Object.keys(env).length > 0 && { env }),
      ...(ports.length > 0 && { ports }),
      ...(cwd !== undefined && { cwd }),
      tty: fields.boolean("tty") ?? false,
      stdin: fields.boolean("stdin") ?? false,
    };
  }

  #readPort(fields: Fields): ContainerPort {
    this.#warn(fields, ["containerPort", "hostPort", "name", "protocol"]);
    const containerPort = integer(fields, "containerPort", 1, 65535) ?? missing(fields, "containerPort");
    const hostPort = integer(fields, "hostPort", 1, 65535);
    if (hostPort !== undefined) this.#ports[containerPort] = hostPort;
    const name = fields.string("name");
    return { containerPort, ...(name !== undefined && { name }) };
  }

  /** Warns of fields that are not among `known`. */
  #warn(fields: Fields, known: readonly string[]): void {
    for (const name of fields.names()) {
      if (!known.includes(name)) this.#warnings.push(fields.error(name, "has no effect here").message);
    }
  }
}

/** An image is named in every manifest, and what it would be is the command. */
const CONTAINER_FIELDS = [
  "name",
  "command",
  "args",
  "env",
  "workingDir",
  "tty",
  "stdin",
  "ports",
  "image",
  "imagePullPolicy",
];

function missing(fields: Fields, name: string): never {
  throw fields.error(name, "is missing");
}

function required(fields: Fields, name: string): Fields {
  return fields.mapping(name) ?? missing(fields, name);
}

/** The name of a pod, a DNS-1123 subdomain, or a container, a label. */
function name(fields: Fields, most: number): string {
  return checkName(fields, "name", fields.string("name") ?? missing(fields, "name"), most);
}

function checkName(fields: Fields, field: string, text: string, most: number): string {
  if (most > 63 ? isDnsSubdomain(text) : isDnsLabel(text)) return text;
  throw fields.error(
    field,
    `must be at most ${most} lower case letters, digits and "-", with a letter or digit at each end`,
  );
}

function texts(fields: Fields, name: string): Record<string, string> | undefined {
  const mapping = fields.mapping(name);
  return mapping && Object.fromEntries([...mapping.names()].map((key) => [key, mapping.string(key) ?? ""]));
}

function integer(fields: Fields, name: string, least: number, most: number): number | undefined {
  if (!fields.has(name)) return undefined;
  const value = fields.json(name);
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
  throw fields.error(name, `must be a whole number from ${least} to ${most}`);
}

function restartPolicy(spec: Fields): RestartPolicy {
  const policy = spec.string("restartPolicy") ?? "Always";
  if (policy === "Always" || policy === "OnFailure" || policy === "Never") return policy;
  throw spec.error("restartPolicy", "must be Always, OnFailure or Never");
}

/** Puts in the values of variables that stand as `$(NAME)`; `$$` is a `$` (kubernetes `third_party/forked/golang/expansion`). */
function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([^()]*)\)/g, (all, name) => all === "$$" ? "$" : env[name] ?? all);
}
