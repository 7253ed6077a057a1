/**
 * The objects of one API resource: read, watched, written.
 *
 * @module
 */
import { ApiError } from "./errors.ts";
import type { KubernetesObject, ObjectMeta } from "./objects.ts";
import { readJson } from "./read_json.ts";
import { pathSegment, type ResourceId, resourcePath } from "./resource_path.ts";
import { follow, type ResourceEvent } from "./resource_watch.ts";

/** Which of a resource's objects, and how. */
export interface ListOptions {
  /** Only objects with these labels: `app=web,tier!=cache`. */
  readonly labelSelector?: string;
  /** Only objects with these fields: `spec.nodeName=node1`. */
  readonly fieldSelector?: string;
  /** How many objects the server may put into one answer. Default 500, as client-go's pager. */
  readonly limit?: number;
  /** Gives up. */
  readonly signal?: AbortSignal;
}

/** A list, whole. */
export interface ResourceList<T> {
  /** The objects. */
  readonly items: readonly T[];
  /** The state of the cluster that they are of; a watch goes on from here. */
  readonly resourceVersion: string;
}

/** Options of what writes. */
export interface WriteOptions {
  /** Who writes, for `metadata.managedFields`; the user agent's first word if absent. Server-side apply wants one. */
  readonly fieldManager?: string;
  /** `status`, `scale` …: a part of the object with rules of its own. */
  readonly subresource?: string;
  /** Gives up; whether the server did it is not known then. */
  readonly signal?: AbortSignal;
}

/** Options of {@linkcode Resource.apply}. */
export interface ApplyOptions extends WriteOptions {
  /** Who applies: what it no longer sends, and nobody else has, is taken away. */
  readonly fieldManager: string;
  /** Takes fields over that others manage, instead of failing with a conflict. */
  readonly force?: boolean;
}

/** Options of {@linkcode Resource.delete}. */
export interface DeleteOptions {
  /** What becomes of the objects that it owns. Default: as the resource has it, mostly `Background`. */
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan";
  /** Only the object with this unique id; another one of the same name is left alone (409). */
  readonly uid?: string;
  /** Gives up. */
  readonly signal?: AbortSignal;
}

/** Sends a request; {@linkcode Cluster.request} is one. */
export type SendApiRequest = (
  path: string,
  options: {
    readonly method?: string;
    readonly query?: URLSearchParams;
    readonly headers?: ReadonlyArray<readonly [name: string, value: string]>;
    readonly body?: Uint8Array;
    readonly signal?: AbortSignal;
  },
) => Promise<Response>;

/** An object that says what it is, as the server wants it in a body. */
export type Manifest = KubernetesObject & { readonly apiVersion: string; readonly kind: string };

/**
 * The objects of one API resource. Every method throws {@linkcode ApiError} where the server refuses (its `code` and
 * `reason` say why), or answers with what is not JSON. A name that no object can have (`..`, `a/b`, none at all) is a {@linkcode TargetError}, and nothing is
 * sent.
 *
 * @example
 * ```ts
 * import { Cluster, type KubernetesObject } from "@podwire/podwire";
 *
 * async function main(cluster: Cluster): Promise<void> {
 *   const maps = cluster.resource<KubernetesObject & { data?: Record<string, string> }>({
 *     version: "v1",
 *     plural: "configmaps",
 *     namespace: "shop",
 *   });
 *   const map = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "colours" }, data: { sky: "blue" } };
 *   await maps.apply(map, { fieldManager: "painter" });
 *   for await (const event of maps.watch({ signal: AbortSignal.timeout(60_000) })) console.log(event.type);
 * }
 * ```
 */
export class Resource<T extends KubernetesObject = KubernetesObject> {
  /** The path of the list, below the server's URL. */
  readonly path: string;
  readonly #send: SendApiRequest;

  /**
   * The resource `id`, over `send`. {@linkcode Cluster.resource} makes one.
   *
   * @throws {TargetError} If a part of `id` is nothing that a path can have.
   */
  constructor(send: SendApiRequest, id: ResourceId) {
    this.path = resourcePath(id);
    this.#send = send;
  }

  /** The object called `name`. */
  async get(name: string, options: { readonly signal?: AbortSignal } = {}): Promise<T> {
    return await this.#json("GET", this.#of(name), options);
  }

  /** All objects, asked for in parts. */
  async list(options: ListOptions = {}): Promise<ResourceList<T>> {
    const { limit = 500, signal } = options;
    const items: T[] = [];
    const query = selectors(options);
    query.set("limit", String(limit));
    for (;;) {
      let part: Part<T>;
      try {
        part = await this.#json("GET", this.path, { query, ...(signal && { signal }) });
      } catch (error) {
        // The list took longer than the server remembers (410): all at once, as client-go's pager.
        if (!(error instanceof ApiError && error.code === 410 && query.has("continue"))) throw error;
        items.length = 0;
        query.delete("continue");
        query.delete("limit");
        continue;
      }
      items.push(...part.items);
      const next = part.metadata.continue;
      if (!next) return { items, resourceVersion: part.metadata.resourceVersion ?? "" };
      query.set("continue", next);
    }
  }

  /**
   * What the objects are now, and from then on every change, until `signal` aborts (the iteration ends then). It survives
   * what ends a watch: it goes on from where it was, and lists anew (`SYNC`) where the server no longer knows that.
   * `onRetry` is told of each failure; only the first list's is thrown. What `onRetry` throws is reported as an event listener's is,
   * and changes nothing.
   */
  watch(
    options: ListOptions & { readonly signal: AbortSignal; readonly onRetry?: (error: unknown) => void },
  ): AsyncGenerator<ResourceEvent<T>> {
    const list = () => this.list(options);
    return follow(this.#send, this.path, list, Object.fromEntries(selectors(options)), options);
  }

  /** Creates an object; 409 if there is one of that name. */
  create(object: Manifest, options: WriteOptions = {}): Promise<T> {
    return this.#write("POST", this.path, object, "application/json", options);
  }

  /** Replaces an object; 409 if it is no longer at `metadata.resourceVersion`. */
  async update(object: Manifest, options: WriteOptions = {}): Promise<T> {
    return await this.#write("PUT", this.#of(object.metadata.name, options), object, "application/json", options);
  }

  /** Changes fields of an object (JSON merge patch, RFC 7396: `null` removes). */
  async patch(name: string, patch: unknown, options: WriteOptions = {}): Promise<T> {
    return await this.#write("PATCH", this.#of(name, options), patch, "application/merge-patch+json", options);
  }

  /** Makes an object's fields what `object` says, and leaves everybody else's alone (server-side apply). */
  async apply(object: Manifest, options: ApplyOptions): Promise<T> {
    return await this.#write(
      "PATCH",
      this.#of(object.metadata.name, options),
      object,
      "application/apply-patch+yaml",
      options,
    );
  }

  /** Asks for an object's deletion. It may stay for a while: pods end first, finalizers are waited for. */
  async delete(name: string, options: DeleteOptions = {}): Promise<void> {
    const { propagationPolicy, uid, signal } = options;
    const body = encode({
      apiVersion: "v1",
      kind: "DeleteOptions",
      ...(propagationPolicy && { propagationPolicy }),
      ...(uid !== undefined && { preconditions: { uid } }),
    });
    await this.#json("DELETE", this.#of(name), {
      body,
      headers: [["Content-Type", "application/json"]],
      ...(signal && { signal }),
    });
  }

  #of(name: string, { subresource }: WriteOptions = {}): string {
    const part = subresource === undefined ? "" : `/${pathSegment(subresource, "subresource")}`;
    return `${this.path}/${pathSegment(name)}${part}`;
  }

  #write(
    method: string,
    path: string,
    object: unknown,
    type: string,
    options: ApplyOptions | WriteOptions,
  ): Promise<T> {
    const query = new URLSearchParams();
    if (options.fieldManager !== undefined) query.set("fieldManager", options.fieldManager);
    if ("force" in options && options.force) query.set("force", "true");
    return this.#json(method, path, {
      query,
      body: encode(object), // JSON is YAML, also to `apply-patch+yaml`.
      headers: [["Content-Type", type]],
      ...(options.signal && { signal: options.signal }),
    });
  }

  async #json<R>(method: string, path: string, options: Parameters<SendApiRequest>[1]): Promise<R> {
    const headers: Array<readonly [string, string]> = [["Accept", "application/json"], ...(options.headers ?? [])];
    const response = await this.#send(path, { ...options, method, headers });
    if (!response.ok) throw await ApiError.from(response);
    return await readJson(response, method, path);
  }
}

interface Part<T> {
  readonly items: readonly T[];
  readonly metadata: Pick<ObjectMeta, "resourceVersion"> & { readonly continue?: string };
}

function selectors({ labelSelector, fieldSelector }: ListOptions): URLSearchParams {
  return new URLSearchParams({
    ...(labelSelector !== undefined && { labelSelector }),
    ...(fieldSelector !== undefined && { fieldSelector }),
  });
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
