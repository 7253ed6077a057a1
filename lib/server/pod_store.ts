/**
 * The pods of the embedded host, and what has become of them.
 *
 * @module
 */
import { Wakeup } from "../bytes/mod.ts";
import { DEFAULT_GRACE, type PodBody, podBody } from "./objects.ts";
import { type HostPod, Pod } from "./pods.ts";
import { StatusError } from "./status_error.ts";

/** A change of one pod. */
export interface PodChange {
  /** The version that it made. */
  readonly version: number;
  /** The pod before; absent if it is new. */
  readonly before?: PodBody;
  /** The pod since. */
  readonly after: PodBody;
  /** Whether it is gone. */
  readonly gone: boolean;
}

/** The pods, in the order of their making, each at its newest version. */
export class PodStore {
  /** All namespaces that there are; none ever goes. */
  readonly namespaces: readonly string[];
  readonly #pods = new Map<Pod, PodBody>();
  readonly #changes: PodChange[] = [];
  /** The deletions under way. */
  readonly #ending = new Set<Promise<void>>();
  #version = 0;
  readonly #changed = new Wakeup();

  private constructor(specs: readonly HostPod[]) {
    this.namespaces = [...new Set(["default", ...specs.map(({ namespace = "default" }) => namespace)])].sort();
  }

  /** Starts pods: all, or none. */
  static async start(specs: readonly HostPod[]): Promise<PodStore> {
    const store = new PodStore(specs);
    const onChange = (pod: Pod) => store.#update(pod);
    const starting = await Promise.allSettled(specs.map((spec) => Pod.start(spec, { onChange })));
    const pods = starting.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
    try {
      for (const result of starting) if (result.status === "rejected") throw result.reason;
      for (const pod of pods) store.#add(pod);
      return store;
    } catch (error) {
      await Promise.all(pods.map((pod) => pod.end()));
      throw error;
    }
  }

  /** The version of all of it, which every change makes greater. */
  get version(): number {
    return this.#version;
  }

  /** The pods as API objects. */
  list(): readonly PodBody[] {
    return [...this.#pods.values()];
  }

  /** The pod of that name, and its API object. */
  find(namespace: string, name: string): readonly [Pod, PodBody] | undefined {
    return this.#pods.entries().find(([pod]) => pod.namespace === namespace && pod.spec.name === name);
  }

  /**
   * The changes since a version.
   *
   * @throws {StatusError} 410 if not all of them are remembered.
   */
  since(version: number): readonly PodChange[] {
    const [oldest] = this.#changes;
    if (oldest && version < oldest.version - 1) {
      const message = `too old resource version: ${version} (${oldest.version - 1})`;
      throw new StatusError(410, "Expired", message);
    }
    return this.#changes.filter((change) => change.version > version);
  }

  /** Waits for something to change; `false` if the signal was first. */
  changed(signal: AbortSignal): Promise<boolean> {
    return this.#changed.wait(signal);
  }

  /**
   * Deletes a pod: it has `grace` seconds to end, and is gone then; with 0 it is gone at once. What is under way can be
   * hastened.
   *
   * @returns Its API object.
   */
  delete(pod: Pod, grace: number = pod.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE): PodBody {
    const { deletion } = pod;
    if (deletion && grace >= deletion.grace) return this.#pods.get(pod)!;
    pod.deletion = { at: new Date(Math.min(Date.now() + grace * 1000, MAX_TIME)), grace };
    const ended = pod.end(grace * 1000).finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
    if (grace === 0) return this.#remove(pod)!;
    void ended.then(() => this.#remove(pod));
    return this.#update(pod)!;
  }

  /** Ends every process. */
  async end(): Promise<void> {
    await Promise.all([...this.#ending, ...[...this.#pods.keys()].map((pod) => pod.end())]);
  }

  #add(pod: Pod): void {
    const after = podBody(pod, ++this.#version);
    this.#pods.set(pod, after);
    this.#record({ version: this.#version, after, gone: false });
  }

  #update(pod: Pod): PodBody | undefined {
    const before = this.#pods.get(pod);
    if (!before) return undefined; // It is new, or gone.
    const after = podBody(pod, ++this.#version);
    this.#pods.set(pod, after);
    this.#record({ version: this.#version, before, after, gone: false });
    return after;
  }

  #remove(pod: Pod): PodBody | undefined {
    const before = this.#pods.get(pod);
    if (!this.#pods.delete(pod) || !before) return undefined;
    const after = podBody(pod, ++this.#version);
    this.#record({ version: this.#version, before, after, gone: true });
    return after;
  }

  #record(change: PodChange): void {
    this.#changes.push(change);
    if (this.#changes.length > MAX_CHANGES) this.#changes.shift();
    this.#changed.wake();
  }
}

/** The last moment that a timestamp can name (RFC 3339), in milliseconds. */
const MAX_TIME = Date.UTC(9999, 11, 31, 23, 59, 59);

/** Changes to remember. */
const MAX_CHANGES = 1000;
