/**
 * A watch that goes on: what ends or breaks it is made good, and nothing is missed (client-go `tools/cache/reflector.go`).
 *
 * @module
 */
import { pause, tell } from "../bytes/mod.ts";
import type { Status } from "../channels/mod.ts";
import { ApiError } from "./errors.ts";
import type { KubernetesObject } from "./objects.ts";
import type { ResourceList } from "./resource.ts";
import { type SendRequest, watch } from "./watch.ts";

/** What a watch tells. */
export type ResourceEvent<T> =
  /** These are all objects there are; whatever was known before counts no more. Comes first, and where events may be missing. */
  | { readonly type: "SYNC"; readonly objects: readonly T[] }
  /** One object is there, is another now, or is gone (`object` is how it was last). */
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: T };

/** How {@linkcode follow} goes about it. */
export interface FollowOptions {
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Is told of each failure that is made good. What it throws is reported, and changes nothing. */
  readonly onRetry?: (error: unknown) => void;
}

/**
 * Yields what `list` gives, and then the changes of the objects at `path`, until the signal aborts.
 *
 * @throws What the first `list` throws: then nothing works yet, and its caller should know.
 */
export async function* follow<T extends KubernetesObject>(
  send: SendRequest,
  path: string,
  list: () => Promise<ResourceList<T>>,
  query: Readonly<Record<string, string>>,
  { signal, onRetry }: FollowOptions,
): AsyncGenerator<ResourceEvent<T>> {
  let version: string | undefined;
  let first = true;
  let delay = FIRST_DELAY;
  while (!signal.aborted) {
    try {
      if (version === undefined) {
        const { items, resourceVersion } = await list();
        version = resourceVersion;
        first = false;
        yield { type: "SYNC", objects: items };
      }
      const began = performance.now();
      let silent = true;
      const from = { resourceVersion: version, allowWatchBookmarks: "true" };
      for await (const event of watch<T>(send, path, { ...query, ...from }, signal)) {
        if (event.type === "ERROR") {
          const status = event.object as unknown as Status;
          throw new ApiError(status.code ?? 500, status);
        }
        version = event.object.metadata.resourceVersion ?? version;
        if (performance.now() - began > MAX_DELAY) delay = FIRST_DELAY; // Not for one that tells a little and fails.
        silent = false;
        if (event.type !== "BOOKMARK") yield { type: event.type, object: event.object };
      }
      // The server ends a watch every few minutes; one that does so at once shall not be asked without a pause.
      const lasted = performance.now() - began;
      if (silent && lasted < SHORTEST_WATCH) throw new ApiError(200, { message: `the watch of ${path} ended at once` });
      if (lasted > FIRST_DELAY) continue;
    } catch (error) {
      if (signal.aborted) return;
      if (first) throw error;
      // A version that is too old (410), that a restored server does not have yet (504), an event that cannot be read: what
      // happened since cannot be told, only what is now. Who was not heard, or is busy, may know the version.
      if (error instanceof ApiError && error.code !== 429) version = undefined;
      tell(onRetry, error);
    }
    await pause(delay * (0.5 + Math.random() / 2), signal);
    delay = Math.min(delay * 2, MAX_DELAY);
  }
}

/** A watch that ends within this time without an event, in milliseconds, is taken for a refusal, as client-go does. */
const SHORTEST_WATCH = 1_000;

/** Before the next attempt, in milliseconds: twice as long each time, up to the second. */
const FIRST_DELAY = 500;
const MAX_DELAY = 5_000;
