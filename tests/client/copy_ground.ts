/** Containers for copies: what programs they have, and a link to them that can be cut. */
import { within } from "../../lib/bytes/mod.ts";
import { Cluster, type Pod } from "../../lib/client/mod.ts";
import { type HostServer, serveHost } from "../../lib/server/mod.ts";

/** What a container needs to be copied to and from in every way. */
export const TOOLS = [
  "sh",
  "tar",
  "sha256sum",
  "cksum",
  "wc",
  "tail",
  "head",
  "dd",
  "cat",
  "mv",
  "cp",
  "rm",
  "rmdir",
  "mkdir",
  "chmod",
  "chown",
  "touch",
  "ln",
  "ls",
  "stat",
  "readlink",
  "sleep",
  "test",
] as const;

/** A program of a container: one of this machine's, or a script in its stead. */
export type Program = (typeof TOOLS)[number] | { readonly name: string; readonly script: string };

/** A folder of programs, for `PATH`. */
export async function programs(folder: string, list: readonly Program[]): Promise<string> {
  await Deno.mkdir(folder, { recursive: true });
  for (const program of list) {
    if (typeof program === "string") await Deno.symlink(await find(program), `${folder}/${program}`);
    else await Deno.writeTextFile(`${folder}/${program.name}`, `#!/bin/sh\n${program.script}\n`, { mode: 0o755 });
  }
  return folder;
}

async function find(program: string): Promise<string> {
  for (const folder of ["/usr/bin", "/bin", "/usr/local/bin", "/opt/homebrew/bin"]) {
    const path = `${folder}/${program}`;
    if (await Deno.lstat(path).then(() => true, () => false)) return await Deno.realPath(path);
  }
  throw new Error(`this machine has no ${program}`);
}

/** A host with a container that has certain programs, and a folder of its own. */
export class CopyGround implements AsyncDisposable {
  readonly folder: string;
  readonly host: HostServer;
  readonly cluster: Cluster;
  readonly link: CuttingLink;
  readonly pod: Pod;

  private constructor(folder: string, host: HostServer, link: CuttingLink) {
    this.folder = folder;
    this.host = host;
    this.link = link;
    this.cluster = new Cluster({ server: link.url(host.url) });
    this.pod = this.cluster.pod("one", { namespace: "default" });
  }

  static async start(list: readonly Program[] = TOOLS): Promise<CopyGround> {
    const folder = await Deno.makeTempDir({ prefix: "podwire-copy-" });
    const PATH = await programs(`${folder}/bin`, list);
    await Deno.mkdir(`${folder}/pod`);
    const main = { name: "main", command: ["/bin/sleep", "1000000"], env: { PATH }, cwd: `${folder}/pod` };
    const host = await serveHost({ listen: { port: 0 }, pods: [{ name: "one", containers: [main] }] });
    return new CopyGround(folder, host, await CuttingLink.start(Number(host.url.port)));
  }

  /** A path in the container. */
  path(name: string): string {
    return `${this.folder}/pod/${name}`;
  }

  /** What lies in the container's folder. */
  async names(): Promise<string[]> {
    return (await Array.fromAsync(Deno.readDir(`${this.folder}/pod`), ({ name }) => name)).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
    await this.link[Symbol.asyncDispose]();
    await this.host.close();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A TCP relay to a port that cuts its connections after so many bytes, as often as it is told. */
export class CuttingLink implements AsyncDisposable {
  /** How many connections are still to be cut, and after how many bytes of either direction. */
  cuts = 0;
  after = Infinity;
  /** Bytes that have passed. */
  passed = 0;
  readonly #listener: Deno.TcpListener;
  readonly #port: number;
  readonly #open = new Set<Deno.Conn>();
  readonly #relays = new Set<Promise<void>>();
  readonly #done: Promise<void>;

  private constructor(port: number) {
    this.#port = port;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#done = this.#run();
  }

  static start(port: number): Promise<CuttingLink> {
    return Promise.resolve(new CuttingLink(port));
  }

  /** `url`, through the relay. */
  url(url: URL): URL {
    const through = new URL(url);
    through.port = String(this.#listener.addr.port);
    return through;
  }

  /** Resolves when no connection is open any more. */
  async idle(): Promise<void> {
    while (this.#relays.size > 0) {
      await within(10_000, Promise.all(this.#relays), () => {
        throw new Error(`${this.#relays.size} connections stay open`);
      });
    }
  }

  /** Cuts the connections that there are. */
  cutAll(): void {
    for (const conn of this.#open) conn.close();
    this.#open.clear();
  }

  async #run(): Promise<void> {
    for await (const near of this.#listener) {
      const relay = this.#relay(near).finally(() => this.#relays.delete(relay));
      this.#relays.add(relay);
    }
    await Promise.all(this.#relays);
  }

  async #relay(near: Deno.Conn): Promise<void> {
    const far = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
    this.#open.add(near).add(far);
    let bytes = 0;
    const copy = async (from: Deno.Conn, to: Deno.Conn) => {
      const buffer = new Uint8Array(16 * 1024);
      for (let n = await from.read(buffer); n !== null; n = await from.read(buffer)) {
        for (let at = 0; at < n;) at += await to.write(buffer.subarray(at, n));
        this.passed += n;
        bytes += n;
        if (this.cuts > 0 && bytes >= this.after) {
          this.cuts--;
          bytes = -Infinity;
          throw new Error("cut");
        }
      }
    };
    await Promise.race([copy(near, far), copy(far, near)]).catch(() => {}); // Cut, or the other side has gone.
    for (const conn of [near, far]) {
      if (this.#open.delete(conn)) conn.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.cutAll();
    await this.#done.catch(() => {}); // A closed connection's relay.
  }
}

/** Bytes that do not repeat. */
export function noise(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return bytes;
}
