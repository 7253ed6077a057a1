/**
 * What a port-forward asks of an API server, played in memory: pods that come and go, watches, and dials over every wire.
 *
 * @module
 */
import { assert } from "@std/assert";
import { duplexPair, PodwireError } from "../../lib/bytes/mod.ts";
import { ApiError, type PodObject, UpgradeError, type Wire } from "../../lib/client/mod.ts";
import type { PodConnection } from "../../lib/client/pod.ts";
import {
  type ForwardTarget,
  PortForward,
  type PortForwardEvent,
  type PortForwardOptions,
} from "../../lib/client/port_forward.ts";
import { messageDuplex, type MessageSocket, WebSocketConnection } from "../../lib/websocket/mod.ts";
import { FakeClock } from "./fake_clock.ts";
import { ForwardPeer } from "./forward_peer.ts";

/** A request for a session. */
export interface Dial {
  readonly wire: "tunnel" | "spdy" | "v4";
  readonly path: string;
}

/** What a pod of the fake server has that matters. */
export interface FakePod {
  readonly uid?: string;
  readonly phase?: string;
  /** The kind of what made it. */
  readonly owner?: string;
  readonly ending?: boolean;
  readonly resourceVersion?: string;
}

/** A pod as the API server shows it. */
export function makePod(name: string, pod: FakePod = {}): PodObject {
  return {
    metadata: {
      name,
      namespace: "shop",
      uid: pod.uid ?? `uid-of-${name}`,
      resourceVersion: pod.resourceVersion ?? "1",
      ...(pod.owner !== undefined && { ownerReferences: [{ kind: pod.owner, controller: true }] }),
      ...(pod.ending && { deletionTimestamp: "2026-11-21T00:00:00Z" }),
    },
    status: { phase: pod.phase ?? "Running" },
  };
}

/** The refusal of a wire; with a `Status` of Kubernetes' as its body if there is a message. */
export function refusal(code: number, message?: string, wire: "websocket" | "spdy" = "websocket"): UpgradeError {
  const body = message === undefined ? "" : JSON.stringify({ kind: "Status", status: "Failure", message, code });
  return new UpgradeError({ code, statusText: "Refused", body, resource: "pods/portforward", wire });
}

interface Watcher {
  readonly name: string;
  readonly controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
}

/** An API server without a network. */
export class FakeServer {
  /** What was dialed, refused or not. */
  readonly dials: Dial[] = [];
  /** The other ends of the SPDY sessions, tunnelled or not. */
  readonly peers: ForwardPeer[] = [];
  /** The other ends of the WebSockets with channels. */
  readonly sockets: MessageSocket[] = [];
  readonly pods = new Map<string, PodObject>();
  /** What plain requests asked for: `watch NAME VERSION` or `get NAME`. */
  readonly requests: string[] = [];
  /** Why a dial fails, or whatever it has to wait for. */
  onDial: (dial: Dial) => Error | undefined | void | Promise<void> = () => {};
  /** The status of an answer to a watch and to a GET; 0: nobody answers. */
  watchStatus = 200;
  getStatus = 200;
  /** Why no plain request can be sent. */
  unsendable: Error | undefined;
  /** How many plain requests were to be sent, those that could not be among them. */
  attempts = 0;
  readonly #watchers = new Set<Watcher>();
  #changed = Promise.withResolvers<void>();

  /** How many watches are open. */
  get watches(): number {
    return this.#watchers.size;
  }

  /** Shows a pod, and tells those who watch it. */
  put(pod: PodObject): void {
    const type = this.pods.has(pod.metadata.name) ? "MODIFIED" : "ADDED";
    this.pods.set(pod.metadata.name, pod);
    this.emit(type, pod);
  }

  /** Shows a pod no more, and tells those who watch it. */
  remove(name: string): void {
    const pod = this.pods.get(name);
    assert(pod);
    this.pods.delete(name);
    this.emit("DELETED", pod);
  }

  /** Tells those who watch a pod something. */
  emit(type: string, object: PodObject | { readonly kind: "Status"; readonly code: number }, name?: string): void {
    const line = new TextEncoder().encode(`${JSON.stringify({ type, object })}\n`);
    const of = name ?? ("metadata" in object ? object.metadata.name : undefined);
    for (const watcher of this.#watchers) {
      if (watcher.name === of) watcher.controller.enqueue(line);
    }
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Ends all watches, as a server does every few minutes, or breaks them. */
  endWatches(reason?: Error): void {
    for (const { controller } of this.#watchers) {
      if (reason) controller.error(reason);
      else controller.close();
    }
    this.#watchers.clear();
  }

  /** The way to it. */
  connection(wire: Wire = "auto"): PodConnection {
    return {
      wire,
      get: async <T>(path: string): Promise<T> => {
        const response = this.#get(path);
        if (!response.ok) throw await ApiError.from(response);
        return await response.json() as T;
      },
      request: (path, { query, signal }) => {
        signal?.throwIfAborted();
        this.attempts++;
        if (this.unsendable) return Promise.reject(this.unsendable);
        return Promise.resolve(query?.get("watch") ? this.#watch(query, signal) : this.#get(path));
      },
      openWebSocket: async (path, { protocols, signal }) => {
        const [protocol = ""] = protocols;
        const isTunnel = protocol === "SPDY/3.1+portforward.k8s.io";
        assert(isTunnel || protocol === "v4.channel.k8s.io");
        await this.#answer({ wire: isTunnel ? "tunnel" : "v4", path }, signal);
        const [near, far] = duplexPair();
        const server = new WebSocketConnection(far, { role: "server", protocol });
        if (isTunnel) this.peers.push(new ForwardPeer(messageDuplex(server)));
        else this.sockets.push(server);
        return new WebSocketConnection(near, { role: "client", protocol });
      },
      openSpdy: async (path, { protocols, signal }) => {
        assert(protocols.length === 1 && protocols[0] === "portforward.k8s.io");
        await this.#answer({ wire: "spdy", path }, signal);
        const [near, far] = duplexPair();
        this.peers.push(new ForwardPeer(far));
        return { duplex: near, protocol: "portforward.k8s.io" };
      },
    };
  }

  /** A pod by its name, as `Pod.portForward` finds it. */
  byName(name: string, wire?: Wire): ForwardTarget {
    const connection = this.connection(wire);
    const path = `/api/v1/namespaces/shop/pods/${name}`;
    return {
      byName: true,
      connection,
      resolve: ({ signal }) => {
        signal.throwIfAborted();
        return connection.get(path);
      },
    };
  }

  /** Any pod, the first that runs; waits for one, as `Cluster.portForward` does for a workload. */
  anyPod(wire?: Wire): ForwardTarget {
    return {
      byName: false,
      connection: this.connection(wire),
      resolve: async ({ fresh, signal }) => {
        const aborted = Promise.withResolvers<never>();
        aborted.promise.catch(() => {}); // It may come when nobody waits any more.
        signal.addEventListener("abort", () => aborted.reject(signal.reason), { once: true });
        for (;;) {
          signal.throwIfAborted();
          for (const pod of this.pods.values()) {
            if (!fresh || (pod.status?.phase === "Running" && !pod.metadata.deletionTimestamp)) return pod;
          }
          await Promise.race([this.#changed.promise, aborted.promise]);
        }
      },
    };
  }

  async #answer(dial: Dial, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.dials.push(dial);
    const answer = this.onDial(dial);
    if (answer instanceof Error) throw answer;
    if (!answer) return;
    const aborted = Promise.withResolvers<never>();
    signal?.addEventListener("abort", () => aborted.reject(signal.reason), { once: true });
    await Promise.race([answer, aborted.promise]);
  }

  #get(path: string): Response {
    const name = path.split("/").at(-1)!;
    this.requests.push(`get ${name}`);
    if (this.getStatus === 0) throw new PodwireError("nobody answers");
    const pod = this.pods.get(name);
    const status = this.getStatus !== 200 ? this.getStatus : pod ? 200 : 404;
    return new Response(JSON.stringify(status === 200 ? pod : { kind: "Status", code: status }), { status });
  }

  #watch(query: URLSearchParams, signal?: AbortSignal): Response {
    const name = query.get("fieldSelector")!.replace("metadata.name=", "");
    this.requests.push(`watch ${name} ${query.get("resourceVersion")}`);
    if (this.watchStatus === 0) throw new PodwireError("nobody answers");
    if (this.watchStatus !== 200) return new Response("{}", { status: this.watchStatus });
    let watcher: Watcher;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        watcher = { name, controller };
        this.#watchers.add(watcher);
        signal?.addEventListener("abort", () => {
          if (this.#watchers.delete(watcher)) controller.error(signal.reason);
        }, { once: true });
      },
      cancel: () => void this.#watchers.delete(watcher),
    });
    return new Response(body);
  }
}

/** A port-forward in a world of its own. */
export interface ForwardScene {
  readonly clock: FakeClock;
  readonly server: FakeServer;
  readonly forward: PortForward;
  /** What it has told so far. */
  readonly events: PortForwardEvent[];
}

/** Runs `work` with an open port-forward, to the pod `web-0` unless `scene` says otherwise; fails if anything is left in the end. */
export async function withPortForward(
  scene: {
    readonly pod?: PodObject;
    readonly target?: (server: FakeServer) => ForwardTarget;
    readonly options?: PortForwardOptions;
    readonly onDial?: FakeServer["onDial"];
  },
  work: (scene: ForwardScene) => Promise<void>,
): Promise<void> {
  using clock = new FakeClock();
  const server = new FakeServer();
  server.pods.set("web-0", scene.pod ?? makePod("web-0"));
  if (scene.onDial) server.onDial = scene.onDial;
  const events: PortForwardEvent[] = [];
  const target = scene.target?.(server) ?? server.byName("web-0");
  const forward = await PortForward.open(target, { onEvent: (event) => events.push(event), ...scene.options });
  try {
    await work({ clock, server, forward, events });
  } finally {
    forward.close();
    await leftAlone(clock, server);
  }
}

/** Lets what has ended go, and fails if something has not. */
export async function leftAlone(clock: FakeClock, server: FakeServer): Promise<void> {
  await clock.pass(3_000);
  assert(server.watches === 0, `${server.watches} watches are left`);
  for (const peer of server.peers) {
    peer.close();
    await peer.gone;
  }
  await clock.pass(3_000);
}
