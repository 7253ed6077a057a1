/** A SPDY client of a few lines that hides nothing: plain, or in a WebSocket tunnel. */
import { assert, assertEquals } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import {
  buildFrame,
  type Frame,
  headerValue,
  type HttpHead,
  Opcode,
  parseFrames,
  parseHead,
} from "../captures/recording.ts";
import { parseSpdy, readTalk, type SpdyFrame, type SpdyTalk, tunnelled } from "../captures/spdy_recording.ts";
import { StoredBlocks, synStream } from "../spdy/harness.ts";
import { connect, type Reachable } from "./raw_client.ts";

/** The name of the tunnel. */
export const TUNNEL = "SPDY/3.1+portforward.k8s.io";

/** A connection that speaks SPDY, or an answer that was no upgrade. */
export class RawSpdyClient implements Disposable {
  readonly head: HttpHead;
  /** For the headers of this side's streams. */
  readonly blocks: StoredBlocks = new StoredBlocks();
  ended = false;
  readonly #connection: Deno.Conn;
  #received: Uint8Array;
  #closed = false;

  private constructor(connection: Deno.Conn, head: HttpHead, rest: Uint8Array) {
    this.#connection = connection;
    this.head = head;
    this.#received = rest;
  }

  /** Sends a request with these header lines and reads the head of the answer. */
  static async request(
    host: Reachable,
    startLine: string,
    lines: readonly string[],
    behind: Uint8Array = new Uint8Array(0),
  ): Promise<RawSpdyClient> {
    const connection = await connect(host);
    const head = [`${startLine} HTTP/1.1`, "Host: localhost", "Connection: Upgrade", ...lines, "", ""].join("\r\n");
    await connection.write(concat([new TextEncoder().encode(head), behind]));
    let bytes: Uint8Array = new Uint8Array(0);
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const n = await connection.read(buffer);
      assert(n !== null, "the host ended before it answered");
      bytes = concat([bytes, buffer.slice(0, n)]);
      const parsed = parseHead(bytes);
      if (parsed) return new RawSpdyClient(connection, parsed.head, parsed.rest);
    }
  }

  /** Upgrades a POST for `path` to SPDY, offering `protocols` in a line each. */
  static async open(
    host: Reachable,
    path: string,
    protocols: readonly string[],
    behind?: Uint8Array,
  ): Promise<RawSpdyClient> {
    const offers = protocols.map((name) => `X-Stream-Protocol-Version: ${name}`);
    return await RawSpdyClient.request(host, `POST ${path}`, ["Upgrade: SPDY/3.1", ...offers], behind);
  }

  /** Opens a tunnel. */
  static async tunnel(host: Reachable, path: string, protocol = TUNNEL): Promise<RawSpdyClient> {
    return await RawSpdyClient.request(host, `GET ${path}`, [
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      `Sec-WebSocket-Protocol: ${protocol}`,
    ]);
  }

  /** SYN_STREAM. */
  open(id: number, headers: Readonly<Record<string, string>>, flags = 0): Uint8Array {
    return synStream(id, this.blocks.of(...Object.entries(headers)), flags);
  }

  /** Sends SPDY frames; through a tunnel as messages of at most `size` bytes, with an empty one behind each. */
  async send(...frames: readonly Uint8Array[]): Promise<void> {
    const bytes = concat(frames);
    await this.write(this.#isTunnel ? inMessages(bytes) : bytes);
  }

  /** Sends bytes as they are. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  /** Reads until `done` is content with what has been said so far. */
  async until(done: (talk: SpdyTalk) => boolean): Promise<SpdyTalk> {
    for (;;) {
      const { talk } = this;
      if (done(talk)) return talk;
      assert(!this.ended, `the host ended; it had said ${JSON.stringify(talk).slice(0, 500)}`);
      await this.read();
    }
  }

  /** Reads until the host has ended. */
  async finish(): Promise<SpdyTalk> {
    while (!this.ended) await this.read();
    return this.talk;
  }

  /** Reads once. */
  async read(): Promise<void> {
    const buffer = new Uint8Array(256 * 1024);
    const n = await this.#connection.read(buffer);
    if (n === null) this.ended = true;
    else this.#received = concat([this.#received, buffer.subarray(0, n)]);
  }

  /** How much has been received behind the head, in bytes. */
  get size(): number {
    return this.#received.length;
  }

  /** The SPDY frames that have been received. */
  get frames(): SpdyFrame[] {
    return parseSpdy(this.#isTunnel ? tunnelled(this.messages) : this.#received);
  }

  /** The WebSocket frames that have been received. */
  get messages(): Frame[] {
    return parseFrames(this.#received).frames;
  }

  /** What has been said so far. */
  get talk(): SpdyTalk {
    return readTalk(this.frames);
  }

  /** The body of an answer that was no upgrade. */
  async body(): Promise<string> {
    while (!this.ended) await this.read();
    return new TextDecoder().decode(this.#received);
  }

  /** Ends this side's direction. */
  async end(): Promise<void> {
    await this.#connection.closeWrite();
  }

  /** Ends the connection without a word. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection.close();
  }

  get #isTunnel(): boolean {
    return headerValue(this.head, "Sec-WebSocket-Protocol") !== undefined;
  }
}

/** Bytes in messages of boundaries that mean nothing, some of them empty, some fragmented. */
function inMessages(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0, size = 1; at < bytes.length; at += size, size = size * 3 % 10_007) {
    const piece = bytes.subarray(at, at + size);
    const half = piece.length >> 1;
    parts.push(
      buildFrame(Opcode.BINARY, new Uint8Array(0)),
      buildFrame(Opcode.BINARY, piece.subarray(0, half), { fin: false }),
      buildFrame(Opcode.CONTINUATION, piece.subarray(half)),
    );
  }
  return concat(parts);
}

/** Asserts that a request was refused in this way. */
export async function assertRefused(client: RawSpdyClient, startLine: string, body: string): Promise<void> {
  assertEquals([client.head.startLine, await client.body()], [`HTTP/1.1 ${startLine}`, body]);
}
