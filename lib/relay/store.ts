/**
 * The objects of a resource as they are now, kept by a watch.
 *
 * @module
 */
import type { KubernetesObject, ListOptions, Resource } from "../client/mod.ts";

/** Is told of an object that appeared, changed or is gone. */
export type Changed<T> = (before: T | undefined, after: T | undefined) => void;

/** A resource's objects, by name. */
export class Store<T extends KubernetesObject> {
  /** The resource. */
  readonly resource: Resource<T>;
  readonly #options: ListOptions;
  readonly #objects = new Map<string, T>();

  /** A store of those of the resource's objects that `options` select. */
  constructor(resource: Resource<T>, options: ListOptions = {}) {
    this.resource = resource;
    this.#options = options;
  }

  /** The object called `name`. */
  get(name: string): T | undefined {
    return this.#objects.get(name);
  }

  /** All objects. */
  values(): T[] {
    return [...this.#objects.values()];
  }

  /**
   * Keeps the store until `signal` aborts.
   *
   * @param synced Is called once all objects are known.
   * @throws {ApiError} If they cannot be listed at first.
   */
  async run(
    signal: AbortSignal,
    { changed, synced, onRetry }: { changed: Changed<T>; synced: () => void; onRetry: (error: unknown) => void },
  ): Promise<void> {
    for await (const event of this.resource.watch({ ...this.#options, signal, onRetry })) {
      if (event.type !== "SYNC") {
        this.#set(event.object.metadata.name, event.type === "DELETED" ? undefined : event.object, changed);
        continue;
      }
      const names = new Set(event.objects.map(({ metadata }) => metadata.name));
      for (const name of this.#objects.keys()) if (!names.has(name)) this.#set(name, undefined, changed);
      for (const object of event.objects) this.#set(object.metadata.name, object, changed);
      synced();
    }
  }

  #set(name: string, after: T | undefined, changed: Changed<T>): void {
    const before = this.#objects.get(name);
    if (after) this.#objects.set(name, after);
    else this.#objects.delete(name);
    changed(before, after);
  }
}
