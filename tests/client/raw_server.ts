/**
 * Servers that say just what a test tells them to, byte by byte: HTTP heads by RFC 9112, frames by RFC 6455, channels by
 * Kubernetes, without podwire's parsers. And a way to them that breaks.
 *
 * @module
 */
import { assert } from "@std/assert";
import { connect, createServer, type Socket } from "node:net";
import { concat } from "../../lib/bytes/mod.ts";
import { Cluster, type ClusterOptions } from "../../lib/client/mod.ts";
import {
  acceptOf,
  buildFrame,
  type Frame,
  headerValue,
  type HttpHead,
  Opcode,
  parseFrames,
  parseHead,
} from "../captures/recording.ts";

/** The status of success, as Kubernetes' servers send it. */
export const SUCCESS = '{"metadata":{},"status":"Success"}';

/** How long a client may take to let go of a connection, in milliseconds. */
const GONE_WITHIN = 10_000;

/** The server's end of one connection. */
export class RawConnection {
  readonly #conn: Deno.Conn;
  #received: Uint8Array = new Uint8Array(0);
  #closed = false;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /** The next request's head. */
  async head(): Promise<HttpHead> {
    for (;;) {
      const parsed = parseHead(this.#received);
      if (parsed) {
        this.#received = parsed.rest;
        return parsed.head;
      }
      assert(await this.#read(), "the client ended before its request did");
    }
  }

  /** Writes bytes or text as they are. */
  async write(data: Uint8Array | string): Promise<void> {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    for (let sent = 0; sent < bytes.length;) sent += await this.#conn.write(bytes.subarray(sent));
  }

  /** Reads a request and accepts it as a WebSocket; then, as Kubernetes, the empty message on channel 1. */
  async accept(options: { readonly protocol?: string; readonly accept?: string } = {}): Promise<HttpHead> {
    const head = await this.head();
    const accept = options.accept ?? await acceptOf(headerValue(head, "sec-websocket-key") ?? "");
    await this.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept}\r\n` +
        `Sec-WebSocket-Protocol: ${options.protocol ?? "v5.channel.k8s.io"}\r\n\r\n`,
    );
    await this.message(1, "");
    return head;
  }

  /** Sends a message on a channel. */
  message(channel: number, data: string | Uint8Array): Promise<void> {
    return this.write(message(channel, data));
  }

  /** Sends a Close frame. */
  closeFrame(code = 1000, reason = ""): Promise<void> {
    return this.write(closeFrame(code, reason));
  }

  /** The next frame of the client, or `undefined` at its end. */
  async frame(): Promise<Frame | undefined> {
    for (;;) {
      const { frames: [frame] } = parseFrames(this.#received);
      if (frame) {
        const n = frame.payload.length;
        this.#received = this.#received.subarray(n + 6 + (n > 0xffff ? 8 : n > 125 ? 2 : 0));
        return frame;
      }
      if (!await this.#read()) return undefined;
    }
  }

  /** The next bytes of the client, as they come, or `undefined` at its end. */
  async read(): Promise<Uint8Array | undefined> {
    if (this.#received.length === 0 && !await this.#read()) return undefined;
    const bytes = this.#received;
    this.#received = new Uint8Array(0);
    return bytes;
  }

  /** Reads a request and agrees to speak SPDY/3.1; with `behind` right behind the head. */
  async acceptSpdy(protocol: string | undefined = "v4.channel.k8s.io", behind?: Uint8Array): Promise<HttpHead> {
    const head = await this.head();
    const answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" +
      (protocol === "" ? "" : `X-Stream-Protocol-Version: ${protocol}\r\n`) +
      "Date: Sat, 21 Nov 2026 03:49:22 GMT\r\n\r\n";
    await this.write(concat([new TextEncoder().encode(answer), ...(behind ? [behind] : [])]));
    return head;
  }

  /** Waits until the client has closed the connection, and drops what it sends. */
  async gone(): Promise<void> {
    this.#received = new Uint8Array(0);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.close();
    }, GONE_WITHIN);
    try {
      const buffer = new Uint8Array(64 * 1024);
      while (await this.#conn.read(buffer) !== null);
    } catch {
      // A reset is an end too.
    } finally {
      clearTimeout(timer);
    }
    assert(!late, `the client left the connection open for ${GONE_WITHIN} ms`);
  }

  /** Reads one byte and closes with others unread, to which Linux answers with a reset. The client must have sent a few. */
  async reset(): Promise<void> {
    await this.#conn.read(new Uint8Array(1));
    this.close();
  }

  /** Ends the server's direction. */
  closeWrite(): Promise<void> {
    return this.#conn.closeWrite();
  }

  /** Closes both directions. */
  close(): void {
    if (!this.#closed) this.#conn.close();
    this.#closed = true;
  }

  async #read(): Promise<boolean> {
    const buffer = new Uint8Array(64 * 1024);
    const n = await this.#conn.read(buffer);
    if (n === null) return false;
    this.#received = concat([this.#received, buffer.subarray(0, n)]);
    return true;
  }
}

/** A message on a channel, as one frame of a server. */
export function message(channel: number, data: string | Uint8Array): Uint8Array {
  const payload = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return buildFrame(Opcode.BINARY, concat([Uint8Array.of(channel), payload]), { masked: false });
}

/** A Close frame of a server. */
export function closeFrame(code = 1000, reason = ""): Uint8Array {
  const payload = concat([Uint8Array.of(code >> 8, code & 255), new TextEncoder().encode(reason)]);
  return buildFrame(Opcode.CLOSE, payload, { masked: false });
}

/** What a server does with each of its connections. */
export type Script = (connection: RawConnection) => Promise<void>;

/** Runs `work` against a server that follows `script`. Ends when the client has let go of every connection. */
export async function withRawServer<T>(
  script: Script,
  work: (server: string) => Promise<T>,
): Promise<T> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const running: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const conn of listener) {
      const connection = new RawConnection(conn);
      running.push(script(connection).finally(() => connection.close()));
      running.at(-1)?.catch(() => {}); // Told below.
    }
  })();
  try {
    return await work(`http://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`);
  } finally {
    listener.close();
    await accepting;
    await Promise.all(running);
  }
}

/** As {@linkcode withRawServer}, with a cluster whose API server that is; it knows WebSocket only unless `options` say otherwise. */
export function withCluster<T>(
  script: Script,
  work: (cluster: Cluster) => Promise<T>,
  options: Partial<ClusterOptions> = {},
): Promise<T> {
  return withRawServer(script, async (server) => {
    await using cluster = new Cluster({ server, wire: "websocket", ...options });
    return await work(cluster);
  });
}

/** How a {@linkcode withProxy} breaks a connection: it falls silent, ends it, or resets it. */
export type Break = "stop" | "drop" | "reset";

/**
 * Runs `work` against a TCP proxy in front of `server` that breaks each connection after it has passed on `after` bytes of
 * the server's. A proxy that stopped takes nothing any more from either side.
 */
export async function withProxy<T>(
  server: string,
  broken: { readonly how: Break; readonly after: number },
  work: (server: string) => Promise<T>,
): Promise<T> {
  const { hostname, port } = new URL(server);
  const sockets = new Set<Socket>();
  const proxy = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {}); // "close" follows.
      socket.on("close", () => sockets.delete(socket));
    }
    near.on("data", (data) => far.write(data));
    let left = broken.after;
    far.on("data", (data: Uint8Array) => {
      near.write(data.subarray(0, left));
      left -= data.length;
      if (left > 0) return;
      if (broken.how === "stop") return void [near, far].forEach((socket) => socket.pause());
      far.destroy();
      // The bytes before the break are on their way first.
      near.write(new Uint8Array(0), () => broken.how === "drop" ? near.end() : near.resetAndDestroy());
    });
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  try {
    return await work(`http://127.0.0.1:${(proxy.address() as { port: number }).port}`);
  } finally {
    const closed = new Promise((resolve) => proxy.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  }
}
