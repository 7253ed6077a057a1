/** A gateway in front of a server that follows a script, and clients that say just what a test tells them to. */
import { type AccessRecord, type Gateway, type GatewayOptions, serveGateway } from "../../lib/server/mod.ts";
import { type Script, withRawServer } from "../client/raw_server.ts";

/** What the gateway says to the upstream that it is. */
export const CREDENTIALS = "Bearer upstream-secret";

/** The way to `server`. */
export function accessTo(server: string | URL): GatewayOptions["access"] {
  return {
    server: new URL(server),
    namespace: "default",
    tls: {},
    credentials: {
      headers: () => Promise.resolve([["Authorization", CREDENTIALS]]),
      clientCertificate: () => Promise.resolve(undefined),
      invalidate() {},
    },
  };
}

/** Runs `work` with a gateway on a free port, in front of a server that follows `script`. */
export async function withGateway<T>(
  script: Script,
  work: (gateway: Gateway, records: readonly AccessRecord[]) => Promise<T>,
  options: Partial<GatewayOptions> = {},
): Promise<T> {
  return await withRawServer(script, async (server) => {
    const records: AccessRecord[] = [];
    await using gateway = await serveGateway({
      access: accessTo(server),
      listen: { port: 0 },
      onRequest: (record) => records.push(record),
      ...options,
    });
    return await work(gateway, records);
  });
}

/** A client's end of one connection to a gateway. */
export class RawRequest implements Disposable {
  readonly #connection: Deno.Conn;
  #received = "";
  #closed = false;

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  /** Connects, and sends `text` as it is. */
  static async open({ address }: Gateway, text: string): Promise<RawRequest> {
    const connection = address.transport === "unix"
      ? await Deno.connect({ transport: "unix", path: address.path })
      : await Deno.connect({ hostname: address.hostname, port: address.port });
    const client = new RawRequest(connection);
    await client.send(text);
    return client;
  }

  /** Sends bytes or text as they are. */
  async send(data: string | Uint8Array): Promise<void> {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  /** Reads until `end` has come, or to the end; gives everything so far. */
  async until(end?: string): Promise<string> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(64 * 1024);
    while (end === undefined || !this.#received.includes(end)) {
      const n = await this.#connection.read(buffer);
      if (n === null) {
        if (end === undefined) return this.#received;
        throw new Error(`the gateway ended before ${JSON.stringify(end)}: ${JSON.stringify(this.#received)}`);
      }
      this.#received += decoder.decode(buffer.subarray(0, n), { stream: true });
    }
    return this.#received;
  }

  /** Reads to the end, and counts. */
  async count(look: (bytes: Uint8Array) => void): Promise<number> {
    const buffer = new Uint8Array(64 * 1024);
    let count = 0;
    for (let n = await this.#connection.read(buffer); n !== null; n = await this.#connection.read(buffer)) {
      look(buffer.subarray(0, n));
      count += n;
    }
    return count;
  }

  /** Ends its own direction only. */
  closeWrite(): Promise<void> {
    return this.#connection.closeWrite();
  }

  /** Ends both directions. */
  [Symbol.dispose](): void {
    if (!this.#closed) this.#connection.close();
    this.#closed = true;
  }
}

/** Sends one request and reads the answer to the end of the connection. */
export async function ask(gateway: Gateway, text: string): Promise<string> {
  using client = await RawRequest.open(gateway, text);
  return await client.until();
}

/** A request with the gateway's token, as the last of its connection. */
export function authorized(gateway: Gateway, method: string, target: string, ...lines: readonly string[]): string {
  return [
    `${method} ${target} HTTP/1.1`,
    "Host: localhost",
    `Authorization: Bearer ${gateway.token}`,
    "Connection: close",
    ...lines,
    "",
    "",
  ].join("\r\n");
}

/** The first line of an answer. */
export function statusLine(answer: string): string {
  return answer.slice(0, Math.max(answer.indexOf("\r\n"), 0));
}
