/**
 * Whether a pod is still there.
 *
 * @module
 */
import { pause } from "../bytes/mod.ts";
import { ApiError } from "./errors.ts";
import type { PodObject } from "./objects.ts";
import { type SendRequest, watch } from "./watch.ts";

/** What a {@linkcode watchPod} tells. */
export interface PodWatcher {
  /** The pod has been asked to end; it may still run for a while. */
  terminating(): void;
  /** The pod runs no more: why, for people. */
  gone(reason: string): void;
}

/**
 * Watches `pod` until it is gone or `signal` aborts. A port-forward cannot tell by itself: its connection stays
 * open and answers Pings after the pod has ended (kubernetes/kubernetes #67059).
 *
 * Where watching is not allowed the pod is looked at every five seconds, which needs no more than a forward itself does.
 */
export async function watchPod(
  request: SendRequest,
  pod: PodObject,
  watcher: PodWatcher,
  signal: AbortSignal,
): Promise<void> {
  const { name, namespace = "default", uid } = pod.metadata;
  const pods = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`;
  const fieldSelector = `metadata.name=${name}`;
  let allowed = true;
  let terminating = false;
  let resourceVersion = pod.metadata.resourceVersion ?? "";

  /** Whether it is over. */
  const look = (now: PodObject | undefined): boolean => {
    const phase = now?.status?.phase;
    if (!now || now.metadata.uid !== uid) watcher.gone(`pod ${namespace}/${name} was deleted`);
    else if (phase === "Succeeded" || phase === "Failed") watcher.gone(`pod ${namespace}/${name} has ended (${phase})`);
    else if (now.metadata.deletionTimestamp && !terminating) {
      terminating = true;
      watcher.terminating();
      return false;
    } else return false;
    return true;
  };

  while (!signal.aborted) {
    try {
      if (allowed) {
        for await (const event of watch<PodObject>(request, pods, { fieldSelector, resourceVersion }, signal)) {
          if (event.type === "ERROR") break; // The version is too old: the pod as it is now has a newer one.
          if (look(event.type === "DELETED" ? undefined : event.object)) return;
        }
      }
    } catch (error) {
      // A server that restarts is no news of the pod.
      if (error instanceof ApiError && error.code === 403) allowed = false;
    }
    await pause(allowed ? RETRY : POLL, signal);
    try {
      const response = await request(`${pods}/${encodeURIComponent(name)}`, { signal });
      if (!response.ok) throw await ApiError.from(response, { signal });
      const now = await response.json() as PodObject;
      if (look(now)) return;
      resourceVersion = now.metadata.resourceVersion ?? "";
    } catch (error) {
      if (error instanceof ApiError && error.code === 404) return void look(undefined);
      // As above: whoever needs the server now learns it by himself.
    }
  }
}

/** Between the end of a watch and the next one, in milliseconds. */
const RETRY = 500;

/** Between two looks where watching is not allowed, in milliseconds. */
const POLL = 5_000;
