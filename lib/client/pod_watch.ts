/**
 * Whether a pod is still there.
 *
 * @module
 */
import { pause } from "../bytes/mod.ts";
import { CredentialsError } from "../kubeconfig/mod.ts";
import { ApiError } from "./errors.ts";
import type { PodObject } from "./objects.ts";
import { objectPath, resourcePath } from "./resource_path.ts";
import { type SendRequest, watch } from "./watch.ts";

/** What a {@linkcode watchPod} tells. */
export interface PodWatcher {
  /** The pod has been asked to end; it may still run for a while. */
  terminating(): void;
  /** The pod runs no more: why, for people. */
  gone(reason: string): void;
  /** Nobody looks at the pod for now, since there are no credentials to do it with. Told once, until there are some again. */
  blind(reason: Error): void;
}

/**
 * Watches `pod` until it is gone or `signal` aborts. A port-forward cannot tell by itself: its connection stays
 * open and answers Pings after the pod has ended (kubernetes/kubernetes #67059).
 *
 * Where watching is not allowed the pod is looked at every five seconds, which needs no more than a forward itself does.
 *
 * @throws {TargetError} If no pod can have the name of `pod`.
 */
export async function watchPod(
  request: SendRequest,
  pod: PodObject,
  watcher: PodWatcher,
  signal: AbortSignal,
): Promise<void> {
  const { name, namespace = "default", uid } = pod.metadata;
  const id = { version: "v1", plural: "pods", namespace };
  const pods = resourcePath(id);
  const path = objectPath(id, name);
  const fieldSelector = `metadata.name=${name}`;
  let allowed = true;
  let terminating = false;
  /** From where to watch; `undefined` if the pod has to be looked at first. */
  let resourceVersion: string | undefined = pod.metadata.resourceVersion ?? "";
  let known = resourceVersion;
  let delay = FIRST_DELAY;
  let blind = false;

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
    let wait = 0;
    let next: string | undefined;
    try {
      if (resourceVersion === undefined) {
        const response = await request(path, { signal });
        blind = false;
        if (!response.ok) throw await ApiError.from(response, { signal });
        const now = await response.json() as PodObject;
        if (look(now)) return;
        resourceVersion = known = now.metadata.resourceVersion ?? "";
      }
      if (allowed) {
        const began = performance.now();
        for await (const event of watch<PodObject>(request, pods, { fieldSelector, resourceVersion }, signal)) {
          if (event.type === "ERROR") break; // The version is too old: the pod as it is now has a newer one.
          delay = FIRST_DELAY;
          if (look(event.type === "DELETED" ? undefined : event.object)) return;
        }
        // As a server ends it every few minutes, and not one that cannot be watched.
        if (performance.now() - began > MAX_DELAY) delay = FIRST_DELAY;
      }
    } catch (error) {
      if (signal.aborted) return;
      const code = error instanceof ApiError ? error.code : 0;
      if (resourceVersion === undefined && code === 404) return void look(undefined);
      if (code === 403) {
        // Who may watch pods may not always look at one: it goes on from the version that was known.
        if (resourceVersion === undefined) next = allowed ? known : undefined;
        else allowed = false;
      }
      if (error instanceof CredentialsError) {
        wait = CREDENTIALS_DELAY; // A plugin that fails may have asked a person.
        if (!blind) watcher.blind(error);
        blind = true;
      }
      // All else is no news of the pod: a server restarts, or is not to be reached, which whoever needs it learns by himself.
    }
    resourceVersion = next;
    await pause(wait || (allowed ? delay * (0.5 + Math.random() / 2) : POLL), signal);
    delay = Math.min(delay * 2, MAX_DELAY);
  }
}

/** Before the pod is looked at again, in milliseconds: twice as long each time, unless something was told meanwhile. */
const FIRST_DELAY = 250;
const MAX_DELAY = 5_000;

/** The same where the credentials could not be had: each attempt may run a program. */
const CREDENTIALS_DELAY = 30_000;

/** Between two looks where watching is not allowed, in milliseconds. */
const POLL = 5_000;
