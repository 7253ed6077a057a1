/**
 * A pod, and the streams into it.
 *
 * @module
 */
import type { MessageSocket } from "../websocket/mod.ts";
import type { PodObject } from "./objects.ts";
import { type OpenSession, RemoteCommand, type RemoteCommandOptions } from "./remote_command.ts";

/** The part of a cluster that a pod takes. */
export interface PodConnection {
  /** GETs JSON from below the server's URL. */
  get<T>(path: string, options?: { signal?: AbortSignal }): Promise<T>;
  /** Opens a WebSocket below the server's URL. */
  openWebSocket(
    path: string,
    options: { resource: string; protocols: readonly string[]; signal?: AbortSignal | undefined },
  ): Promise<MessageSocket>;
}

/**
 * A pod by name. Nothing is asked of the server until a method is called.
 *
 * @example
 * ```ts
 * import { Cluster } from "@podwire/podwire";
 *
 * async function unpack(cluster: Cluster, archive: ReadableStream<Uint8Array>): Promise<void> {
 *   const pod = cluster.pod("web-0", { namespace: "shop" });
 *   await using child = await pod.exec(["tar", "x", "-C", "/srv"], { stdin: "piped" }).spawn();
 *   await archive.pipeTo(child.stdin);
 *   const { code } = await child.status;
 *   if (code !== 0) throw new Error(`tar ended with ${code}`);
 * }
 * ```
 */
export class Pod {
  /** The pod's name. */
  readonly name: string;
  /** Its namespace. */
  readonly namespace: string;
  readonly #connection: PodConnection;

  /** A pod that is reached over `connection`. Use `Cluster.pod`. */
  constructor(connection: PodConnection, name: string, namespace: string) {
    this.#connection = connection;
    this.name = name;
    this.namespace = namespace;
  }

  /**
   * Reads the pod.
   *
   * @throws {ApiError} If there is none, or the caller may not see it.
   */
  get(options: { readonly signal?: AbortSignal } = {}): Promise<PodObject> {
    return this.#connection.get<PodObject>(this.#path, options);
  }

  /**
   * A command to run in a container. `command` is an argument vector: no shell reads it.
   *
   * @throws {TypeError} If `command` is empty.
   */
  exec(command: readonly string[], options: RemoteCommandOptions = {}): RemoteCommand {
    if (command.length === 0) throw new TypeError("Cannot exec an empty command");
    return new RemoteCommand(this.#open("exec", command, options.container), options);
  }

  /** The container's main process, as it runs: its output from now on and, if it has one, its input. */
  attach(options: RemoteCommandOptions = {}): RemoteCommand {
    return new RemoteCommand(this.#open("attach", [], options.container), options);
  }

  get #path(): string {
    return `/api/v1/namespaces/${encodeURIComponent(this.namespace)}/pods/${encodeURIComponent(this.name)}`;
  }

  #open(subresource: "exec" | "attach", command: readonly string[], container: string | undefined): OpenSession {
    return (streams, signal) => {
      const query = new URLSearchParams(command.map((word) => ["command", word]));
      if (container) query.set("container", container);
      for (const [name, wanted] of Object.entries(streams)) {
        if (wanted) query.set(name, "true");
      }
      return this.#connection.openWebSocket(`${this.#path}/${subresource}?${query}`, {
        resource: `pods/${subresource}`,
        // Before v5 nobody can end stdin without ending the session (k/k #89899); a terminal never needs to.
        protocols: streams.stdin && !streams.tty ? ["v5.channel.k8s.io"] : ["v5.channel.k8s.io", "v4.channel.k8s.io"],
        signal,
      });
    };
  }
}
