/**
 * UDP into a pod, which Kubernetes' port-forward does not carry (k/k#47862): datagrams over exec, through a program
 * that the container has.
 *
 * @module
 */
import type { Socket } from "node:dgram";
import { checkDuration, messageOf, PodwireError, tell } from "../bytes/mod.ts";
import { cannotListen, formatAddress, ListenError, permittedAddress } from "../dial/mod.ts";
import { checkLocalPort, checkPort } from "./forward_ports.ts";
import type { Pod } from "./pod.ts";
import { hasSockets, noSockets } from "./runtime.ts";
import { findUdpHelper, UDP_HELPERS, UdpForwardError, type UdpHelper } from "./udp_helper.ts";
import { UdpPeer, type UdpPlace } from "./udp_peer.ts";

export { UdpForwardError } from "./udp_helper.ts";

/** Finds the pod to forward to: at the beginning, and whenever the way to the last one has failed. */
export type FindUdpPod = (
  options: { readonly signal: AbortSignal },
) => Promise<{ readonly pod: Pod; readonly container?: string }>;

/** Options of {@linkcode forwardUdp}. */
export interface UdpForwardOptions {
  /** The local address, IPv4 or IPv6. Default `127.0.0.1`. */
  readonly hostname?: string;
  /** The local port; 0 for any. */
  readonly port: number;
  /** The port in the pod, on 127.0.0.1. */
  readonly target: number;
  /** The container of a given pod whose programs are used; without it the server takes the only one. */
  readonly container?: string;
  /** Ends the forward. */
  readonly signal?: AbortSignal;
  /** After how long without a datagram a peer is forgotten, in milliseconds; `Infinity` for never. Default 60 000. */
  readonly idleTimeout?: number;
  /** Is told what happens, for logs. What it throws is reported as an event listener's is, and changes nothing. */
  readonly onEvent?: (event: UdpForwardEvent) => void;
}

/** What happens on a forward. A peer is a local `address:port` that sends. */
export type UdpForwardEvent =
  | { readonly type: "helper"; readonly name: string }
  | { readonly type: "opened" | "closed"; readonly peer: string }
  | { readonly type: "failed"; readonly peer: string; readonly error: Error };

/** Counts of a forward, from its beginning. */
export interface UdpForwardStats {
  /** Peers. */
  readonly peers: number;
  /** Peers that have a helper now. */
  readonly active: number;
  /** Peers whose helper failed. */
  readonly failed: number;
  /** Datagrams sent to the pod. */
  readonly datagramsSent: number;
  /** Datagrams received from the pod. */
  readonly datagramsReceived: number;
  /** Bytes sent to the pod. */
  readonly bytesSent: number;
  /** Bytes received from the pod. */
  readonly bytesReceived: number;
  /** Datagrams dropped here, in either direction, since there was no room or no helper for them. */
  readonly dropped: number;
}

/** A UDP forward. */
export interface UdpListener extends AsyncDisposable {
  /** Where it listens, with the port that it got. */
  readonly address: { readonly hostname: string; readonly port: number };
  /** What it has done. */
  readonly stats: UdpForwardStats;
  /**
   * Resolves after {@linkcode UdpListener.close}, once no helper is left. Rejects with the signal's reason, or
   * with what broke the local socket.
   */
  readonly finished: Promise<void>;
  /** Ends it. */
  close(): void;
}

/** What tests change. */
export interface UdpForwardLimits {
  /** What to look for in the container, best first. */
  readonly helpers: readonly UdpHelper[];
  /** How many peers may have a helper. */
  readonly maxPeers: number;
  /** How many bytes of one peer may wait for the transport. */
  readonly maxQueued: number;
}

/** As much as Linux lets wait on a UDP socket; 64 helpers are some hundred processes in a container. */
const LIMITS: UdpForwardLimits = { helpers: UDP_HELPERS, maxPeers: 64, maxQueued: 208 * 1024 };

/** When all places are taken, a peer that was quiet for this long makes room for a new one, in milliseconds. */
const QUIET = 1_000;

/** For how long a peer whose helper failed gets no new one, in milliseconds. */
const RETRY_AFTER = 1_000;

/**
 * Forwards a local UDP port into a pod. For each local peer one helper runs in the container, found by a first
 * command there: perl, python3, or `dd` with socat, bash or BusyBox's nc. Datagrams keep their boundaries both ways.
 * As everywhere with UDP, one for which there is no room is dropped.
 *
 * @param pod The pod; or how to find it, for a forward that outlives it.
 * @throws {RangeError} If `port` or `target` is no port, or `idleTimeout` no time.
 * @throws {ListenError} If the local port is in use or cannot be had, or the runtime is a browser.
 * @throws {UdpForwardError} If the container has no helper.
 * @throws {UpgradeError} If the server refuses to run commands in the pod.
 *
 * @example
 * ```ts
 * import { Cluster, forwardUdp } from "@podwire/podwire";
 *
 * async function resolver(cluster: Cluster): Promise<void> {
 *   const pod = cluster.pod("coredns-0", { namespace: "kube-system" });
 *   await using listener = await forwardUdp(pod, { port: 5353, target: 53 });
 *   console.log(`dig -p ${listener.address.port} @127.0.0.1 kubernetes.default.svc.cluster.local`);
 *   await listener.finished;
 * }
 * ```
 */
export function forwardUdp(pod: Pod | FindUdpPod, options: UdpForwardOptions): Promise<UdpListener> {
  return forwardUdpWithin(LIMITS, pod, options);
}

/** {@linkcode forwardUdp} with other limits, for tests. */
export async function forwardUdpWithin(
  limits: Partial<UdpForwardLimits>,
  pod: Pod | FindUdpPod,
  options: UdpForwardOptions,
): Promise<UdpListener> {
  const { container, signal, hostname = "127.0.0.1", port, target } = options;
  signal?.throwIfAborted();
  checkPort(target);
  checkLocalPort(port);
  if (options.idleTimeout !== undefined) checkDuration("idleTimeout", options.idleTimeout);
  if (!hasSockets()) throw noSockets({ hostname, port }, "UDP socket", "forward from Deno or Node");
  const { helpers, ...bounds } = { ...LIMITS, ...limits };
  const findPod: FindUdpPod = typeof pod === "function"
    ? pod
    : () => Promise.resolve({ pod, ...(container !== undefined && { container }) });
  const find = async (signal: AbortSignal): Promise<UdpPlace> => {
    const found = await findPod({ signal });
    const { container } = found;
    const helper = await findUdpHelper(found.pod, helpers, { ...(container !== undefined && { container }), signal });
    tell(options.onEvent, { type: "helper", name: helper.name });
    return { ...found, helper };
  };
  const place = await find(signal ?? new AbortController().signal);
  return new Listener(await bind(hostname, port), place, find, bounds, options);
}

async function bind(hostname: string, port: number): Promise<Socket> {
  const address = { hostname, port };
  const family = hostname.includes(":") ? 6 : 4;
  const { createSocket } = await import("node:dgram");
  const socket = createSocket({ type: `udp${family}`, ipv6Only: hostname === "::" });
  const bound = Promise.withResolvers<void>();
  socket.on("error", bound.reject);
  try {
    socket.bind(port, await permittedAddress(hostname, port, family), bound.resolve);
    await bound.promise;
  } catch (cause) {
    socket.close();
    const { code } = cannotListen(address, cause);
    const text = `cannot listen on UDP port ${port} of ${hostname}: ${messageOf(cause)}`;
    throw new ListenError(text, address, code, { cause });
  }
  return socket;
}

class Listener implements UdpListener {
  readonly address: { readonly hostname: string; readonly port: number };
  readonly finished: Promise<void>;
  readonly #socket: Socket;
  readonly #find: (signal: AbortSignal) => Promise<UdpPlace>;
  readonly #bounds: Omit<UdpForwardLimits, "helpers">;
  readonly #options: UdpForwardOptions;
  readonly #peers = new Map<string, UdpPeer>();
  readonly #running = new Set<Promise<void>>();
  /** Peers that failed, and the timers that forget it. */
  readonly #failed = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #end = Promise.withResolvers<void>();
  /** Ends a search for the pod. */
  readonly #closing = new AbortController();
  /** `undefined` after a failure there: the next peer looks anew. */
  #place: Promise<UdpPlace> | undefined;
  readonly #stats = {
    peers: 0,
    failed: 0,
    datagramsSent: 0,
    datagramsReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    dropped: 0,
  };

  constructor(
    socket: Socket,
    place: UdpPlace,
    find: (signal: AbortSignal) => Promise<UdpPlace>,
    bounds: Omit<UdpForwardLimits, "helpers">,
    options: UdpForwardOptions,
  ) {
    this.#socket = socket;
    this.#place = Promise.resolve(place);
    this.#find = find;
    this.#bounds = bounds;
    this.#options = options;
    const { address, port } = socket.address();
    this.address = { hostname: address, port };
    this.finished = this.#run();
    this.finished.catch(() => {}); // Whoever wants to know awaits it.
  }

  get stats(): UdpForwardStats {
    return { ...this.#stats, active: this.#peers.size };
  }

  close(): void {
    this.#end.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.finished.catch(() => {}); // Whoever wants to know awaits it.
  }

  async #run(): Promise<void> {
    const { signal } = this.#options;
    const abort = () => this.#end.reject(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    this.#socket.on("error", this.#end.reject);
    this.#socket.on("message", (data, { address, port }) => this.#take(data, address, port));
    try {
      await this.#end.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#socket.removeAllListeners("message");
      this.#closing.abort(new PodwireError("the forward was closed"));
      for (const peer of this.#peers.values()) peer.close();
      await Promise.all(this.#running);
      for (const timer of this.#failed.values()) clearTimeout(timer);
      await new Promise<void>((resolve) => this.#socket.close(resolve));
    }
  }

  #take(data: Uint8Array, address: string, port: number): void {
    const name = formatAddress({ hostname: address, port });
    const known = this.#peers.get(name);
    const peer = known && !known.closed ? known : this.#open(name, address, port);
    if (!peer?.send(data)) return void this.#stats.dropped++;
    this.#stats.datagramsSent++;
    this.#stats.bytesSent += data.length;
  }

  /** A new peer, if there is a place for it. */
  #open(name: string, address: string, port: number): UdpPeer | undefined {
    if (this.#failed.has(name) || !this.#makeRoom()) return undefined;
    const { target, idleTimeout = 60_000 } = this.#options;
    const place = this.#place ??= this.#find(this.#closing.signal);
    const peer = new UdpPeer({
      place,
      target,
      idleTimeout,
      maxQueued: this.#bounds.maxQueued,
      deliver: (data) => this.#deliver(data, address, port),
    });
    this.#stats.peers++;
    this.#peers.set(name, peer);
    tell(this.#options.onEvent, { type: "opened", peer: name });
    const running = this.#watch(name, peer, place);
    this.#running.add(running);
    running.finally(() => this.#running.delete(running));
    return peer;
  }

  /** Whether there is a place for one more peer, if need be that of the one that was quiet for longest. */
  #makeRoom(): boolean {
    const { maxPeers } = this.#bounds;
    if (this.#running.size >= 2 * maxPeers) return false; // Too many are still ending.
    if (this.#peers.size + this.#failed.size < maxPeers) return true;
    const [quietest] = [...this.#peers].sort(([, a], [, b]) => b.quietFor - a.quietFor);
    if (!quietest || quietest[1].quietFor < QUIET) return false;
    this.#peers.delete(quietest[0]);
    quietest[1].close();
    return true;
  }

  #deliver(data: Uint8Array, address: string, port: number): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.send(data, port, address, (error) => {
        if (error) {
          this.#stats.dropped++; // As a router does: one that is too large for here, say.
        } else {
          this.#stats.datagramsReceived++;
          this.#stats.bytesReceived += data.length;
        }
        resolve();
      });
    });
  }

  /** Follows a peer to its end. */
  async #watch(name: string, peer: UdpPeer, place: Promise<UdpPlace>): Promise<void> {
    try {
      await peer.finished;
      tell(this.#options.onEvent, { type: "closed", peer: name });
    } catch (cause) {
      this.#stats.failed++;
      if (this.#place === place) this.#place = undefined;
      this.#failed.set(name, setTimeout(() => this.#failed.delete(name), RETRY_AFTER));
      const error = cause instanceof Error ? cause : new UdpForwardError(String(cause), { cause });
      tell(this.#options.onEvent, { type: "failed", peer: name, error });
    } finally {
      if (this.#peers.get(name) === peer) this.#peers.delete(name);
    }
  }
}
