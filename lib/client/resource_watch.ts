/**
 * A watch that goes on: what ends or breaks it is made good, and nothing is missed (client-go `tools/cache/reflector.go`).
 *
 * @module
 */
import { pause } from "../bytes/mod.ts";
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
  /** Is told of each failure that is made good. */
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
    const began = performance.now();
    const deadline = new AbortController();
    // A link that died says nothing: the server would have ended the watch by then.
    const timer = setTimeout(
      () => deadline.abort(new Error(`the watch of ${path} stalled`)),
      WATCH_SECONDS * 1000 + GRACE,
    );
    try {
      if (version === undefined) {
        const { items, resourceVersion } = await list();
        version = resourceVersion;
        first = false;
        yield { type: "SYNC", objects: items };
      }
      const from = { resourceVersion: version, allowWatchBookmarks: "true", timeoutSeconds: String(WATCH_SECONDS) };
      const until = AbortSignal.any([signal, deadline.signal]);
      for await (const event of watch<T>(send, path, { ...query, ...from }, until)) {
        if (event.type === "ERROR") {
          const status = event.object as unknown as Status;
          throw new ApiError(status.code ?? 500, status);
        }
        version = event.object.metadata.resourceVersion ?? version;
        delay = FIRST_DELAY;
        if (event.type !== "BOOKMARK") yield { type: event.type, object: event.object };
      }
      // The server ends a watch every few minutes; one that does so at once shall not be asked without a pause.
      if (performance.now() - began > FIRST_DELAY) continue;
    } catch (error) {
      if (signal.aborted) return;
      if (first) throw error;
      // 410 Gone: too old. What happened since cannot be told, only what is now.
      if (error instanceof ApiError && error.code === 410) version = undefined;
      onRetry?.(error);
    } finally {
      clearTimeout(timer);
    }
    await pause(delay * (0.5 + Math.random() / 2), signal);
    delay = Math.min(delay * 2, MAX_DELAY);
  }
}

/** How long one watch may last, in seconds, and how much longer it is waited for, in milliseconds. */
const WATCH_SECONDS = 300;
const GRACE = 15_000;

/** Before the next attempt, in milliseconds: twice as long each time, up to the second. */
const FIRST_DELAY = 500;
const MAX_DELAY = 5_000;
