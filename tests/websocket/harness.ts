/**
 * What the WebSocket tests share: a naive codec to compare with, loopback duplexes, and just enough HTTP for a
 * handshake.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { concat as concatAll, type Duplex, PodwireError } from "../../lib/bytes/mod.ts";
import {
  acceptWebSocket,
  ClientHandshake,
  WebSocketConnection,
  type WebSocketConnectionOptions,
} from "../../lib/websocket/mod.ts";

/** The bytes that a string of hexadecimal digits stands for; spaces do not count. */
export function hex(digits: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(digits.replaceAll(" ", "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** All of `parts` in one array. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return concatAll(parts);
}

/** `text` as UTF-8. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** `size` bytes that differ from their neighbours near and far. */
export function pattern(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = i * 31 ^ (i >> 8) * 17 ^ (i >> 16);
  return bytes;
}

/** A frame as it is to stand on the wire, right or wrong. */
export interface RawFrame {
  /** Default `true`. */
  readonly fin?: boolean;
  /** The three reserved bits as a number. Default 0. */
  readonly rsv?: number;
  readonly opcode: number;
  readonly payload?: Uint8Array;
  /** Default: not masked. */
  readonly mask?: readonly [number, number, number, number];
  /** How many bytes the length takes (1, 3 or 9). Default: as few as possible. */
  readonly lengthBytes?: 1 | 3 | 9;
}

/** Writes a frame byte by byte, as RFC 6455 section 5.2 draws it. */
export function encodeFrame(frame: RawFrame): Uint8Array<ArrayBuffer> {
  const { fin = true, rsv = 0, opcode, payload = new Uint8Array(0), mask } = frame;
  const n = payload.length;
  const lengthBytes = frame.lengthBytes ?? (n < 126 ? 1 : n < 65536 ? 3 : 9);
  const bytes = [(fin ? 128 : 0) + rsv * 16 + opcode];
  const maskBit = mask ? 128 : 0;
  if (lengthBytes === 1) bytes.push(maskBit + n);
  if (lengthBytes === 3) bytes.push(maskBit + 126, n >> 8, n & 255);
  if (lengthBytes === 9) bytes.push(maskBit + 127, 0, 0, 0, 0, n >>> 24, (n >> 16) & 255, (n >> 8) & 255, n & 255);
  if (mask) bytes.push(...mask);
  return concat(Uint8Array.from(bytes), mask ? payload.map((byte, i) => byte ^ mask[i % 4]!) : payload);
}

/** What a stream of frames means, as {@linkcode decodeAll} says it. */
export interface Meaning {
  /** Messages (bytes or text) and control frames (an array with their name). */
  readonly events: readonly (Uint8Array | string | readonly unknown[])[];
  /** The close code of the error that stopped it. */
  readonly error?: number;
}

/**
 * Decodes a whole stream at once, slowly and plainly.
 *
 * @param masked Whether frames have to be masked.
 */
export function decodeAll(bytes: Uint8Array, masked: boolean, maxMessageSize = Infinity): Meaning {
  const events: (Uint8Array | string | readonly unknown[])[] = [];
  let message: { opcode: number; payload: Uint8Array } | undefined;
  let at = 0;
  const text = (payload: Uint8Array) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload);
  while (bytes.length - at >= 2) {
    const [first, second] = [bytes[at]!, bytes[at + 1]!];
    const opcode = first % 16;
    const fin = first >= 128;
    const control = opcode >= 8;
    if ((first >> 4) % 8 !== 0) return { events, error: 1002 };
    if (![0, 1, 2, 8, 9, 10].includes(opcode)) return { events, error: 1002 };
    if (control && (!fin || second % 128 > 125)) return { events, error: 1002 };
    if (opcode === 0 && !message) return { events, error: 1002 };
    if ((opcode === 1 || opcode === 2) && message) return { events, error: 1002 };
    if (second >= 128 !== masked) return { events, error: 1002 };

    let length = BigInt(second % 128);
    const extended = length === 126n ? 2 : length === 127n ? 8 : 0;
    const header = 2 + extended + (masked ? 4 : 0);
    if (bytes.length - at < header) break;
    if (extended > 0) {
      length = 0n;
      for (let i = 0; i < extended; i++) length = length * 256n + BigInt(bytes[at + 2 + i]!);
      if (length < (extended === 2 ? 126n : 65536n) || length >= 2n ** 63n) return { events, error: 1002 };
    }
    if (!control && Number(length) + (message?.payload.length ?? 0) > maxMessageSize) return { events, error: 1009 };
    if (BigInt(bytes.length - at - header) < length) break;

    const end = at + header + Number(length);
    const payload = bytes.slice(at + header, end).map((byte, i) =>
      masked ? byte ^ bytes[at + header - 4 + i % 4]! : byte
    );
    at = end;
    try {
      if (opcode === 9) events.push(["ping", payload]);
      else if (opcode === 10) events.push(["pong", payload]);
      else if (opcode === 8) {
        if (payload.length === 1) return { events, error: 1002 };
        const code = payload.length === 0 ? 1005 : payload[0]! * 256 + payload[1]!;
        const allowed = (code > 999 && code < 1004) || (code > 1006 && code < 1015) || (code > 2999 && code < 5000);
        if (payload.length > 0 && !allowed) return { events, error: 1002 };
        events.push(["close", code, text(payload.slice(2))]);
      } else {
        message = {
          opcode: message?.opcode ?? opcode,
          payload: concat(message?.payload ?? new Uint8Array(0), payload),
        };
        if (fin) {
          events.push(message.opcode === 1 ? text(message.payload) : message.payload);
          message = undefined;
        }
      }
    } catch {
      return { events, error: 1007 };
    }
  }
  return { events };
}

/** A TCP connection as a duplex. */
export function duplexOf(conn: Deno.Conn): Duplex {
  let closed = false;
  return {
    read: (into) => conn.read(into),
    async write(data) {
      for (let sent = 0; sent < data.length;) sent += await conn.write(data.subarray(sent));
    },
    closeWrite: () => conn.closeWrite(),
    close() {
      if (!closed) conn.close();
      closed = true;
    },
  };
}

/** Reads a duplex until the bytes so far are enough; a test's own end of a connection. */
export class RawPeer {
  readonly #duplex: Duplex;
  #received: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  constructor(duplex: Duplex) {
    this.#duplex = duplex;
  }

  /** The next `count` bytes. */
  async bytes(count: number): Promise<Uint8Array<ArrayBuffer>> {
    while (this.#received.length < count) {
      const buffer = new Uint8Array(64 * 1024);
      const n = await this.#duplex.read(buffer);
      if (n === null) throw new PodwireError(`the stream ended after ${this.#received.length} of ${count} bytes`);
      this.#received = concat(this.#received, buffer.subarray(0, n));
    }
    const taken = this.#received.slice(0, count);
    this.#received = this.#received.slice(count);
    return taken;
  }

  /** The next frame, unmasked. */
  async frame(): Promise<{ opcode: number; payload: Uint8Array; masked: boolean }> {
    const [first, second] = await this.bytes(2) as unknown as [number, number];
    let length = second % 128;
    if (length === 126) length = new DataView((await this.bytes(2)).buffer).getUint16(0);
    else if (length === 127) length = Number(new DataView((await this.bytes(8)).buffer).getBigUint64(0));
    const masked = second >= 128;
    const key = masked ? await this.bytes(4) : new Uint8Array(4);
    const payload = (await this.bytes(length)).map((byte, i) => byte ^ key[i % 4]!);
    return { opcode: first % 16, payload, masked };
  }

  /** What is left until the end. */
  async rest(): Promise<Uint8Array> {
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const n = await this.#duplex.read(buffer);
      if (n === null) return this.#received;
      this.#received = concat(this.#received, buffer.subarray(0, n));
    }
  }

  /** An HTTP head: its first line and its fields. */
  async head(): Promise<{ start: string; headers: Headers }> {
    let text = "";
    while (!text.endsWith("\r\n\r\n")) text += String.fromCharCode((await this.bytes(1))[0]!);
    const [start = "", ...lines] = text.trimEnd().split("\r\n");
    const headers = new Headers();
    for (const line of lines) {
      headers.append(line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim());
    }
    return { start, headers };
  }

  /** A duplex that starts with what has been read too far. */
  duplex(): Duplex {
    const duplex = this.#duplex;
    return {
      read: (into) => {
        if (this.#received.length === 0) return duplex.read(into);
        const n = Math.min(into.length, this.#received.length);
        into.set(this.#received.subarray(0, n));
        this.#received = this.#received.slice(n);
        return Promise.resolve(n);
      },
      write: (data) => duplex.write(data),
      closeWrite: () => duplex.closeWrite(),
      close: () => duplex.close(),
    };
  }
}

type ConnectionOptions = Omit<WebSocketConnectionOptions, "role" | "protocol">;

/** Connects to a WebSocket server on loopback. */
export async function connect(
  port: number,
  path = "/",
  protocols: readonly string[] = [],
  options: ConnectionOptions = {},
): Promise<WebSocketConnection> {
  const duplex = duplexOf(await Deno.connect({ hostname: "127.0.0.1", port }));
  const handshake = new ClientHandshake(protocols);
  const lines = handshake.headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await duplex.write(utf8(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${lines}\r\n`));
  const peer = new RawPeer(duplex);
  const { start, headers } = await peer.head();
  if (!start.startsWith("HTTP/1.1 101 ")) throw new PodwireError(`refused: ${start}`);
  const protocol = await handshake.verify({ headers });
  return new WebSocketConnection(peer.duplex(), { role: "client", protocol, ...options });
}

/** Accepts one connection and makes it a WebSocket; also tells the path that was asked for. */
export async function accept(
  listener: Deno.Listener,
  supported: readonly string[] = [""],
  options: ConnectionOptions = {},
): Promise<{ socket: WebSocketConnection; path: string }> {
  const peer = new RawPeer(duplexOf(await listener.accept()));
  const { start, headers } = await peer.head();
  const [method = "", path = ""] = start.split(" ");
  const { protocol, headers: answer } = await acceptWebSocket({ method, headers }, supported);
  const lines = answer.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const duplex = peer.duplex();
  await duplex.write(utf8(`HTTP/1.1 101 Switching Protocols\r\n${lines}\r\n`));
  return { socket: new WebSocketConnection(duplex, { role: "server", protocol, ...options }), path };
}

/** Text of `size` bytes, of characters of one to four bytes. */
function text(size: number): string {
  const unit = "aé€😀"; // 10 bytes
  return unit.repeat(Math.floor(size / 10)) + "x".repeat(size % 10);
}

/** Asserts that the peer sends back binary messages and text of every size, 0 B to 16 MiB. */
export async function assertEchoes(socket: WebSocketConnection): Promise<void> {
  for (const size of [0, 1, 125, 126, 4096, 32 * 1024 + 1, 65535, 65536, 1 << 20, 16 << 20]) {
    const payload = pattern(size);
    const [binary] = await Promise.all([socket.receive(), socket.send(payload)]);
    assertInstanceOf(binary, Uint8Array);
    assertEquals(binary.length, size);
    assert(binary.every((byte, i) => byte === payload[i]), `${size} bytes arrived changed`);
    const [string] = await Promise.all([socket.receive(), socket.send(text(size))]);
    assert(string === text(size), `${size} bytes of text arrived changed`);
  }
}

/** Sends back every message until the peer closes. */
export async function echo(socket: WebSocketConnection): Promise<void> {
  for (let message; (message = await socket.receive()) !== undefined;) {
    await (typeof message === "string" ? socket.send(message) : socket.send(message));
  }
  await socket.closed;
}
