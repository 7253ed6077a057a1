/**
 * From what a user types (`web-0`, `deploy/web`, `svc/web`) to a pod and a container,
 * by kubectl's rules and with kubectl's words.
 *
 * @module
 */
import { pause } from "../bytes/mod.ts";
import type { Status } from "../channels/mod.ts";
import { ApiError, TargetError } from "./errors.ts";
import type { ContainerSpec, LabelSelector, ObjectMeta, PodObject } from "./objects.ts";
import { namespacePath, objectPath, type ResourceId, resourcePath } from "./resource_path.ts";
import { watch, type WatchEvent } from "./watch.ts";

/** The part of a cluster that finding a pod takes. */
export interface ObjectReader {
  /** GETs JSON from below the server's URL. */
  get<T>(path: string, options?: { query?: URLSearchParams; signal?: AbortSignal }): Promise<T>;
  /** Sends a request; the answer's body is not read yet. */
  request(path: string, options?: { query?: URLSearchParams; signal?: AbortSignal }): Promise<Response>;
}

/** Options of {@linkcode resolvePod}. */
export interface ResolvePodOptions {
  /** Where to look. */
  readonly namespace: string;
  /** How long to wait for a first pod, in milliseconds. Default 60 000, as kubectl's `--pod-running-timeout`. */
  readonly timeout?: number;
  /** Which pods of a workload or service will do. Default: all, as in kubectl. */
  readonly accept?: (pod: PodObject) => boolean;
  /** Gives up. */
  readonly signal?: AbortSignal;
}

interface ResourceType extends Omit<ResourceId, "namespace"> {
  /** The Go type, which kubectl's messages name. */
  readonly goType: string;
  readonly names: readonly string[];
}

const POD: ResourceType = { goType: "v1.Pod", version: "v1", plural: "pods", names: ["pod", "pods", "po"] };

/** What has pods (kubectl `polymorphichelpers/attachablepodforobject.go`). */
const RESOURCE_TYPES: readonly ResourceType[] = [
  POD,
  { goType: "v1.Service", version: "v1", plural: "services", names: ["service", "services", "svc"] },
  {
    goType: "v1.ReplicationController",
    version: "v1",
    plural: "replicationcontrollers",
    names: ["replicationcontroller", "replicationcontrollers", "rc"],
  },
  {
    goType: "v1.Deployment",
    group: "apps",
    version: "v1",
    plural: "deployments",
    names: ["deployment", "deployments", "deploy"],
  },
  {
    goType: "v1.ReplicaSet",
    group: "apps",
    version: "v1",
    plural: "replicasets",
    names: ["replicaset", "replicasets", "rs"],
  },
  {
    goType: "v1.StatefulSet",
    group: "apps",
    version: "v1",
    plural: "statefulsets",
    names: ["statefulset", "statefulsets", "sts"],
  },
  {
    goType: "v1.DaemonSet",
    group: "apps",
    version: "v1",
    plural: "daemonsets",
    names: ["daemonset", "daemonsets", "ds"],
  },
  { goType: "v1.Job", group: "batch", version: "v1", plural: "jobs", names: ["job", "jobs"] },
];

/**
 * The pod that `target` means: a pod's name, `pod/NAME`, or `TYPE/NAME` of something
 * that selects pods, of which the best candidate is taken (or the first to appear).
 *
 * @throws {TargetError} If the target has no pods, or none in time, or is nothing that can be there.
 * @throws {ApiError} If the server refuses to show it.
 */
export async function resolvePod(
  reader: ObjectReader,
  target: string,
  options: ResolvePodOptions,
): Promise<PodObject> {
  const { type, name } = parseTarget(target);
  const { namespace } = options;
  const path = objectPath({ ...type, namespace }, name);
  if (type === POD) return await getNamespaced<PodObject>(reader, path, options);
  const owner = await getNamespaced<Owner>(reader, path, options);
  const selector = selectorOf(type, owner);
  return await firstPod(reader, resourcePath({ ...POD, namespace }), selector, options);
}

function accepts(pod: PodObject, { accept }: ResolvePodOptions): boolean {
  return accept?.(pod) ?? true;
}

/** GETs an object; if it is missing because its namespace is, the error says that. */
async function getNamespaced<T>(reader: ObjectReader, path: string, options: ResolvePodOptions): Promise<T> {
  const get = options.signal ? { signal: options.signal } : {};
  try {
    return await reader.get<T>(path, get);
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 404) throw error;
    const response = await reader.request(namespacePath(options.namespace), get);
    if (response.status === 404) throw await ApiError.from(response, options);
    await response.body?.cancel(); // It is there, or the caller may not know: the first answer counts.
    throw error;
  }
}

interface Owner {
  readonly metadata: ObjectMeta;
  readonly spec?: { readonly selector?: LabelSelector | Readonly<Record<string, string>> };
}

interface PodList {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly items: readonly PodObject[];
}

function parseTarget(target: string): { type: ResourceType; name: string } {
  const slash = target.indexOf("/");
  if (slash < 0) return { type: POD, name: target };
  const word = target.slice(0, slash);
  const name = target.slice(slash + 1);
  if (name === "" || word === "" || name.includes("/")) {
    throw new TargetError(
      "arguments in resource/name form must have a single resource and name",
    );
  }
  const [kind = ""] = word.toLowerCase().split(".", 1);
  const type = RESOURCE_TYPES.find((type) => type.names.includes(kind));
  if (!type) {
    throw new TargetError(
      `cannot find pods of a ${JSON.stringify(word)}: expected one of ` +
        RESOURCE_TYPES.map((type) => type.names[0]).join(", "),
    );
  }
  return { type, name };
}

function selectorOf(type: ResourceType, owner: Owner): string {
  const selector = owner.spec?.selector;
  if (type.plural === "services" || type.plural === "replicationcontrollers") {
    const labels = Object.entries(selector ?? {});
    if (labels.length === 0 && type.plural === "services") {
      throw new TargetError(
        `cannot attach to *v1.Service: invalid service '${owner.metadata.name}': Service is defined without a selector`,
      );
    }
    return labels.map(([key, value]) => `${key}=${value}`).join(",");
  }
  return formatSelector((selector ?? {}) as LabelSelector);
}

/** A label selector in the form that a query takes (apimachinery `labels.Selector`). */
export function formatSelector(selector: LabelSelector): string {
  const terms = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    if (operator === "In") terms.push(`${key} in (${values.join(",")})`);
    else if (operator === "NotIn") terms.push(`${key} notin (${values.join(",")})`);
    else if (operator === "Exists") terms.push(key);
    else if (operator === "DoesNotExist") terms.push(`!${key}`);
    else throw new TargetError(`${JSON.stringify(operator)} is not a valid label selector operator`);
  }
  return terms.join(",");
}

/**
 * Orders pods from the best candidate to the worst: assigned, running, ready, not being deleted, to be deleted later, ready
 * for longer, restarted less, older (kubectl `pkg/util/podutils`, ActivePods reversed).
 */
export function compareActivity(a: PodObject, b: PodObject): number {
  return (Number(isAssigned(b)) - Number(isAssigned(a))) ||
    (phaseRank(b) - phaseRank(a)) ||
    (Number(readySince(b) !== undefined) - Number(readySince(a) !== undefined)) ||
    (deletion(b) - deletion(a)) ||
    ((readySince(a) ?? 0) - (readySince(b) ?? 0)) ||
    (restarts(a) - restarts(b)) ||
    (created(a) - created(b));
}

function isAssigned(pod: PodObject): boolean {
  return Boolean(pod.spec?.nodeName);
}

function phaseRank(pod: PodObject): number {
  return ["Pending", "Unknown", "Running"].indexOf(pod.status?.phase ?? "");
}

/** When a pod is to be gone; of two that stay the difference is NaN, which is none. */
function deletion({ metadata: { deletionTimestamp } }: PodObject): number {
  return deletionTimestamp ? Date.parse(deletionTimestamp) : Infinity;
}

function readySince(pod: PodObject): number | undefined {
  const ready = pod.status?.conditions?.find((condition) => condition.type === "Ready" && condition.status === "True");
  if (!ready) return undefined;
  return ready.lastTransitionTime ? Date.parse(ready.lastTransitionTime) : Infinity;
}

function restarts(pod: PodObject): number {
  return Math.max(0, ...(pod.status?.containerStatuses ?? []).map((status) => status.restartCount ?? 0));
}

function created(pod: PodObject): number {
  return pod.metadata.creationTimestamp ? Date.parse(pod.metadata.creationTimestamp) : Infinity;
}

/** The best of the pods that are there, or the first to appear. */
async function firstPod(
  reader: ObjectReader,
  path: string,
  selector: string,
  options: ResolvePodOptions,
): Promise<PodObject> {
  const deadline = AbortSignal.timeout(options.timeout ?? 60_000);
  const signal = options.signal ? AbortSignal.any([deadline, options.signal]) : deadline;
  const labelSelector = selector;
  try {
    for (;;) {
      const list = await reader.get<PodList>(path, { query: new URLSearchParams({ labelSelector }), signal });
      const best = list.items.filter((pod) => accepts(pod, options)).toSorted(compareActivity)[0];
      if (best) return best;
      const query = { labelSelector, resourceVersion: list.metadata?.resourceVersion ?? "" };
      const found = await nextPod(watch(reader.request.bind(reader), path, query, signal), options);
      if (found) return found;
      await pause(RETRY, signal);
      signal.throwIfAborted();
    }
  } catch (error) {
    if (!deadline.aborted || options.signal?.aborted) throw error;
    throw new TargetError("timed out waiting for the condition");
  }
}

/** Between the end of a watch and the next one, in milliseconds. */
const RETRY = 500;

/** The first pod of a watch that appears or changes; `undefined` if the watch ends, as a server's does every few minutes. */
async function nextPod(
  events: AsyncIterable<WatchEvent<PodObject | Status>>,
  options: ResolvePodOptions,
): Promise<PodObject | undefined> {
  for await (const { type, object } of events) {
    if (type === "ERROR") {
      const status = object as Status;
      if (status.code === 410) return undefined; // The version is too old by now.
      throw new ApiError(status.code ?? 0, status);
    }
    const pod = object as PodObject;
    if ((type === "ADDED" || type === "MODIFIED") && accepts(pod, options)) return pod;
  }
  return undefined;
}

/**
 * Refuses a pod whose containers have ended.
 *
 * @throws {TargetError} With kubectl's words; `action` is `exec into` or `attach`.
 */
export function refuseCompleted(pod: PodObject, action: string): void {
  const phase = pod.status?.phase;
  if (phase === "Succeeded" || phase === "Failed") {
    throw new TargetError(`cannot ${action} a container in a completed pod; current phase is ${phase}`);
  }
}

/**
 * Refuses a pod that does not run: its ports are nobody's.
 *
 * @throws {TargetError} With kubectl's words.
 */
export function refuseNotRunning(pod: PodObject): void {
  const phase = pod.status?.phase;
  if (phase !== "Running") {
    throw new TargetError(`unable to forward port because pod is not running. Current status=${phase}`);
  }
}

/** Whether a pod can be forwarded to, and for longer than it takes to end. */
export function isForwardable(pod: PodObject): boolean {
  return pod.status?.phase === "Running" && !pod.metadata.deletionTimestamp;
}

/** A container that was chosen, and whether the choice should be told. */
export interface ChosenContainer {
  /** The container. */
  readonly container: ContainerSpec;
  /** kubectl's `Defaulted container …` line, where a person should know of the choice. */
  readonly notice?: string;
}

/** The annotation that names the container to take when none is named. */
const DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container";

/**
 * The container `name` of `pod`, or its default one
 * (kubectl `pkg/cmd/util/podcmd/podcmd.go`).
 *
 * @throws {TargetError} If there is none of that name, or none at all.
 */
export function chooseContainer(pod: PodObject, name?: string): ChosenContainer {
  const regular = pod.spec?.containers ?? [];
  const ephemeral = pod.spec?.ephemeralContainers ?? [];
  const init = pod.spec?.initContainers ?? [];
  const all = [...regular, ...ephemeral, ...init];
  const names = [
    ...regular.map((container) => container.name),
    ...ephemeral.map((container) => `${container.name} (ephem)`),
    ...init.map((container) => `${container.name} (init)`),
  ].join(", ");
  const wanted = name || pod.metadata.annotations?.[DEFAULT_CONTAINER];
  if (wanted) {
    const container = all.find((container) => container.name === wanted);
    if (container) return { container };
    throw new TargetError(`container ${wanted} is not valid for pod ${pod.metadata.name} out of: ${names}`);
  }
  const [container] = regular;
  if (!container) {
    throw new TargetError(
      `pod ${pod.metadata.namespace ?? ""}/${pod.metadata.name} does not have any containers`,
    );
  }
  if (all.length === 1) return { container };
  return { container, notice: `Defaulted container "${container.name}" out of: ${names}` };
}
