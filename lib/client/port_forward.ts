/**
 * Port-forward: any number of connections to the ports of a pod, and what keeps them going.
 *
 * @module
 */
import { checkDuration, orAbort, pause, PodwireError, tell, withDeadline } from "../bytes/mod.ts";
import { PORT_FORWARD_CHANNELS, PORT_FORWARD_PROTOCOL, PORT_FORWARD_TUNNEL } from "../channels/mod.ts";
import type { SocketAddress } from "../dial/mod.ts";
import { messageDuplex } from "../websocket/mod.ts";
import { ApiError, UpgradeError } from "./errors.ts";
import { ForwardError, PortForwardError } from "./forward_error.ts";
import type { ForwardAddress, ForwardListener } from "./forward_listener.ts";
import { checkLocalPort, checkPort } from "./forward_ports.ts";
import { ForwardPool } from "./forward_pool.ts";
import { ChannelForwardSession, type ForwardPair, type ForwardSession, SpdyForwardSession } from "./forward_wire.ts";
import { ForwardedConnection } from "./forwarded_connection.ts";
import type { PodObject } from "./objects.ts";
import type { PodConnection } from "./pod.ts";
import { watchPod } from "./pod_watch.ts";
import { podPath } from "./resource_path.ts";
import { refuseNotRunning } from "./targets.ts";
import { openFirst } from "./wire.ts";

/** Options of a port-forward. */
export interface PortForwardOptions {
  /**
   * Whether to go on when the connection to the pod is lost or the pod is replaced. Default `true`; without it the
   * port-forward ends then, as kubectl's does.
   */
  readonly reconnect?: boolean;
  /** Ends the port-forward, also while it is being opened. */
  readonly signal?: AbortSignal;
  /** Is told what happens, for a person to read. What it throws is reported as an event listener's is, and changes nothing. */
  readonly onEvent?: (event: PortForwardEvent) => void;
  /**
   * How long the pod has to be quiet before the end of what is sent to it is passed on, in milliseconds. Default 10 000;
   * see {@linkcode ForwardedConnection}.
   */
  readonly finDelay?: number;
}

/** What happens to a port-forward. `connection` counts from 1. */
export type PortForwardEvent =
  /** A session to a pod is open; a port-forward has up to a few of them. */
  | { readonly type: "dialed"; readonly wire: "tunnel" | "spdy" | "v4"; readonly pod: string }
  /** No session is left, and a new one is being looked for. */
  | { readonly type: "lost"; readonly reason: Error }
  /** That did not work yet. */
  | { readonly type: "retry"; readonly attempt: number; readonly delay: number; readonly reason: Error }
  /**
   * Whether the pod still runs is not seen for now, since there are no credentials to look with (a plugin failed, a file is
   * gone). What goes through the port-forward goes on. Told once, until there are some again.
   */
  | { readonly type: "unwatched"; readonly pod: string; readonly reason: Error }
  /** A connection was opened. */
  | { readonly type: "connected" } & ForwardConnectionInfo
  /** A connection has ended well, or was closed here. */
  | { readonly type: "closed"; readonly bytesReceived: number; readonly bytesSent: number } & ForwardConnectionInfo
  /** A connection has failed, or could not be opened; the others go on. */
  | { readonly type: "failed"; readonly error: Error } & ForwardConnectionInfo;

/** Which connection an event is about. */
export interface ForwardConnectionInfo {
  /** Its number, from 1. */
  readonly connection: number;
  /** The port in the pod. */
  readonly port: number;
  /** The listener that accepted it; `undefined` for one of `connect`. */
  readonly local?: SocketAddress | undefined;
}

/** What has gone through a port-forward so far. */
export interface PortForwardStats {
  /** Connections that were opened. */
  readonly connections: number;
  /** Those that are open now. */
  readonly active: number;
  /** Those that failed. */
  readonly failed: number;
  /** Bytes from the pod. */
  readonly bytesReceived: number;
  /** Bytes to the pod. */
  readonly bytesSent: number;
  /** How often the pod had to be dialed anew because no session was left. */
  readonly redials: number;
}

/** A pod, and the sessions to it. */
interface Place {
  readonly pod: PodObject;
  /** The pod's path below the server's URL. */
  readonly path: string;
  readonly pool: ForwardPool;
  /** Ends the watching of the pod. */
  readonly watch: AbortController;
  /** Whether the pod is ending, and takes no new connections. */
  retired: boolean;
}

/** Finds the pod to forward to. */
export interface ForwardTarget {
  /** The pod that the target means now; `fresh` if a pod that is ending will not do. */
  readonly resolve: (options: { readonly fresh: boolean; readonly signal: AbortSignal }) => Promise<PodObject>;
  /** Whether the target is one pod by its name, and not whatever a workload or service has. */
  readonly byName: boolean;
  /** Where requests and streams go. */
  readonly connection: PodConnection;
}

/**
 * An open port-forward. Made by `Pod.portForward` and `Cluster.portForward`.
 *
 * **How connections share sessions.** A session carries any number of connections, but has no flow control: one reader that stalls
 * holds up the others (see `SpdySession`). A connection therefore gets a session of its own as long as there are fewer
 * than eight; sessions without a connection are used again, and closed after a minute. More connections than that share,
 * and a new one goes to the session with the fewest that is not stuck. While all are stuck, up to 32 sessions are
 * opened. A reader that holds others up for half a minute is reset.
 *
 * **What it survives.** When the last session is lost (the pod is replaced, the API server restarts, the link breaks), its connections fail
 * with a {@linkcode ForwardError}, the target is resolved anew and dialed with a back-off of at most a second, and
 * new connections wait for that, at most 30 seconds. It ends only if it was asked for one pod that is gone for good.
 *
 * @example
 * ```ts
 * import { Cluster } from "@podwire/podwire";
 *
 * async function greet(cluster: Cluster): Promise<string> {
 *   await using forward = await cluster.pod("web-0").portForward();
 *   await using connection = await forward.connect(8080);
 *   const writer = connection.writable.getWriter();
 *   await writer.write(new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
 *   await writer.close();
 *   return await new Response(connection.readable).text();
 * }
 * ```
 */
export class PortForward implements AsyncDisposable {
  /** Resolves after {@linkcode PortForward.close}; rejects when the port-forward cannot go on. */
  readonly finished: Promise<void>;

  readonly #target: ForwardTarget;
  readonly #options: PortForwardOptions;
  readonly #settle: { resolve(): void; reject(reason: unknown): void };
  readonly #ended = new AbortController();
  readonly #listeners = new Set<ForwardListener>();
  readonly #active = new Set<ForwardedConnection>();
  readonly #totals = { connections: 0, failed: 0, bytesReceived: 0, bytesSent: 0, redials: 0 };
  /** Where new connections go. */
  #place: Place | undefined;
  /** That, and pods that are ending, with the connections that they still have. */
  readonly #places = new Set<Place>();
  /** How the pod is reached, once that is known. */
  #way: "auto" | "spdy" | "channels" = "auto";
  /** When a session was last found again, as `performance.now()`. */
  #recovered = -Infinity;
  /** Settles when there is a session again, or never will be. */
  #recovery: Promise<void> | undefined;

  private constructor(target: ForwardTarget, options: PortForwardOptions) {
    this.#target = target;
    this.#options = options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.finished = promise;
    this.finished.catch(() => {}); // Whoever wants to know awaits it; connections tell the same.
    this.#settle = { resolve, reject };
  }

  /**
   * Opens a port-forward to a target.
   *
   * @throws {UpgradeError} If the server refuses.
   * @throws {TargetError} If there is no pod, or it does not run.
   * @throws {ApiError} If the target cannot be read.
   * @throws {DialError} If the server cannot be reached.
   * @throws {RangeError} If `finDelay` is no time.
   */
  static async open(target: ForwardTarget, options: PortForwardOptions = {}): Promise<PortForward> {
    const forward = new PortForward(target, options);
    const { signal, finDelay } = options;
    if (finDelay !== undefined) checkDuration("finDelay", finDelay);
    signal?.throwIfAborted();
    const abort = () => forward.#end(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    forward.#ended.signal.addEventListener("abort", () => signal?.removeEventListener("abort", abort));
    try {
      await forward.#start(false);
      return forward;
    } catch (error) {
      forward.close();
      throw signal?.aborted ? signal.reason : error;
    }
  }

  /** The pod that connections go to now. */
  get pod(): PodObject {
    return this.#place!.pod; // There is no PortForward without one: `open` has found it.
  }

  /** What has gone through so far. */
  get stats(): PortForwardStats {
    let { bytesReceived, bytesSent } = this.#totals;
    for (const connection of this.#active) {
      bytesReceived += connection.bytesReceived;
      bytesSent += connection.bytesSent;
    }
    return { ...this.#totals, bytesReceived, bytesSent, active: this.#active.size };
  }

  /**
   * Connects to a port of the pod. It resolves when the server has taken the connection; whether anything listens
   * on the port shows on the connection itself.
   *
   * @throws {RangeError} If `port` is no port.
   * @throws {ForwardError} If the server refuses the connection or cannot be reached in time.
   * @throws {PortForwardError} If the port-forward has ended; the reason of its signal, if that has ended it.
   */
  async connect(port: number, options: { readonly signal?: AbortSignal } = {}): Promise<ForwardedConnection> {
    const { signal } = options;
    const { pair, connection } = await this.#open({ port, connection: ++this.#totals.connections }, signal);
    const abort = () => connection.close();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await pair.opened;
      return connection;
    } catch (error) {
      signal?.throwIfAborted();
      await connection.closed; // It explains more.
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Listens on this machine, and forwards every connection to the port `target` of the pod.
   *
   * @param address Where, and the port `target`; what a function of the pod gives is looked at anew for each connection.
   * @throws {RangeError} If `port` or `target` is no port.
   * @throws {ListenError} If the address is in use or cannot be had, or the runtime is a browser.
   */
  async listen(
    address: ForwardAddress & { readonly target: number | ((pod: PodObject) => number) },
  ): Promise<ForwardListener> {
    const { target } = address;
    if (typeof target !== "function") checkPort(target);
    if ("port" in address) checkLocalPort(address.port);
    const { listenForward } = await import("./forward_listener.ts");
    const listener = await listenForward(address, async (local) => {
      let info = { port: 0, connection: ++this.#totals.connections, local };
      try {
        info = { ...info, port: typeof target === "number" ? target : target(this.pod) };
        return (await this.#open(info)).connection;
      } catch (error) {
        if (!this.#ended.signal.aborted) this.#failed(info, error);
        throw error;
      }
    }, this.#ended.signal);
    this.#listeners.add(listener);
    listener.closed.then(() => this.#listeners.delete(listener));
    if (this.#ended.signal.aborted) listener.close();
    return listener;
  }

  /** Ends the port-forward: its listeners, its connections, its sessions. */
  close(): void {
    this.#settle.resolve();
    this.#end(new PortForwardError("the port-forward was closed"));
  }

  /** As {@linkcode PortForward.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await Promise.all([...this.#listeners].map((listener) => listener.closed));
  }

  /** A connection, as soon as there is a session for it. */
  async #open(
    info: ForwardConnectionInfo,
    signal?: AbortSignal,
  ): Promise<{ pair: ForwardPair; connection: ForwardedConnection }> {
    const { port } = info;
    checkPort(port);
    this.#ended.signal.throwIfAborted();
    signal?.throwIfAborted();
    const opening = this.#tryOpen(port);
    const pair = await (signal ? orAbort(opening, signal, closeLate) : opening) ?? await this.#openLater(port, signal);
    const { finDelay } = this.#options;
    const connection = new ForwardedConnection(pair, { port, ...(finDelay !== undefined && { finDelay }) });
    this.#track(connection, info);
    return { pair, connection };
  }

  /** A connection now; `undefined` if there is no session, and another is being looked for. */
  async #tryOpen(port: number): Promise<ForwardPair | undefined> {
    if (this.#recovery) return undefined;
    const place = this.#place!;
    try {
      if (this.#way === "channels") {
        const session = await this.#dialChannels(place, port);
        place.pool.addRetired(session);
        return session.open();
      }
      const pair = await place.pool.open(port);
      if (!pair) this.#lose(place, new PodwireError("there is no session"));
      return pair;
    } catch (error) {
      // Over channels each connection is dialed by itself, and fails by itself.
      if (this.#way === "channels" || this.#ended.signal.aborted || !this.#canRetry(error)) throw error;
      this.#lose(place, error);
      return undefined;
    }
  }

  /** A connection as soon as there is a session again. */
  async #openLater(port: number, signal: AbortSignal | undefined): Promise<ForwardPair> {
    const message = `there was no way to the pod within ${OPEN_TIMEOUT / 1000} s`;
    const late = () => new ForwardError(message, { port, code: "ETIMEDOUT" });
    const ended = signal ? AbortSignal.any([this.#ended.signal, signal]) : this.#ended.signal;
    return await withDeadline(OPEN_TIMEOUT, late, ended, async (given) => {
      for (;;) {
        given.throwIfAborted();
        if (this.#recovery) await orAbort(this.#recovery, given);
        const pair = await orAbort(this.#tryOpen(port), given, closeLate);
        if (pair) return pair;
      }
    });
  }

  #track(connection: ForwardedConnection, info: ForwardConnectionInfo): void {
    this.#active.add(connection);
    this.#emit({ type: "connected", ...info });
    const end = () => {
      this.#active.delete(connection);
      this.#totals.bytesReceived += connection.bytesReceived;
      this.#totals.bytesSent += connection.bytesSent;
    };
    connection.closed.then(() => {
      end();
      const { bytesReceived, bytesSent } = connection;
      this.#emit({ type: "closed", bytesReceived, bytesSent, ...info });
    }, (error) => {
      end();
      this.#failed(info, error);
    });
  }

  #failed(info: ForwardConnectionInfo, error: unknown): void {
    this.#totals.failed++;
    this.#emit({ type: "failed", error: asError(error), ...info });
  }

  /** Finds the pod, and opens the first session to it. */
  async #start(fresh: boolean): Promise<void> {
    const { connection, resolve } = this.#target;
    const pod = await resolve({ fresh, signal: this.#ended.signal });
    refuseNotRunning(pod);
    const { name, namespace = "default" } = pod.metadata;
    const path = podPath(namespace, name);
    const pool: ForwardPool = new ForwardPool(() => this.#dial(place), (reason) => this.#lose(place, reason));
    const place: Place = { pod, path, pool, watch: new AbortController(), retired: false };
    this.#way = connection.wire === "websocket" ? "channels" : "auto";
    try {
      if (this.#way !== "channels") pool.add(await this.#dial(place));
    } catch (error) {
      // A server that speaks neither may still know the oldest form; its refusals are no Status of Kubernetes'.
      if (connection.wire !== "auto" || !isUnknownProtocol(error)) throw error;
      this.#way = "channels";
    }
    if (this.#ended.signal.aborted) { // In the very moment in which the session was open.
      pool.close(this.#ended.signal.reason);
      throw this.#ended.signal.reason;
    }
    // Who left the pod because it is ending still wants to know when it is gone.
    if (this.#place && !this.#place.retired) this.#leave(this.#place, new PodwireError("the pod was dialed anew"));
    this.#place = place;
    this.#places.add(place);
    this.#watch(place);
  }

  /** Opens one session more to a pod. */
  #dial(place: Place): Promise<ForwardSession> {
    const { connection } = this.#target;
    const pod = place.pod.metadata.name;
    const path = `${place.path}/portforward`;
    const options = { resource: "pods/portforward", signal: this.#ended.signal };
    return openFirst(this.#way === "spdy" ? "spdy" : connection.wire, async () => {
      const socket = await connection.openWebSocket(path, { ...options, protocols: [PORT_FORWARD_TUNNEL] });
      this.#emit({ type: "dialed", wire: "tunnel", pod });
      return new SpdyForwardSession(messageDuplex(socket));
    }, async () => {
      const { duplex } = await connection.openSpdy(path, { ...options, protocols: [PORT_FORWARD_PROTOCOL] });
      this.#way = "spdy"; // Further sessions need not be refused first.
      this.#emit({ type: "dialed", wire: "spdy", pod });
      return new SpdyForwardSession(duplex);
    });
  }

  async #dialChannels({ pod, path }: Place, port: number): Promise<ChannelForwardSession> {
    const socket = await this.#target.connection.openWebSocket(`${path}/portforward?ports=${port}`, {
      resource: "pods/portforward",
      protocols: [PORT_FORWARD_CHANNELS],
      signal: this.#ended.signal,
    });
    this.#emit({ type: "dialed", wire: "v4", pod: pod.metadata.name });
    return new ChannelForwardSession(socket);
  }

  #watch(place: Place): void {
    const { connection, byName } = this.#target;
    const { pod, pool, watch } = place;
    void watchPod((path, options) => connection.request(path, options), pod, {
      terminating: () => {
        // A workload has other pods, or will. A pod by its name is the only one.
        if (byName || this.#options.reconnect === false) return;
        place.retired = true;
        pool.retire();
        this.#lose(place, new PodwireError(`pod ${pod.metadata.name} is ending`));
      },
      blind: (reason) => this.#emit({ type: "unwatched", pod: pod.metadata.name, reason }),
      gone: (reason) => {
        const error = new PodwireError(reason);
        this.#leave(place, error);
        this.#lose(place, error, byName && !returns(pod));
      },
    }, watch.signal);
  }

  /** Lets go of a pod and of what goes on there. */
  #leave(place: Place, reason: unknown): void {
    this.#places.delete(place);
    place.watch.abort();
    place.pool.close(reason);
  }

  /** No session is left for new connections: looks for another, or ends. */
  #lose(place: Place, reason: unknown, forGood = false): void {
    if (this.#ended.signal.aborted || place !== this.#place) return;
    if (forGood || this.#options.reconnect === false) return this.#fail(reason);
    if (this.#recovery) return;
    this.#emit({ type: "lost", reason: asError(reason) });
    this.#recovery = this.#recover().finally(() => this.#recovery = undefined);
  }

  #fail(cause: unknown): void {
    const error = new PortForwardError("lost connection to pod", { cause });
    this.#settle.reject(error);
    this.#end(error);
  }

  /** Dials until there is a session; at first without a pause, unless the one that is lost was hardly there. */
  async #recover(): Promise<void> {
    const { signal } = this.#ended;
    let delay = performance.now() - this.#recovered < MAX_DELAY ? MAX_DELAY : 0;
    for (let attempt = 1; !signal.aborted; attempt++, delay = Math.min(2 * delay + FIRST_DELAY, MAX_DELAY)) {
      await pause(delay * (0.5 + Math.random() / 2), signal);
      if (signal.aborted) return;
      try {
        await this.#start(true);
        this.#totals.redials++;
        this.#recovered = performance.now();
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!this.#canRetry(error)) return this.#fail(error);
        this.#emit({ type: "retry", attempt, delay, reason: asError(error) });
      }
    }
  }

  /** Whether trying again can help. A pod that is asked for by name and does not exist will not come back, unless something makes it. */
  #canRetry(error: unknown): boolean {
    if (!(error instanceof ApiError) || error.code !== 404 || !this.#target.byName) return true;
    return this.#place !== undefined && returns(this.#place.pod);
  }

  #end(reason: unknown): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(reason);
    for (const place of this.#places) this.#leave(place, reason);
    for (const listener of this.#listeners) listener.close();
    this.#settle.reject(reason); // Unless it is settled.
  }

  #emit(event: PortForwardEvent): void {
    tell(this.#options.onEvent, event);
  }
}

/** How long a connection waits for a way to the pod, in milliseconds. */
const OPEN_TIMEOUT = 30_000;

/** Between attempts to dial anew, in milliseconds: it doubles from one to the other. */
const FIRST_DELAY = 100;
const MAX_DELAY = 1_000;

/** Whether a pod that is gone comes back under the same name: what makes it, makes it again. */
function returns({ metadata }: PodObject): boolean {
  const owner = metadata.ownerReferences?.find(({ controller }) => controller);
  return owner?.kind === "StatefulSet" || owner?.kind === "Node";
}

/**
 * Whether a server said no to both wires as one does that knows neither: without a reason of Kubernetes' own (rights, a
 * pod that is not there), and without having failed at anything.
 */
function isUnknownProtocol(error: unknown): boolean {
  if (!(error instanceof UpgradeError) || error.status) return false;
  if (error.cause instanceof UpgradeError && error.cause.status) return false;
  return UNKNOWN_PROTOCOL.has(error.code);
}

/** What servers answer to a protocol that they do not know; 0 where a browser hides the answer. */
const UNKNOWN_PROTOCOL: ReadonlySet<number> = new Set([0, 400, 403, 405, 426, 501]);

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new PodwireError(String(reason));
}

/** Nobody waits for it any more. */
function closeLate(pair: ForwardPair | undefined): void {
  pair?.close();
}
