/**
 * What the tests of relays share.
 *
 * @module
 */
import { formatAddress, parseRelays, type RelayEvent, Relays, type RelaySpec } from "../../lib/relay/mod.ts";

/** Relays of a test, and a folder for its sockets. */
export class Ground implements AsyncDisposable {
  readonly folder: string;
  readonly relays: Relays;
  readonly events: RelayEvent[] = [];

  private constructor(folder: string) {
    this.folder = folder;
    this.relays = new Relays({ onEvent: (event) => this.events.push(event) });
  }

  static async start(...specs: readonly RelaySpec[]): Promise<Ground> {
    const ground = new Ground(await Deno.makeTempDir({ prefix: "podwire-relay-" }));
    await ground.apply(...specs);
    return ground;
  }

  /** Makes `specs` the configuration; `FOLDER` in them stands for the folder. */
  async apply(...specs: readonly RelaySpec[]): Promise<void> {
    const text = JSON.stringify({ relays: specs }).replaceAll("FOLDER", this.folder);
    await this.relays.apply(parseRelays([{ file: "relays.json", text }]));
  }

  /** The TCP or UDP port on which a relay listens. */
  port(name = "it"): number {
    const address = this.relays.state().find((relay) => relay.name === name)?.listening;
    if (!address || !("port" in address)) {
      throw new Error(`${name} listens on ${address ? formatAddress(address) : this.relays.failures}`);
    }
    return address.port;
  }

  /** A connection to a relay. */
  connect(name = "it"): Promise<Deno.TcpConn> {
    return Deno.connect({ hostname: "127.0.0.1", port: this.port(name) });
  }

  /** The value of a metric. */
  metric(name: string, labels = ""): number {
    const line = this.relays.metrics().split("\n").find((line) =>
      line.startsWith(`podwire_relay_${name}{`) && line.includes(labels)
    );
    return Number(line?.split(" ").at(-1) ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.relays[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** The mode of a file, in octal; `undefined` if there is none. */
export async function modeOf(path: string): Promise<string | undefined> {
  const found = await Deno.lstat(path).catch(() => undefined);
  return found && ((found.mode ?? 0) & 0o777).toString(8);
}

/** A TCP server on a port of its own. */
export class Server implements AsyncDisposable {
  readonly port: number;
  readonly open = new Set<Deno.Conn>();
  readonly #listener: Deno.Listener;
  readonly #running: Promise<void>;

  /** Hands every connection to `serve`, and closes it afterwards. */
  constructor(serve: (conn: Deno.Conn) => Promise<unknown>, listener?: Deno.Listener) {
    this.#listener = listener ?? Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 4096 });
    this.port = this.#listener.addr.transport === "tcp" ? this.#listener.addr.port : 0;
    this.#running = this.#run(serve);
  }

  async #run(serve: (conn: Deno.Conn) => Promise<unknown>): Promise<void> {
    const served: Promise<unknown>[] = [];
    for await (const conn of this.#listener) {
      this.open.add(conn);
      served.push(
        serve(conn).catch(() => {}).finally(() => {
          if (this.open.delete(conn)) conn.close();
        }),
      );
    }
    await Promise.all(served);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.open) conn.close();
    this.open.clear();
    await this.#running;
  }
}

/** Sends everything back, and ends when the client has. */
export async function echo(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
    await writeAll(conn, buffer.subarray(0, n));
  }
  await conn.closeWrite();
}

/** Writes all of `data`. */
export async function writeAll(conn: Deno.Conn, data: Uint8Array | string): Promise<void> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
}

/** Everything until the end. */
export async function readAll(conn: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(64 * 1024);
  let text = "";
  for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
    text += decoder.decode(buffer.subarray(0, n), { stream: true });
  }
  return text;
}

/** Says `text`, ends, and returns all that comes back. */
export async function ask(conn: Deno.Conn, text: string): Promise<string> {
  try {
    await writeAll(conn, text);
    await conn.closeWrite();
    return await readAll(conn);
  } finally {
    conn.close();
  }
}
