/**
 * Pods whose containers are local processes.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import { Container, type HostContainer, type RestartPolicy } from "./container.ts";
import { Unanswered } from "./local_port.ts";

/** A pod of the embedded host. */
export interface HostPod {
  /** The name. */
  readonly name: string;
  /** The namespace. Default `default`. */
  readonly namespace?: string;
  /** The labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The annotations. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** The containers, at least one. */
  readonly containers: readonly HostContainer[];
  /** Ports of this machine that stand for other ports of the pod; those that are not named stand for themselves. */
  readonly ports?: Readonly<Record<number, number>>;
  /** When its containers are started again. Default `Never`; in a manifest it is Kubernetes' own, `Always`. */
  readonly restartPolicy?: RestartPolicy;
  /** How long its processes have to end when it is deleted, in seconds. Default 30. */
  readonly terminationGracePeriodSeconds?: number;
}

/** Options of {@linkcode Pod.start}. */
export interface PodOptions {
  /** Is told that something about it has changed. */
  readonly onChange?: (pod: Pod) => void;
  /** How long the second start again of a container waits, in milliseconds. Default 10 000. */
  readonly backOff?: number;
}

/** A running {@linkcode HostPod}. */
export class Pod {
  /** What was asked for. */
  readonly spec: HostPod;
  /** The namespace. */
  readonly namespace: string;
  /** The unique id. */
  readonly uid: string = crypto.randomUUID();
  /** When it was made. */
  readonly createdAt: Date = new Date();
  /** When its containers are started again. */
  readonly restartPolicy: RestartPolicy;
  /** The deletion that is under way: when it will be over at the latest, and the seconds that it has. */
  deletion: { readonly at: Date; readonly grace: number } | undefined;
  /** Its forwarded connections that were never answered. */
  readonly unanswered: Unanswered = new Unanswered();
  readonly #gone = new AbortController();
  #containers: readonly Container[] = [];
  #readiness: { readonly ready: boolean; readonly since: Date } = { ready: false, since: this.createdAt };

  private constructor(spec: HostPod) {
    this.spec = spec;
    this.namespace = spec.namespace ?? "default";
    this.restartPolicy = spec.restartPolicy ?? "Never";
  }

  /** Starts the containers' main processes. One that cannot be started is a container that has ended. */
  static async start(spec: HostPod, { onChange, backOff = 10_000 }: PodOptions = {}): Promise<Pod> {
    const pod = new Pod(spec);
    let started = false;
    const change = () => {
      if (!started) return; // Nobody knows it before all of it is there.
      pod.#checkReadiness();
      pod.#checkEnd();
      onChange?.(pod);
    };
    const options = {
      restartPolicy: pod.restartPolicy,
      pod: `${spec.name}_${pod.namespace}(${pod.uid})`,
      backOff,
      onChange: change,
    };
    pod.#containers = await Promise.all(spec.containers.map((container) => Container.start(container, options)));
    started = true;
    pod.#checkReadiness();
    pod.#checkEnd();
    return pod;
  }

  /** The containers, in order. */
  get containers(): readonly Container[] {
    return this.#containers;
  }

  /** The pod's phase (kubernetes `pkg/kubelet/kubelet_pods.go`, `getPhase`). */
  get phase(): "Running" | "Succeeded" | "Failed" {
    const states = this.#containers.map((container) => container.state);
    if (states.some((state) => state.type !== "terminated")) return "Running";
    if (this.restartPolicy === "Always") return "Running";
    if (states.every((state) => state.type === "terminated" && state.exitCode === 0)) return "Succeeded";
    return this.restartPolicy === "Never" ? "Failed" : "Running";
  }

  /** Whether all containers run, and since when it is so. */
  get readiness(): { readonly ready: boolean; readonly since: Date } {
    return this.#readiness;
  }

  /** Aborts when the last of its processes has ended for good; where a cluster has a pod's network, that ends then. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Ends every process, which are killed after `grace` milliseconds. */
  async end(grace?: number): Promise<void> {
    await Promise.all(this.#containers.map((container) => container.end(grace)));
    this.#leave();
  }

  #checkEnd(): void {
    if (this.phase !== "Running") this.#leave();
  }

  #leave(): void {
    this.#gone.abort(new PodwireError("the pod has ended"));
  }

  #checkReadiness(): void {
    const ready = this.#containers.every((container) => container.state.type === "running");
    if (ready !== this.#readiness.ready) this.#readiness = { ready, since: new Date() };
  }
}
