/**
 * The operator: what `Relay` objects ask for becomes ConfigMaps, DaemonSets and Services, and what became of it their status.
 *
 * Relays for the same nodes are one set and share two DaemonSets. A set is looked at as a whole whenever anything of it has
 * changed: what it should be is computed from what is there, never from what has happened. So it matters not what was missed.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { messageOf, PodwireError } from "../bytes/mod.ts";
import { ApiError, type Cluster, type KubernetesObject, type Manifest } from "../client/mod.ts";
import { type Allowed, refusal } from "./allow_list.ts";
import type { RelaySpec } from "./config.ts";
import { RelayConfigError } from "./config_reader.ts";
import { GROUP, OPERATOR, type RelayObject, toRelaySpec, VERSION } from "./crd.ts";
import { type RelayHalves, RelayHalvesError, splitRelay } from "./halves.ts";
import { type ConfigData, halfObjects, relayService, type RelaySet } from "./manifest.ts";
import { parseRelays } from "./parse_config.ts";
import { type Finding, findNode, findReady, type NodeFinding, type RelayPod, relayStatus } from "./status.ts";
import { Store } from "./store.ts";
import { WorkQueue } from "./work_queue.ts";

/** What the operator works with. */
export interface OperatorOptions {
  /** The namespace of the relays, and of what is made for them. */
  readonly namespace: string;
  /** The image of the relays' pods: Deno, and podwire as `/podwire.js`. */
  readonly image: string;
  /** When it is pulled; as Kubernetes has it, if absent. */
  readonly imagePullPolicy?: string;
  /** What may be exposed; nothing else is. */
  readonly allow: readonly Allowed[];
  /** Who writes events: this instance of the operator. */
  readonly identity: string;
  /** Is told what goes on. */
  readonly log: (line: string) => void;
}

const INSTANCE = "app.kubernetes.io/instance";
const MANAGED_BY = "app.kubernetes.io/managed-by";
const OURS = { [MANAGED_BY]: OPERATOR };

/** On a pod: the digest of the configuration that it shall have. The kubelet looks at a pod's volumes when the pod changes. */
const CONFIG_DIGEST = "podwire.dev/config-digest";

/** Why a relay that is not accepted is not ready: no news of its own. */
const NOT_ACCEPTED = "NotAccepted";

/** A relay was accepted, but what it asks for could not be made. */
const APPLY_FAILED = "ApplyFailed";
const NAME_IN_USE = "NameInUse";

/** How many sets are worked on at once. */
const CONCURRENCY = 4;

/** The label that all nodes of relays have. */
const OS = "kubernetes.io/os";
const LINUX = "linux";

/** What a set's configuration may come to in bytes: a ConfigMap holds 1 MiB, some of it for podwire's own relay. */
const MAX_CONFIG = 1_000_000;

/** What a relay takes in its ConfigMap beside its configuration, at most: an owner reference, and its managed field. */
const METADATA_SIZE = 512;

/** An object that is in our way belongs to somebody else. */
class NotOursError extends PodwireError {
  override name = "NotOursError";
}

/** What is to be said of a relay, and the relay itself unless it may not be. */
interface Verdict {
  readonly relay: RelayObject;
  readonly spec?: RelaySpec;
  readonly accepted: Finding;
}

interface ConfigMap extends KubernetesObject {
  readonly immutable?: boolean;
}

/** Keeps relays in line until its signal aborts. */
export class Operator {
  readonly #options: OperatorOptions;
  readonly #relays: Store<RelayObject>;
  readonly #nodes: Store<KubernetesObject>;
  readonly #pods: Store<RelayPod>;
  readonly #configMaps: Store<ConfigMap>;
  readonly #daemonSets: Store<KubernetesObject>;
  readonly #services: Store<KubernetesObject>;
  readonly #cluster: Cluster;
  readonly #queue: WorkQueue;
  /** Ends all that is under way: whoever leads next shall not meet our requests. */
  readonly #stopping = new AbortController();
  /** What was written last, and the object that came of it, by path. */
  readonly #written = new Map<string, { readonly text: string; readonly object: KubernetesObject }>();

  /** An operator for the relays of one namespace of `cluster`. */
  constructor(cluster: Cluster, options: OperatorOptions) {
    const { namespace } = options;
    const ours = { labelSelector: `${MANAGED_BY}=${OPERATOR}` };
    const core = (plural: string) => cluster.resource<KubernetesObject>({ version: "v1", plural, namespace });
    this.#options = options;
    this.#cluster = cluster;
    this.#relays = new Store(cluster.resource({ group: GROUP, version: VERSION, plural: "relays", namespace }));
    this.#nodes = new Store(cluster.resource({ version: "v1", plural: "nodes" }));
    this.#pods = new Store(core("pods"), ours);
    this.#configMaps = new Store(core("configmaps"), ours);
    this.#services = new Store(core("services"), ours);
    this.#daemonSets = new Store(
      cluster.resource({ group: "apps", version: "v1", plural: "daemonsets", namespace }),
      ours,
    );
    this.#queue = new WorkQueue((name) => this.#reconcile(name), {
      concurrency: CONCURRENCY,
      onFailure: (name, error, delay) => {
        if (!this.#stopping.signal.aborted) options.log(`${name}: ${messageOf(error)}; again in ${delay} ms`);
      },
    });
  }

  /**
   * Works until `signal` aborts. Runs once.
   *
   * @throws {PodwireError} If one of the resources cannot be listed: the custom resource is missing, or a right.
   */
  async run(signal: AbortSignal): Promise<void> {
    const stop = () => this.#stopping.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    let missing = 6; // Nothing is done, and nothing taken away, before everything is known.
    const keep = <T extends KubernetesObject>(store: Store<T>, setsOf: (before?: T, after?: T) => Iterable<string>) =>
      store.run(this.#stopping.signal, {
        changed: (before, after) => {
          if (before && !after) this.#forget(store, before);
          if (missing > 0) return;
          for (const name of setsOf(before, after)) this.#queue.add(name);
        },
        synced: once(() => {
          if (--missing === 0) this.#setNames().forEach((name) => this.#queue.add(name));
        }),
        onRetry: (error) => this.#options.log(`watching ${store.resource.path} again: ${messageOf(error)}`),
      }).catch((cause) => {
        const hint = "`podwire relay crd` prints what the operator needs";
        throw new PodwireError(`cannot list ${store.resource.path}: ${messageOf(cause)}; ${hint}`, { cause });
      });
    const byLabel = (...objects: Array<KubernetesObject | undefined>) =>
      objects.flatMap((object) => object?.metadata.labels?.[INSTANCE] ?? []);
    // A node writes its status all the time; only its labels say whose it is.
    const byNode = (before?: KubernetesObject, after?: KubernetesObject) =>
      sameLabels(before, after) ? [] : this.#setNames();
    try {
      await Promise.all([
        keep(this.#relays, (...relays) => relays.flatMap((relay) => relay ? setName(relay) : [])),
        keep(this.#nodes, byNode),
        ...[this.#configMaps, this.#daemonSets, this.#services].map((store) => keep(store, byLabel)),
        keep(this.#pods, byLabel),
      ]);
    } finally {
      stop(); // One of them may have failed.
      signal.removeEventListener("abort", stop);
      await this.#queue.close();
    }
  }

  /** The names of all sets that there should be, or of which something is left. */
  #setNames(): Set<string> {
    const children = [this.#configMaps, this.#daemonSets, this.#services].flatMap((store) => store.values());
    const names = children.flatMap(({ metadata }) => metadata.labels?.[INSTANCE] ?? []);
    return new Set([...names, ...this.#relays.values().map(setName)]);
  }

  /** Makes one set what it should be. */
  async #reconcile(name: string): Promise<void> {
    const members = this.#relays.values()
      .filter((relay) => setName(relay) === name && !relay.metadata.deletionTimestamp)
      .sort(compareAge);
    const verdicts = this.#judge(members);
    const accepted = verdicts.filter((verdict) => verdict.spec);
    const set: RelaySet = {
      name,
      namespace: this.#options.namespace,
      image: this.#options.image,
      ...(this.#options.imagePullPolicy !== undefined && { imagePullPolicy: this.#options.imagePullPolicy }),
      relays: accepted.flatMap(({ spec }) => spec ?? []),
      nodeSelector: Object.fromEntries(members[0] ? nodeLabels(members[0]) : []),
      labels: OURS,
      ownerReferences: accepted.map(({ relay }) => ownerOf(relay)),
    };
    const errors: unknown[] = [];
    const attempt = (work: () => Promise<void>) =>
      work().catch((error) => {
        errors.push(error);
        return error;
      });
    const halves = await attempt(() => accepted.length > 0 ? this.#keepHalves(set) : this.#removeHalves(name));
    await attempt(() => this.#removeServices(name));
    const pods = this.#pods.values().filter(({ metadata }) => metadata.labels?.[INSTANCE] === name);
    const nodes = this.#nodesOf(set).map((node) => findNode(node, pods));
    for (const verdict of verdicts) {
      const service = await attempt(() => this.#keepService(set, verdict));
      await attempt(() => this.#tell(verdict, nodes, halves ?? service));
    }
    if (errors.length > 1) throw new AggregateError(errors, errors.map(messageOf).join("; "));
    if (errors.length > 0) throw errors[0];
  }

  /** Which of the relays of a set may be. Where they cannot all be, the older ones are. */
  #judge(members: readonly RelayObject[]): Verdict[] {
    const ports = new Map<string, string>();
    let total = 0;
    return members.map((relay): Verdict => {
      const refuse = (reason: string, message: string): Verdict => {
        return { relay, accepted: { status: "False", reason, message } };
      };
      const spec = toRelaySpec(relay);
      const os = relay.spec.nodeSelector[OS] ?? LINUX;
      if (os !== LINUX) return refuse("Invalid", `spec.nodeSelector: ${OS} must be ${LINUX}, not ${os}`);
      let checked: ReturnType<typeof checkHalves>;
      try {
        checked = checkHalves(spec);
      } catch (error) {
        if (!(error instanceof PodwireError)) throw error;
        return refuse("Invalid", describe(error));
      }
      const { port, protocol, size } = checked;
      const no = refusal(this.#options.allow, spec);
      if (no !== undefined) return refuse("NotAllowed", no);
      const owner = ports.get(`${port}/${protocol}`);
      if (owner !== undefined) return refuse("PortInUse", `the relay ${owner} of the same nodes has port ${port}`);
      if (total + size > MAX_CONFIG) {
        return refuse("TooLarge", `with it the relays of these nodes would need more than ${MAX_CONFIG} bytes`);
      }
      total += size;
      ports.set(`${port}/${protocol}`, spec.name);
      return {
        relay,
        spec,
        accepted: { status: "True", reason: "Allowed", message: "the operator's --allow names it" },
      };
    });
  }

  async #keepHalves(set: RelaySet): Promise<void> {
    // Nothing unfreezes a ConfigMap, and the kubelet looks at it no more: its pods have to be others.
    const frozen = this.#configMaps.values().some(({ immutable, metadata }) =>
      immutable && metadata.labels?.[INSTANCE] === set.name
    );
    if (frozen) await this.#removeHalves(set.name);
    for (const half of ["node", "cluster"] as const) {
      const { configMap, daemonSet } = halfObjects(set, half);
      await this.#keep(this.#configMaps, configMap);
      await this.#keep(this.#daemonSets, daemonSet);
      await this.#refresh(set.name, half, configMap);
    }
  }

  /** Has the kubelets look at the new configuration now, instead of within a minute or two. */
  async #refresh(name: string, half: string, { data }: ConfigData): Promise<void> {
    const digest = sha256(JSON.stringify(data));
    const outdated = this.#pods.values().filter(({ metadata }) =>
      metadata.labels?.[INSTANCE] === name && metadata.labels["app.kubernetes.io/component"] === half &&
      !metadata.deletionTimestamp && metadata.annotations?.[CONFIG_DIGEST] !== digest
    );
    for (const { metadata } of outdated) {
      const patch = { metadata: { annotations: { [CONFIG_DIGEST]: digest } } };
      const options = { fieldManager: OPERATOR, signal: this.#stopping.signal };
      await this.#pods.resource.patch(metadata.name, patch, options).catch(unlessGone);
    }
  }

  async #removeHalves(name: string): Promise<void> {
    for (const store of [this.#daemonSets, this.#configMaps]) {
      for (const { metadata } of store.values()) {
        if (metadata.labels?.[INSTANCE] === name) await this.#delete(store, metadata);
      }
    }
  }

  /** The Service of a relay that may be; none of another. */
  async #keepService(set: RelaySet, { relay, spec }: Verdict): Promise<void> {
    const there = this.#services.get(relay.metadata.name);
    if (!spec) return there && await this.#delete(this.#services, there.metadata);
    await this.#keep(this.#services, relayService({ ...set, ownerReferences: [ownerOf(relay)] }, spec));
  }

  /** Takes away Services of the set whose relays are gone. One whose relay moved to another set is that set's now. */
  async #removeServices(name: string): Promise<void> {
    for (const { metadata } of this.#services.values()) {
      if (metadata.labels?.[INSTANCE] !== name) continue;
      const relay = this.#relays.get(metadata.name);
      if (!relay || relay.metadata.deletionTimestamp) await this.#delete(this.#services, metadata);
    }
  }

  #nodesOf({ nodeSelector }: RelaySet): string[] {
    const wanted = Object.entries({ [OS]: LINUX, ...nodeSelector });
    return this.#nodes.values()
      .filter(({ metadata }) => wanted.every(([key, value]) => metadata.labels?.[key] === value))
      .map(({ metadata }) => metadata.name);
  }

  /** Writes a relay's status, and an event for what is new in it. */
  async #tell({ relay, spec, accepted }: Verdict, nodes: readonly NodeFinding[], failed: unknown): Promise<void> {
    const ready: Finding = accepted.status === "False"
      ? { status: "False", reason: NOT_ACCEPTED, message: accepted.message }
      : failed
      ? {
        status: "False",
        reason: failed instanceof NotOursError ? NAME_IN_USE : APPLY_FAILED,
        message: messageOf(failed),
      }
      : findReady(nodes);
    const { path } = this.#relays.resource;
    const told = this.#written.get(`${path}/${relay.metadata.name}/status`)?.object as RelayObject | undefined;
    const last = told?.metadata.uid === relay.metadata.uid ? told?.status : relay.status; // A watch may be behind.
    const status = relayStatus(relay, last, { accepted, ready, nodes: spec ? nodes : [] });
    const { name, namespace } = relay.metadata;
    if (!this.#relays.get(name)) return; // It went meanwhile.
    const object = { apiVersion: `${GROUP}/${VERSION}`, kind: "Relay", metadata: { name, namespace }, status };
    await this.#applyStatus(object as Manifest).catch(unlessGone);
    for (const { type, status: now, reason, message } of status.conditions ?? []) {
      const before = last?.conditions?.find((condition) => condition.type === type);
      if ((before?.status === now && before.reason === reason) || reason === NOT_ACCEPTED) continue;
      const wrong = now === "False" && (type === "Accepted" || reason === APPLY_FAILED || reason === NAME_IN_USE);
      await this.#record(relay, wrong ? "Warning" : "Normal", reason, message);
    }
  }

  /** An Event about a relay. It is for people: that it cannot be written stops nothing. */
  async #record(relay: RelayObject, type: "Normal" | "Warning", reason: string, message: string): Promise<void> {
    const { name, namespace, uid, resourceVersion } = relay.metadata;
    this.#options.log(`relay ${name}: ${reason}: ${message}`);
    const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const events = this.#cluster.resource({ version: "v1", plural: "events", namespace: this.#options.namespace });
    const event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: `${name}.${crypto.randomUUID()}`, namespace: this.#options.namespace },
      involvedObject: { apiVersion: `${GROUP}/${VERSION}`, kind: "Relay", name, namespace, uid, resourceVersion },
      type,
      reason,
      message: message.slice(0, 1024),
      count: 1,
      firstTimestamp: now,
      lastTimestamp: now,
      source: { component: OPERATOR },
      reportingComponent: OPERATOR,
      reportingInstance: this.#options.identity,
    };
    const { signal } = this.#stopping;
    await events.create(event, { signal }).catch((error) => this.#options.log(`no event written: ${messageOf(error)}`));
  }

  /**
   * Makes an object what it should be. It is replaced: applying would leave what others put into it, and a file in a ConfigMap
   * or a container more goes past `--allow`. Their labels and annotations stay: Prometheus looks for a Service by these.
   *
   * @throws {NotOursError} If one of its name belongs to somebody else.
   */
  async #keep<T extends KubernetesObject>(store: Store<T>, object: Manifest): Promise<void> {
    const { resource } = store;
    const { name, labels } = object.metadata;
    const { signal } = this.#stopping;
    await this.#unlessWritten(store, `${resource.path}/${name}`, object, async () => {
      const options = { fieldManager: OPERATOR, signal };
      const there = (await resource.get(name, { signal }).catch(unlessGone))?.metadata;
      if (!there) return await resource.create(object, options);
      if (there.labels?.[MANAGED_BY] !== OPERATOR) {
        throw new NotOursError(`there is a ${object.kind} ${name} that is not the operator's`);
      }
      // Without the version, which a status changes all the time.
      const { resourceVersion: _, ...theirs } = there;
      const metadata = { ...theirs, ...object.metadata, labels: { ...there.labels, ...labels } };
      return await resource.update({ ...object, metadata }, options);
    });
  }

  async #applyStatus(relay: Manifest): Promise<void> {
    const { resource } = this.#relays;
    const options = { fieldManager: OPERATOR, force: true, subresource: "status", signal: this.#stopping.signal };
    const path = `${resource.path}/${relay.metadata.name}/status`;
    await this.#unlessWritten(this.#relays, path, relay, () => resource.apply(relay, options));
  }

  /** Writes an object, unless it is as it was written last. */
  async #unlessWritten<T extends KubernetesObject>(
    store: Store<T>,
    path: string,
    object: Manifest,
    write: () => Promise<T>,
  ): Promise<void> {
    const text = JSON.stringify(object);
    const known = store.get(object.metadata.name)?.metadata.resourceVersion;
    const last = this.#written.get(path);
    if (known && last?.text === text && last.object.metadata.resourceVersion === known) return;
    this.#written.set(path, { text, object: await write() });
  }

  #forget({ resource }: Pick<Store<KubernetesObject>, "resource">, { metadata }: KubernetesObject): void {
    this.#written.delete(`${resource.path}/${metadata.name}`);
    this.#written.delete(`${resource.path}/${metadata.name}/status`);
  }

  async #delete<T extends KubernetesObject>(store: Store<T>, { name, uid }: T["metadata"]): Promise<void> {
    const { signal } = this.#stopping;
    const options = { propagationPolicy: "Background", signal, ...(uid !== undefined && { uid }) } as const;
    await store.resource.delete(name, options).catch(unlessGone);
  }
}

/** The set that a relay is in: all relays of a set are for the same nodes. */
function setName(relay: RelayObject): string {
  return `relay-${sha256(JSON.stringify(nodeLabels(relay))).slice(0, 10)}`;
}

/** The labels of a relay's nodes, without what all have: what means the same looks the same. */
function nodeLabels({ spec }: RelayObject): Array<[key: string, value: string]> {
  return Object.entries(spec.nodeSelector)
    .filter(([key, value]) => key !== OS || value !== LINUX)
    .sort(([a], [b]) => a < b ? -1 : 1);
}

/**
 * The halves of a relay, which its pods accept, and what it takes of its set's {@linkcode MAX_CONFIG}.
 *
 * @throws {PodwireError} If they do not accept it.
 */
function checkHalves(spec: RelaySpec): RelayHalves & { readonly size: number } {
  const halves = splitRelay(spec);
  const sizes = [halves.node, halves.cluster].map((half) => {
    const text = JSON.stringify({ relays: [half] }, null, 2);
    parseRelays([{ file: spec.name, text }]);
    return new TextEncoder().encode(text).length;
  });
  return { ...halves, size: Math.max(...sizes) + METADATA_SIZE };
}

/** What is wrong, by the keys of a `Relay`: nobody sees the file that is made of it. */
function describe(error: PodwireError): string {
  if (error instanceof RelayHalvesError) return `${keyOf(error.key)}: ${error.problem}`;
  if (!(error instanceof RelayConfigError)) return error.message;
  return error.details.map(({ key, text }) => `${keyOf(key.replace(/^relays\[0\]\.?/, ""))}: ${text}`).join("; ");
}

/** The key of a `Relay` that {@linkcode toRelaySpec} makes the configuration's `key` of. */
function keyOf(key: string): string {
  if (key === "name") return "metadata.name";
  return key === "listen.address" ? "spec.port" : `spec.${key}`;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function sameLabels(before?: KubernetesObject, after?: KubernetesObject): boolean {
  if (!before || !after) return false;
  const [a, b] = [before.metadata.labels ?? {}, after.metadata.labels ?? {}];
  return Object.keys({ ...a, ...b }).every((key) => a[key] === b[key]);
}

function compareAge({ metadata: a }: RelayObject, { metadata: b }: RelayObject): number {
  const [x, y] = [a, b].map(({ creationTimestamp, name }) => `${creationTimestamp} ${name}`);
  return (x ?? "") < (y ?? "") ? -1 : 1;
}

function ownerOf({ metadata: { name, uid } }: RelayObject) {
  return { apiVersion: `${GROUP}/${VERSION}`, kind: "Relay", name, ...(uid !== undefined && { uid }) };
}

/** It is gone, or another has its name: what we wanted to do to it is no longer wanted. */
function unlessGone(error: unknown): undefined {
  if (error instanceof ApiError && (error.code === 404 || error.code === 409)) return undefined;
  throw error;
}

function once(work: () => void): () => void {
  let done = false;
  return () => {
    if (!done) work();
    done = true;
  };
}
