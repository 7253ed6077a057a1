/** One session against a scripted socket: the server's messages are those of a Kubernetes 1.36. */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import {
  ChannelProtocolError,
  DisconnectedError,
  RemoteCommandError,
  RemoteCommandSession,
  type RemoteCommandWire,
  StdinClosedError,
  WebSocketWire,
} from "../../lib/channels/mod.ts";
import type { CloseInfo, MessageSocket } from "../../lib/websocket/mod.ts";
import { FakeClock } from "../client/fake_clock.ts";

/** A socket whose peer says what the test tells it to. */
class ScriptedSocket implements MessageSocket {
  readonly protocol: string;
  readonly sent: number[][] = [];
  readonly closed: Promise<CloseInfo>;
  received = 0;
  sendError: unknown;
  readonly #queue: Array<Uint8Array | undefined | { error: unknown }> = [];
  #wake: (() => void) | undefined;
  #settle!: (info: CloseInfo) => void;

  constructor(protocol = "v5.channel.k8s.io") {
    this.protocol = protocol;
    this.closed = new Promise((resolve) => this.#settle = resolve);
  }

  push(...messages: Array<string | Uint8Array>): this {
    for (const message of messages) {
      this.#queue.push(typeof message === "string" ? new TextEncoder().encode(message) : message);
    }
    this.#wake?.();
    return this;
  }

  end(closeCode = 1000): this {
    this.#settle({ closeCode, reason: "" });
    this.#queue.push(undefined);
    this.#wake?.();
    return this;
  }

  fail(error: unknown): this {
    this.#queue.push({ error });
    this.#wake?.();
    return this;
  }

  async receive(): Promise<Uint8Array | undefined> {
    while (this.#queue.length === 0) await new Promise<void>((resolve) => this.#wake = resolve);
    const next = this.#queue.shift();
    if (next instanceof Uint8Array || next === undefined) {
      this.received++;
      return next;
    }
    throw next.error;
  }

  send(...parts: readonly Uint8Array[] | readonly [string]): Promise<void> {
    if (this.sendError) return Promise.reject(this.sendError);
    this.sent.push(parts.flatMap((part) => typeof part === "string" ? [] : [...part]));
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  abort(reason: unknown = new Error("aborted")): void {
    this.fail(reason);
  }
}

const SUCCESS = '\u0003{"metadata":{},"status":"Success"}';
const read = (session: RemoteCommandSession, name: "stdout" | "stderr" = "stdout") =>
  new Response(session[name].readable()).text();

Deno.test("RemoteCommandSession takes the channels apart and resolves with the exit code", async () => {
  const socket = new ScriptedSocket();
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  socket.push("\u0001", "\u0001out", "\u0002err", "\u0007unknown", "\u0001put", SUCCESS).end();
  assertEquals(await Promise.all([read(session), read(session, "stderr"), session.exitCode]), ["output", "err", 0]);
});

Deno.test("RemoteCommandSession joins a status that comes in pieces", async () => {
  const socket = new ScriptedSocket();
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  socket.push('\u0003{"metadata":{},', '\u0003"status":"Success"}').end();
  assertEquals(await session.exitCode, 0);
});

Deno.test("RemoteCommandSession never takes an end without a status for success", async () => {
  for (const end of [(socket: ScriptedSocket) => socket.end(), (s: ScriptedSocket) => s.fail(new Error("reset"))]) {
    const socket = new ScriptedSocket();
    const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
    await session.writeStdin(new Uint8Array(3));
    end(socket.push("\u0001half"));
    const [output, code] = await Promise.allSettled([read(session), session.exitCode]);
    assert(code.status === "rejected");
    assertInstanceOf(code.reason, DisconnectedError);
    assertEquals([code.reason.bytesReceived, code.reason.bytesSent], [4, 3]);
    assert(output.status === "rejected", "half an output is not a whole one");
  }
});

Deno.test("RemoteCommandSession accepts an end without Close after a whole status", async () => {
  const socket = new ScriptedSocket().push("\u0001x", SUCCESS).fail(new Error("reset"));
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  assertEquals(await Promise.all([read(session), session.exitCode]), ["x", 0]);
});

Deno.test("RemoteCommandSession rejects with the server's words when the command could not run", async () => {
  const socket = new ScriptedSocket().push(
    '\u0003{"metadata":{},"status":"Failure","message":"Internal error occurred: no","reason":"InternalError","code":500}',
  ).end();
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  const error = await assertRejects(() => session.exitCode, RemoteCommandError, "Internal error occurred: no");
  assertEquals(error.status.code, 500);
  assertEquals(await read(session), "", "what was sent is whole");
});

Deno.test("RemoteCommandSession reads the plain text of v1", async () => {
  const socket = new ScriptedSocket("channel.k8s.io").push("\u0003command terminated with non-zero exit code").end();
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  await assertRejects(() => session.exitCode, RemoteCommandError, "Error executing remote command: command terminated");
});

Deno.test("RemoteCommandSession sends input in messages of at most 32 KiB, then the close signal", async () => {
  const socket = new ScriptedSocket();
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  await session.writeStdin(new Uint8Array(32 * 1024 + 1).fill(7));
  await session.closeStdin();
  assertEquals(socket.sent.map((message) => message.length), [32 * 1024 + 1, 2, 2]);
  assertEquals(socket.sent[1], [0, 7]);
  assertEquals(socket.sent[2], [255, 0]);
  await assertRejects(() => session.writeStdin(new Uint8Array(1)), StdinClosedError, "32769 bytes");
  socket.push(SUCCESS).end();
  assertEquals(await session.exitCode, 0);
});

Deno.test("RemoteCommandSession sends the bytes of every view, and nothing of what has none", async () => {
  const socket = new ScriptedSocket();
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6);
  for (const chunk of [bytes.buffer, new DataView(bytes.buffer, 1, 2), new Uint16Array(bytes.buffer, 2)]) {
    await session.writeStdin(chunk);
  }
  for (const chunk of ["text", [1, 2], null]) {
    await assertRejects(() => session.writeStdin(chunk as unknown as Uint8Array), TypeError, "Expected ArrayBuffer");
  }
  assertEquals([socket.sent, session.bytesSent], [[[0, 1, 2, 3, 4, 5, 6], [0, 2, 3], [0, 3, 4, 5, 6]], 12]);
  socket.push(SUCCESS).end();
  assertEquals(await session.exitCode, 0);
});

Deno.test("RemoteCommandSession refuses to end stdin where the protocol cannot", async () => {
  const socket = new ScriptedSocket("v4.channel.k8s.io");
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  await assertRejects(() => session.closeStdin(), ChannelProtocolError, "v4.channel.k8s.io");
  socket.push(SUCCESS).end();
  await session.exitCode;
});

Deno.test("RemoteCommandSession lets what the server said count more than a failed write", async () => {
  const socket = new ScriptedSocket();
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  socket.sendError = new Error("broken pipe");
  socket.push(SUCCESS).end();
  await assertRejects(() => session.writeStdin(new Uint8Array(1)), StdinClosedError);
  assertEquals(await session.exitCode, 0);
});

Deno.test("RemoteCommandSession sends sizes only to a terminal", async () => {
  for (const tty of [false, true]) {
    const socket = new ScriptedSocket();
    const session = new RemoteCommandSession(new WebSocketWire(socket), { tty });
    await session.resize({ columns: 80, rows: 24 });
    assertEquals(socket.sent.length, tty ? 1 : 0);
    socket.push(SUCCESS).end();
    await session.exitCode;
    await session.resize({ columns: 1, rows: 1 });
    assertEquals(socket.sent.length, tty ? 1 : 0, "not after the end");
  }
});

Deno.test("RemoteCommandSession stops reading while its reader does not", async () => {
  const socket = new ScriptedSocket();
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  const chunk = new Uint8Array(64 * 1024).fill(1);
  for (let i = 0; i < 100; i++) socket.push(chunk);
  socket.push(SUCCESS).end();
  for (let i = 0; i < 1000; i++) await Promise.resolve();
  assert(socket.received < 10, `${socket.received} messages were read ahead`);
  assertEquals((await new Response(session.stdout.readable()).arrayBuffer()).byteLength, 100 * (chunk.length - 1));
  assertEquals(await session.exitCode, 0);
});

Deno.test("RemoteCommandSession.inputStalledFor: input that the server no longer takes does not wait", async () => {
  const wire: RemoteCommandWire = {
    type: "spdy",
    protocol: "v4.channel.k8s.io",
    stalledFor: 0,
    receive: () => new Promise(() => {}),
    sendInput: () => Promise.resolve(false),
    endInput: () => Promise.resolve(),
    sendSize: () => Promise.resolve(),
    abort: () => {},
    close: () => Promise.resolve(),
  };
  const session = new RemoteCommandSession(wire, { tty: false });
  const now = performance.now;
  try {
    await assertRejects(() => session.writeStdin(new Uint8Array(5)), StdinClosedError, "0 bytes");
    performance.now = () => now.call(performance) + 60_000;
    assertEquals(session.inputStalledFor, 0);
  } finally {
    performance.now = now;
  }
});

Deno.test("RemoteCommandSession.abort() rejects with its reason, once", async () => {
  const socket = new ScriptedSocket();
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false });
  const reason = new Error("enough");
  session.abort(reason);
  session.abort(new Error("later"));
  assertEquals(await assertRejects(() => session.exitCode), reason);
});

Deno.test("RemoteCommandSession gives up a server that does not close after the status", async () => {
  const socket = new ScriptedSocket().push(SUCCESS);
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false, closeTimeout: 1 });
  assertEquals(await session.exitCode, 0);
});

Deno.test("RemoteCommandSession takes what still comes after the status, for as long as it comes", async () => {
  using clock = new FakeClock();
  const socket = new ScriptedSocket().push(SUCCESS);
  const session = new RemoteCommandSession(new WebSocketWire(socket), { tty: false, closeTimeout: 10_000 });
  const text = read(session);
  for (let i = 0; i < 13; i++) {
    await clock.pass(5_000);
    socket.push("\u0001.");
  }
  await clock.pass(5_000);
  socket.end();
  assertEquals([await session.exitCode, await text], [0, "............."]);
});
