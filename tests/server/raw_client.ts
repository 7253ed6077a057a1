/** A WebSocket client of a few lines, written from RFC 6455, that hides nothing. */
import { assert, assertEquals } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import type { HostServer } from "../../lib/server/mod.ts";
import {
  buildFrame,
  type Conversation,
  type Frame,
  type HttpHead,
  Opcode,
  parseFrames,
  parseHead,
  readConversation,
} from "../captures/recording.ts";

/** A server that these clients can go to. */
export type Reachable = Pick<HostServer, "address" | "url">;

/** Opens a connection to a host. */
export async function connect(host: Reachable): Promise<Deno.Conn> {
  const { address } = host;
  if (address.transport === "unix") return await Deno.connect({ transport: "unix", path: address.path });
  const connection = await Deno.connect({ hostname: address.hostname, port: address.port });
  connection.setNoDelay();
  return connection;
}

/** The path and query of an exec in the pod `web`, with the host's token in front. */
export function execPath(host: Reachable, command: readonly string[], flags = "stdout=true&stderr=true"): string {
  const words = command.map((word) => `command=${encodeURIComponent(word)}`).join("&");
  return `${host.url.pathname.replace(/\/$/, "")}/api/v1/namespaces/default/pods/web/exec?${flags}&${words}`;
}

/** A WebSocket that is open, or an answer that was no upgrade. */
export class RawClient implements Disposable {
  readonly head: HttpHead;
  readonly frames: Frame[] = [];
  readonly #connection: Deno.Conn;
  #rest: Uint8Array;
  ended = false;
  #closed = false;

  private constructor(connection: Deno.Conn, head: HttpHead, rest: Uint8Array) {
    this.#connection = connection;
    this.head = head;
    this.#rest = rest;
    this.#parse();
  }

  /** Sends an upgrade request and reads the head of the answer. */
  static async open(
    host: Reachable,
    path: string,
    { protocol = "v5.channel.k8s.io", headers = "" }: { protocol?: string; headers?: string } = {},
  ): Promise<RawClient> {
    const connection = await connect(host);
    const offer = protocol === "" ? "" : `Sec-WebSocket-Protocol: ${protocol}\r\n`;
    const request = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${offer}${headers}\r\n`;
    await connection.write(new TextEncoder().encode(request));
    let bytes = new Uint8Array(0);
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const n = await connection.read(buffer);
      assert(n !== null, "the host ended before it answered");
      bytes = new Uint8Array(concat([bytes, buffer.slice(0, n)]));
      const parsed = parseHead(bytes);
      if (parsed) return new RawClient(connection, parsed.head, parsed.rest);
    }
  }

  /** Opens an exec in the pod `web` that must be accepted. */
  static async exec(
    host: Reachable,
    command: readonly string[],
    flags?: string,
    protocol?: string,
  ): Promise<RawClient> {
    const client = await RawClient.open(
      host,
      execPath(host, command, flags),
      protocol === undefined ? {} : { protocol },
    );
    assertEquals(client.head.startLine, "HTTP/1.1 101 Switching Protocols");
    return client;
  }

  /** Sends a binary message: a channel and its data. */
  async send(channel: number, data: string | Uint8Array = ""): Promise<void> {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    await this.write(buildFrame(Opcode.BINARY, concat([Uint8Array.of(channel), bytes])));
  }

  /** Sends a control frame. */
  async control(opcode: number, payload: Uint8Array = new Uint8Array(0)): Promise<void> {
    await this.write(buildFrame(opcode, payload));
  }

  /** Sends bytes as they are. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  /** Reads until `done` is content with what has been said so far. */
  async until(done: (conversation: Conversation) => boolean): Promise<Conversation> {
    for (;;) {
      const conversation = this.conversation;
      if (done(conversation)) return conversation;
      assert(!this.ended, `the host ended; it had said ${JSON.stringify(conversation).slice(0, 500)}`);
      await this.read();
    }
  }

  /** Reads until the host has closed, then closes too. */
  async finish(): Promise<Conversation> {
    const conversation = await this.until(({ closes }) => closes.length > 0);
    await this.control(Opcode.CLOSE, Uint8Array.of(3, 232));
    while (!this.ended) await this.read();
    return conversation;
  }

  /** What has been said so far. */
  get conversation(): Conversation {
    const [, protocol = ""] = this.head.headers.find(([name]) => name === "Sec-WebSocket-Protocol") ?? [];
    return readConversation(this.frames, protocol);
  }

  /** Reads once. */
  async read(): Promise<void> {
    const buffer = new Uint8Array(256 * 1024);
    const n = await this.#connection.read(buffer);
    if (n === null) this.ended = true;
    else this.#rest = concat([this.#rest, buffer.subarray(0, n)]);
    this.#parse();
  }

  /** The body of an answer that was no upgrade: all that comes until the host ends. */
  async body(): Promise<string> {
    while (!this.ended) await this.read();
    return new TextDecoder().decode(this.#rest);
  }

  /** Ends the connection without a word. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection.close();
  }

  #parse(): void {
    if (!this.head.startLine.includes(" 101 ")) return;
    const { frames, rest } = parseFrames(this.#rest);
    this.frames.push(...frames);
    this.#rest = rest.slice();
  }
}
