/**
 * A pod, and the streams into it.
 *
 * @module
 */
import { openSpdyWire, SPDY_PROTOCOLS, WebSocketWire } from "../channels/mod.ts";
import type { MessageSocket } from "../websocket/mod.ts";
import type { UploadSource } from "./copy_content.ts";
import type { CopyOptions, Download, Uploaded, UploadOptions } from "./copy_pod.ts";
import type { PodObject } from "./objects.ts";
import { type OpenedWire, type OpenWire, RemoteCommand, type RemoteCommandOptions } from "./remote_command.ts";
import type { PortForward, PortForwardOptions } from "./port_forward.ts";
import { podPath } from "./resource_path.ts";
import type { SpdyUpgrade } from "./transport.ts";
import { openFirst, type Wire } from "./wire.ts";

/** The part of a cluster that a pod takes. */
export interface PodConnection {
  /** GETs JSON from below the server's URL. */
  get<T>(path: string, options?: { signal?: AbortSignal }): Promise<T>;
  /** Sends a request below the server's URL; the answer's body is not read yet. */
  request(path: string, options: { query?: URLSearchParams; signal?: AbortSignal }): Promise<Response>;
  /** Opens a WebSocket below the server's URL. */
  openWebSocket(path: string, options: UpgradeOptions): Promise<MessageSocket>;
  /** Upgrades to SPDY/3.1 below the server's URL. */
  openSpdy(path: string, options: UpgradeOptions): Promise<SpdyUpgrade>;
  /** What to go over. */
  readonly wire: Wire;
}

/** What a stream into a pod is asked for with. */
export interface UpgradeOptions {
  /** The subresource, for an error to name: `pods/exec`. */
  readonly resource: string;
  /** The protocols to offer, best first. */
  readonly protocols: readonly string[];
  /** Gives up the handshake. */
  readonly signal?: AbortSignal | undefined;
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
 *   const tar = pod.exec(["tar", "x", "-C", "/srv"], { stdin: "piped", stdout: "null", stderr: "inherit" });
 *   await using child = await tar.spawn();
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
  readonly #path: string;

  /**
   * A pod that is reached over `connection`. Use `Cluster.pod`.
   *
   * @throws {TargetError} If no pod, or no namespace, can have such a name.
   */
  constructor(connection: PodConnection, name: string, namespace: string) {
    this.#connection = connection;
    this.#path = podPath(namespace, name);
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
   * @throws {TypeError} If `command` is empty, or no list.
   */
  exec(command: readonly string[], options: RemoteCommandOptions = {}): RemoteCommand {
    if (!Array.isArray(command)) throw new TypeError('Cannot exec what is no list of words, as ["ls", "-l"] is one');
    if (command.length === 0) throw new TypeError("Cannot exec an empty command");
    return new RemoteCommand(this.#open("exec", command, options.container), options);
  }

  /** The container's main process, as it runs: its output from now on and, if it has one, its input. */
  attach(options: RemoteCommandOptions = {}): RemoteCommand {
    return new RemoteCommand(this.#open("attach", [], options.container), options);
  }

  /**
   * Opens a port-forward: any number of connections to any of the pod's ports. It ends when the pod is gone, unless that
   * comes back under the same name.
   *
   * @throws {UpgradeError} If the server refuses.
   * @throws {TargetError} If the pod does not run.
   * @throws {ApiError} If there is no such pod.
   */
  async portForward(options: PortForwardOptions = {}): Promise<PortForward> {
    const { PortForward } = await import("./port_forward.ts");
    const resolve = ({ signal }: { signal: AbortSignal }) => this.get({ signal });
    return await PortForward.open({ resolve, byName: true, connection: this.#connection }, options);
  }

  /**
   * Writes a file of a container: staged beside its place, compared with what the container has, and then put there. A
   * file that is there keeps its inode, its owner and, unless it is given one, its mode. After a break it goes on at the
   * byte where it stopped; of a stream, which gives its bytes once, the last 32 MiB are kept for that, and it is cancelled
   * if the upload fails.
   *
   * @param path Where to; its folder has to be there.
   * @throws {CopyError} If the container cannot take it or has something else. Its old content is still there then, or
   * {@linkcode CopyError.staged} names the new one.
   * @throws {TypeError} If `source` is none, gives chunks that are no bytes, `path` is none, or an option is of the wrong type.
   * @throws {RangeError} If `mode` or `mtime` is nothing that a file can have.
   *
   * @example
   * ```ts
   * import type { Pod } from "@podwire/podwire";
   *
   * async function restore(pod: Pod, dump: Blob): Promise<void> {
   *   const { size, checkedBy } = await pod.upload(dump, "/var/lib/dump.sql", { mode: 0o600 });
   *   console.log(`${size} bytes, checked by ${checkedBy}`);
   * }
   * ```
   */
  async upload(source: UploadSource, path: string, options: UploadOptions = {}): Promise<Uploaded> {
    const { upload } = await import("./copy_pod.ts");
    return await upload(this, source, path, options);
  }

  /**
   * Reads a file of a container. The stream errors, at its end at the latest, unless its bytes are those that
   * the container has; after a break it goes on at the byte where it stopped. A shell in the container waits for it: read it
   * to its end, cancel it, or dispose of the download.
   *
   * @throws {CopyError} If there is no such file.
   *
   * @example
   * ```ts
   * import type { Pod } from "@podwire/podwire";
   *
   * async function save(pod: Pod): Promise<void> {
   *   const { readable } = await pod.download("/var/log/app.log");
   *   await readable.pipeTo((await Deno.create("app.log")).writable); // Whole if this resolves.
   * }
   * ```
   */
  async download(path: string, options: CopyOptions = {}): Promise<Download> {
    const { download } = await import("./copy_pod.ts");
    return await download(this, path, options);
  }

  /**
   * A tar archive of a file or folder, as the container's own `tar` writes it: its names start with the last part of `path`. The
   * stream errors unless the archive is whole; after a break it goes on at the byte where it stopped, if what had come by then is
   * what the container packs once more.
   */
  async tar(path: string, options: CopyOptions = {}): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    const { tar } = await import("./copy_pod.ts");
    return await tar(this, path, options);
  }

  #open(subresource: "exec" | "attach", command: readonly string[], container: string | undefined): OpenWire {
    return (streams, signal) => {
      const query = new URLSearchParams(command.map((word) => ["command", word]));
      if (container) query.set("container", container);
      for (const [name, wanted] of Object.entries(streams)) {
        if (wanted) query.set(name, "true");
      }
      const path = `${this.#path}/${subresource}?${query}`;
      const resource = `pods/${subresource}`;
      return openFirst<OpenedWire>(this.#connection.wire, async () => {
        // Before v5 no WebSocket can end stdin without ending the session (k/k #89899); a terminal never needs to.
        const protocols = streams.stdin && !streams.tty
          ? ["v5.channel.k8s.io"]
          : ["v5.channel.k8s.io", "v4.channel.k8s.io"];
        return {
          wire: new WebSocketWire(await this.#connection.openWebSocket(path, { resource, protocols, signal })),
        };
      }, async (refused) => {
        const protocols = SPDY_PROTOCOLS;
        const { duplex, protocol } = await this.#connection.openSpdy(path, { resource, protocols, signal });
        return { wire: await openSpdyWire(duplex, protocol, streams), refused };
      });
    };
  }
}
