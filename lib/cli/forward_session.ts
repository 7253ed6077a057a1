/**
 * One run of port-forward: the way to the pod, and what listens here.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import {
  chooseContainer,
  type Cluster,
  type FindUdpPod,
  type ForwardedPort,
  forwardUdp,
  isForwardable,
  mapPorts,
  type PodObject,
  type PortForward,
  type PortSpec,
  readPort,
  type ServiceObject,
  type UdpListener,
  UpgradeError,
} from "../client/mod.ts";
import type { SocketAddress } from "../dial/mod.ts";
import { UsageError } from "./flags.ts";
import { localName } from "./forward_addresses.ts";
import type { ForwardReport } from "./forward_report.ts";

/** What is forwarded. */
export interface ForwardPlan {
  /** `POD` or `TYPE/NAME`. */
  readonly target: string;
  /** The pod that it means at the beginning. */
  readonly pod: PodObject;
  /** The service, if it is one. */
  readonly service: ServiceObject | undefined;
  /** The ports as they were typed: another pod may have other numbers for their names. */
  readonly specs: readonly PortSpec[];
  /** The same ports with their numbers. */
  readonly ports: readonly ForwardedPort[];
  /** Whether to go on when the connection is lost. */
  readonly reconnect: boolean;
  /** How long to wait for a first pod, in milliseconds. */
  readonly timeout: number;
}

/** A UDP port that is open. */
interface OpenUdp {
  readonly listener: UdpListener;
  readonly remote: number;
}

/** A port-forward on the command line. */
export class ForwardSession implements AsyncDisposable {
  readonly #cluster: Cluster;
  readonly #plan: ForwardPlan;
  readonly #report: ForwardReport;
  readonly #signal: AbortSignal;
  readonly #udp: OpenUdp[] = [];
  #forward: PortForward | undefined;

  /** A session that says what happens in `report`, and ends with `signal`. */
  constructor(cluster: Cluster, plan: ForwardPlan, report: ForwardReport, signal: AbortSignal) {
    this.#cluster = cluster;
    this.#plan = plan;
    this.#report = report;
    this.#signal = signal;
  }

  /** Connects to the pod. Datagrams do not need it: they go through exec. */
  async open(): Promise<void> {
    const { target, ports, reconnect, timeout } = this.#plan;
    if (!ports.some(({ protocol }) => protocol === "tcp")) return;
    // Once it is open, an end is no abort: what has gone through is counted, and then it is closed.
    const dialing = new AbortController();
    const abort = () => dialing.abort(this.#signal.reason);
    this.#signal.addEventListener("abort", abort, { once: true });
    try {
      this.#forward = await this.#cluster.portForward(target, {
        pod: this.#plan.pod,
        reconnect,
        timeout,
        signal: dialing.signal,
        onEvent: (event) => {
          if (!this.#signal.aborted) this.#report.event(event);
        },
      });
    } catch (cause) {
      if (!(cause instanceof UpgradeError)) throw cause;
      throw new PodwireError(`error upgrading connection: ${cause.message}`, { cause });
    } finally {
      this.#signal.removeEventListener("abort", abort);
    }
  }

  /**
   * Listens for a port.
   *
   * @returns Where, with the port that it got.
   * @throws {ListenError} If the address cannot be had.
   */
  async listen(address: SocketAddress, port: ForwardedPort): Promise<SocketAddress> {
    return port.protocol === "udp" ? await this.#listenUdp(address, port) : await this.#listenTcp(address, port);
  }

  /** Waits until it is over: for the signal's end, or for what else ends it. */
  async run(): Promise<void> {
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    this.#signal.addEventListener("abort", () => resolve(), { once: true });
    if (this.#signal.aborted) resolve();
    const parts = [...this.#forward ? [this.#forward] : [], ...this.#udp.map(({ listener }) => listener)];
    await Promise.race([ended, ...parts.map(({ finished }) => finished)]);
  }

  /** Says what has gone through. */
  summarize(): void {
    if (this.#forward) this.#report.summary(this.#forward.stats);
    for (const { listener, remote } of this.#udp) this.#report.udpSummary(remote, listener.stats);
  }

  /** Closes what is open. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([
      this.#forward?.[Symbol.asyncDispose](),
      ...this.#udp.map(({ listener }) => listener[Symbol.asyncDispose]()),
    ]);
  }

  async #listenTcp(address: SocketAddress, port: ForwardedPort): Promise<SocketAddress> {
    const { specs, ports, service } = this.#plan;
    const spec = specs.filter((_, i) => ports[i] === port);
    let local = localName(address);
    const listener = await this.#forward!.listen({ // It was opened: a port is TCP.
      ...address,
      target: (pod) => {
        this.#report.handling(local);
        try {
          const [{ remote } = port] = mapPorts(spec, pod, service).map(readPort);
          return remote;
        } catch (error) {
          this.#report.failed(local, port.remote, error); // Another pod, which lacks the name.
          throw error;
        }
      },
    });
    local = localName(listener.address);
    return listener.address;
  }

  async #listenUdp(address: SocketAddress, { local, remote }: ForwardedPort): Promise<SocketAddress> {
    if ("path" in address) throw new UsageError("a unix socket cannot stand for a UDP port"); // Refused before.
    let localPort = String(local);
    const listener = await forwardUdp(this.#findPod(), {
      ...address,
      target: remote,
      signal: this.#signal,
      onEvent: (event) => {
        if (!this.#signal.aborted) this.#report.udpEvent(event, localPort, remote);
      },
    });
    localPort = localName(listener.address);
    this.#udp.push({ listener, remote });
    return listener.address;
  }

  /** The plan's pod at first; the target's next one when that has failed. */
  #findPod(): FindUdpPod {
    const { target, reconnect, timeout } = this.#plan;
    let first: PodObject | undefined = this.#plan.pod;
    return async ({ signal }) => {
      const pod = first ?? await this.#cluster.resolvePod(target, { timeout, signal, accept: isForwardable });
      first = reconnect ? undefined : pod;
      const { name, namespace = this.#cluster.namespace } = pod.metadata;
      return { pod: this.#cluster.pod(name, { namespace }), container: chooseContainer(pod).container.name };
    };
  }
}
