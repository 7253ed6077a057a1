/**
 * An authorizer that reads a file: rules as RBAC spells them.
 *
 * @module
 */
import type { Fields } from "../kubeconfig/yaml/mod.ts";
import type { Authorizer, RequestAttributes } from "./authorization.ts";
import { YamlFile } from "./yaml_file.ts";

/** Something that is allowed: requests for resources, or for paths that are none. */
export type PolicyRule = ResourceRule | NonResourceRule;

/** Allows requests for resources. As in RBAC, `*` stands for all. */
export interface ResourceRule {
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`. */
  readonly verbs: readonly string[];
  /** Empty text for the core group. */
  readonly apiGroups: readonly string[];
  /** `pods`, `pods/exec`, or `*` with a subresource behind it: `*` and `/scale`. */
  readonly resources: readonly string[];
  /** The objects' names; absent for all. A request that names none, such as `list`, matches no name. */
  readonly resourceNames?: readonly string[];
  /** The namespaces; absent for all, and for what is in none. RBAC has RoleBindings for this. */
  readonly namespaces?: readonly string[];
}

/** Allows requests for paths that are no resources. */
export interface NonResourceRule {
  /** Methods in lower case, or `*`. */
  readonly verbs: readonly string[];
  /** `/version`; a `*` at the end stands for anything. */
  readonly nonResourceURLs: readonly string[];
}

/** An authorizer that allows what one of `rules` does, and nothing else. */
export function policyAuthorizer(rules: readonly PolicyRule[]): Authorizer {
  return (attributes) =>
    rules.some((rule) => allows(rule, attributes))
      ? { allowed: true }
      : { allowed: false, reason: "no rule allows it" };
}

/**
 * The authorizer that a policy file describes.
 *
 * ```yaml
 * rules:
 * - verbs: [get, list, watch]
 *   apiGroups: [""]
 *   resources: [pods, pods/log]
 *   namespaces: [dev]
 * - verbs: [get, create] # exec over a WebSocket takes both.
 *   apiGroups: [""]
 *   resources: [pods/exec]
 *   resourceNames: [web-0]
 *   namespaces: [dev]
 * - verbs: [get]
 *   nonResourceURLs: [/api, /api/*, /apis, /apis/*, /version]
 * ```
 *
 * @throws {ConfigError} If it cannot be read or is wrong; it names file, line and key.
 */
export async function loadPolicy(file: string): Promise<Authorizer> {
  return policyAuthorizer(parsePolicy(await YamlFile.read(file)));
}

/**
 * The rules of a policy file.
 *
 * @throws {ConfigError} If it is wrong; it names file, line and key.
 */
export function parsePolicy(file: YamlFile): PolicyRule[] {
  const [root, second] = file.documents();
  if (second) throw second.error("rules", "a policy is one document");
  if (!root) throw file.error(0, "the policy is empty: it needs rules", "rules");
  root.only(["rules"]);
  if (!root.has("rules")) throw root.error("rules", "is missing");
  return root.mappings("rules").map(parseRule);
}

function parseRule(fields: Fields): PolicyRule {
  fields.only(["verbs", "apiGroups", "resources", "resourceNames", "namespaces", "nonResourceURLs"]);
  const verbs = list(fields, "verbs");
  if (fields.has("nonResourceURLs")) {
    const resource = ["apiGroups", "resources", "resourceNames", "namespaces"].find((name) => fields.has(name));
    if (resource) throw fields.error(resource, "a rule is for resources or for nonResourceURLs, not for both");
    return { verbs, nonResourceURLs: list(fields, "nonResourceURLs") };
  }
  const optional = (name: "resourceNames" | "namespaces") => fields.has(name) ? { [name]: list(fields, name) } : {};
  return {
    verbs,
    apiGroups: list(fields, "apiGroups"),
    resources: list(fields, "resources"),
    ...optional("resourceNames"),
    ...optional("namespaces"),
  };
}

/** What can match something, and what to say of the rest: a rule with such a mistake would allow nothing, and not say so. */
const ITEMS = {
  verbs: [/^(\*|[a-z]+)$/, "a verb is in lower case, or * for all"],
  apiGroups: [/^(\*|[a-z\d.-]*)$/, "a group is in lower case and without its version, or * for all"],
  resources: [
    // The metrics' APIs have names of metrics in the place of resources.
    /^(\*|[\w.-]+)(\/[\w.-]+)?$/,
    "a resource is such as pods, pods/exec or */scale, or * for all",
  ],
  resourceNames: [/./, ""], // Even "*" is one, of all objects, in the metrics' APIs.
  namespaces: [/^(\*|[a-z\d-]+)$/, "a namespace is whole and in lower case, or * for all"],
  nonResourceURLs: [/^(\/[^*]*)?\*?$/, "a path starts with a slash, and has a * at the end only"],
} as const;

/** A list with something in it: without anything, a rule would allow nothing, or all. */
function list(fields: Fields, name: keyof typeof ITEMS): string[] {
  if (!fields.has(name)) throw fields.error(name, "is missing");
  const items = fields.strings(name);
  if (items.length === 0) throw fields.error(name, "has nothing in it");
  if (name !== "apiGroups" && items.includes("")) throw fields.error(name, "has an empty text in it");
  const [pattern, hint] = ITEMS[name];
  const wrong = items.find((item) => !pattern.test(item));
  if (wrong !== undefined) throw fields.error(name, `${JSON.stringify(wrong)} matches nothing: ${hint}`);
  return items;
}

/** As `pkg/apis/rbac/v1/evaluation_helpers.go` of Kubernetes. */
function allows(rule: PolicyRule, attributes: RequestAttributes): boolean {
  const { isResourceRequest, verb, apiGroup, resource, subresource, namespace, name, path } = attributes;
  if (!has(rule.verbs, verb)) return false;
  if ("nonResourceURLs" in rule) return !isResourceRequest && rule.nonResourceURLs.some((url) => matchesUrl(url, path));
  if (!isResourceRequest) return false;
  const combined = subresource === "" ? resource : `${resource}/${subresource}`;
  return has(rule.apiGroups, apiGroup) &&
    (has(rule.resources, combined) || (subresource !== "" && rule.resources.includes(`*/${subresource}`))) &&
    (rule.resourceNames?.includes(name) ?? true) &&
    (rule.namespaces === undefined || (namespace !== "" && has(rule.namespaces, namespace)));
}

function has(list: readonly string[], value: string): boolean {
  return list.includes("*") || list.includes(value);
}

function matchesUrl(url: string, path: string): boolean {
  return url.endsWith("*") ? path.startsWith(url.slice(0, -1)) : path === url;
}
