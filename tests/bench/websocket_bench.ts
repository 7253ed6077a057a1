/**
 * What `WebSocketConnection.receive()` costs over reading the same bytes from the same kind of connection into one buffer.
 *
 *     deno run -A tests/bench/websocket_bench.ts [MiB per run] [rounds]
 *
 * A second process sends prepared frames of a server over loopback TCP. For each message size the readers take
 * turns: the bare loop, messages that the receiver may keep, and messages in a buffer that is used again
 * (`reuseBuffer`). The lines have medians: throughput, its ratio to the bare loop's, and the CPU of this process
 * per message.
 *
 * @module
 */
import { cpuUsage } from "node:process";
import type { Duplex } from "../../lib/bytes/mod.ts";
import { WebSocketConnection } from "../../lib/websocket/mod.ts";
import { median } from "./median.ts";

interface Run {
  readonly mibPerSecond: number;
  readonly cpuMicros: number;
}

/** Frames of a server with `size` bytes of payload each, about 1 MiB together. */
function frames(size: number): Uint8Array<ArrayBuffer> {
  const header = size < 126 ? [0x82, size] : size < 65536 ? [0x82, 126, size >> 8, size & 0xff] : undefined;
  if (!header) throw new RangeError("messages of 64 KiB and more are not measured");
  const frame = new Uint8Array(header.length + size);
  frame.set(header);
  const count = Math.ceil(1024 * 1024 / frame.length);
  const block = new Uint8Array(count * frame.length);
  for (let i = 0; i < count; i++) block.set(frame, i * frame.length);
  return block;
}

/** The sending process: whoever connects gets `blocks` blocks of frames. */
async function serve(size: number, blocks: number): Promise<void> {
  const block = frames(size);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  print(`${(listener.addr as Deno.NetAddr).port}`);
  for await (const conn of listener) {
    try {
      for (let i = 0; i < blocks; i++) {
        for (let sent = 0; sent < block.length;) sent += await conn.write(block.subarray(sent));
      }
      conn.close();
    } catch {
      return; // The measuring process is done.
    }
  }
}

function duplexOf(conn: Deno.Conn): Duplex {
  return {
    read: (into) => conn.read(into),
    write: async (data) => {
      for (let sent = 0; sent < data.length;) sent += await conn.write(data.subarray(sent));
    },
    closeWrite: () => conn.closeWrite(),
    close: () => conn.close(),
  };
}

async function readBare(conn: Deno.Conn, total: number): Promise<void> {
  const buffer = new Uint8Array(256 * 1024);
  for (let received = 0; received < total;) {
    const n = await conn.read(buffer);
    if (n === null) throw new Error(`the sender ended after ${received} bytes`);
    received += n;
  }
}

async function readMessages(conn: Deno.Conn, count: number, size: number, reuseBuffer: boolean): Promise<void> {
  const socket = new WebSocketConnection(duplexOf(conn), { role: "client", protocol: "", reuseBuffer });
  for (let i = 0; i < count; i++) {
    const message = await socket.receive();
    if (message?.length !== size) throw new Error(`message ${i} has ${message?.length} bytes`);
  }
  socket.abort();
}

async function measure(
  port: number,
  messages: number,
  read: (conn: Deno.Conn) => Promise<void>,
  bytes: number,
): Promise<Run> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const before = cpuUsage();
  const start = performance.now();
  await read(conn);
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = cpuUsage(before);
  try {
    conn.close();
  } catch {
    // The WebSocket's end has closed it.
  }
  return { mibPerSecond: bytes / 1024 / 1024 / seconds, cpuMicros: (user + system) / messages };
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

function medianOf(runs: readonly Run[], key: keyof Run): number {
  return median(runs.map((run) => run[key]));
}

/** Starts the sending process; its first line is its port. */
async function startSender(size: number, blocks: number): Promise<{ child: Deno.ChildProcess; port: number }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", "--no-lock", "--no-check", import.meta.url, "serve", `${size}`, `${blocks}`],
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  return { child, port: Number(new TextDecoder().decode(value)) };
}

async function main(mib: number, rounds: number): Promise<void> {
  for (const size of [512, 4096, 32 * 1024]) {
    const { child, port } = await startSender(size, mib);
    const block = frames(size);
    const total = block.length * mib;
    const count = total / (size + 4);
    const readers: Record<string, (conn: Deno.Conn) => Promise<void>> = {
      "bare loop": (conn) => readBare(conn, total),
      "receive()": (conn) => readMessages(conn, count, size, false),
      "receive(), reuseBuffer": (conn) => readMessages(conn, count, size, true),
    };
    const runs: Record<string, Run[]> = {};
    for (let round = 0; round < rounds + 1; round++) {
      for (const [name, read] of Object.entries(readers)) {
        const run = await measure(port, count, read, total);
        if (round > 0) (runs[name] ??= []).push(run); // The first round warms up.
      }
    }
    child.kill();
    await child.status;
    const bare = medianOf(runs["bare loop"]!, "mibPerSecond");
    for (const [name, measured] of Object.entries(runs)) {
      const speed = medianOf(measured, "mibPerSecond");
      print(
        `${size} B messages, ${name}: ${speed.toFixed(0)} MiB/s, ratio ${(speed / bare).toFixed(2)}, ` +
          `${medianOf(measured, "cpuMicros").toFixed(2)} us of CPU per message`,
      );
    }
  }
}

if (import.meta.main) {
  if (Deno.args[0] === "serve") await serve(Number(Deno.args[1]), Number(Deno.args[2]));
  else await main(Number(Deno.args[0] ?? 1024), Number(Deno.args[1] ?? 5));
}
