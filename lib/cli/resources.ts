/**
 * Which resources an API server has, and which of them a word means: `po`, `pods`, `deployments.apps`, `all`
 * (client-go `restmapper`, `discovery`).
 *
 * @module
 */
import { type Cluster, groupPath, type RequestOptions, resourcePath } from "../client/mod.ts";

/** A resource type. */
export interface ResourceType {
  /** The API group; empty for the core one. */
  readonly group: string;
  /** The preferred version that has it. */
  readonly version: string;
  /** The name in paths: `pods`. */
  readonly plural: string;
  /** `pod`. */
  readonly singular: string;
  /** `po`. */
  readonly shortNames: readonly string[];
  /** Groups of resources that it belongs to: `all`. */
  readonly categories: readonly string[];
  /** `Pod`. */
  readonly kind: string;
  /** Whether its objects are in a namespace. */
  readonly namespaced: boolean;
}

/**
 * The path of a type's objects, in `namespace` if they have one.
 *
 * @throws {TargetError} If no namespace can have such a name.
 */
export function collectionPath({ group, version, plural, namespaced }: ResourceType, namespace: string): string {
  return resourcePath({ group, version, plural, ...(namespaced && namespace !== "" && { namespace }) });
}

/** The types of a cluster; asks the server on first use only, and for no more than it takes. */
export class Resources {
  readonly #cluster: Cluster;
  readonly #options: () => RequestOptions;
  #core: Promise<ResourceType[]> | undefined;
  #groups: Promise<ResourceType[]> | undefined;

  /** The types of `cluster`; `options` are for each request. */
  constructor(cluster: Cluster, options: () => RequestOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /**
   * The types that `word` means: one, or all of a category, or none that the server knows. The core group comes
   * first, as the server lists it first.
   */
  async find(word: string): Promise<ResourceType[]> {
    this.#core ??= this.#discover("/api");
    const core = await this.#core;
    const direct = core.find((type) => matches(type, word));
    if (direct) return [direct];
    this.#groups ??= this.#discover("/apis");
    const all = [...core, ...await this.#groups];
    const found = all.find((type) => matches(type, word)) ?? all.find((type) => type.shortNames.includes(word));
    return found ? [found] : all.filter((type) => type.categories.includes(word));
  }

  /** The types below `/api` or `/apis`, each in its preferred version: in one answer, or from an older server in several. */
  async #discover(root: "/api" | "/apis"): Promise<ResourceType[]> {
    const answer = await this.#cluster.get<AggregatedDiscovery | LegacyDiscovery>(root, {
      ...this.#options(),
      accept: "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
    });
    if ("items" in answer) return preferred(answer.items.flatMap(readGroup));
    const versions = "versions" in answer
      ? answer.versions.map((version) => ({ group: "", version }))
      : answer.groups.flatMap(({ name, versions }) => versions.map(({ version }) => ({ group: name, version })));
    const lists = await Promise.all(versions.map(async ({ group, version }) => {
      const list = await this.#cluster.get<LegacyResourceList>(groupPath(group, version), this.#options());
      return list.resources.filter(({ name }) => !name.includes("/")).map((resource): ResourceType => ({
        group,
        version,
        plural: resource.name,
        singular: resource.singularName || resource.kind.toLowerCase(),
        shortNames: resource.shortNames ?? [],
        categories: resource.categories ?? [],
        kind: resource.kind,
        namespaced: resource.namespaced,
      }));
    }));
    return preferred(lists.flat());
  }
}

/** apidiscovery.k8s.io/v2, `APIGroupDiscoveryList`. */
interface AggregatedDiscovery {
  readonly items: readonly DiscoveredGroup[];
}

interface DiscoveredGroup {
  readonly metadata?: { readonly name?: string };
  readonly versions?: ReadonlyArray<{
    readonly version: string;
    readonly resources?: ReadonlyArray<{
      readonly resource: string;
      readonly responseKind?: { readonly kind?: string };
      readonly scope: string;
      readonly singularResource?: string;
      readonly shortNames?: readonly string[];
      readonly categories?: readonly string[];
    }>;
  }>;
}

type LegacyDiscovery =
  | { readonly versions: readonly string[] }
  | {
    readonly groups: ReadonlyArray<{
      readonly name: string;
      readonly versions: ReadonlyArray<{ readonly version: string }>;
    }>;
  };

interface LegacyResourceList {
  readonly resources: ReadonlyArray<{
    readonly name: string;
    readonly singularName: string;
    readonly kind: string;
    readonly namespaced: boolean;
    readonly shortNames?: readonly string[];
    readonly categories?: readonly string[];
  }>;
}

function readGroup({ metadata, versions = [] }: DiscoveredGroup): ResourceType[] {
  return versions.flatMap(({ version, resources = [] }) =>
    resources.map((resource): ResourceType => ({
      group: metadata?.name ?? "",
      version,
      plural: resource.resource,
      singular: resource.singularResource ?? "",
      shortNames: resource.shortNames ?? [],
      categories: resource.categories ?? [],
      kind: resource.responseKind?.kind ?? "",
      namespaced: resource.scope === "Namespaced",
    }))
  );
}

/** A group lists its versions best first: later ones only add what earlier ones lack. Named versions stay reachable. */
function preferred(types: readonly ResourceType[]): ResourceType[] {
  const seen = new Set<string>();
  const isFirst = ({ group, plural }: ResourceType) => {
    const id = `${plural}.${group}`;
    return !seen.has(id) && seen.add(id);
  };
  const first = types.filter(isFirst);
  return [...first, ...types.filter((type) => !first.includes(type))];
}

/** Whether `word` is the type's name: alone, with its group, or with its version and group. */
function matches(type: ResourceType, word: string): boolean {
  const lower = word.toLowerCase();
  const names = [type.plural, type.singular, type.kind.toLowerCase(), ...type.shortNames];
  return names.some((name) =>
    name !== "" &&
    [name, `${name}.${type.group}`, `${name}.${type.version}.${type.group}`, `${name}.${type.version}.`].includes(lower)
  );
}
