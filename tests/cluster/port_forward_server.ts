/**
 * The server in the pod that port-forwards are tested with: one port for each way that a server can behave. Deno runs it there, from
 * this machine's files, without anything from the net.
 *
 * A request is one line; see {@linkcode PORTS}. No service waits for the client's end, which containerd does not pass on.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { PATTERN, PORTS } from "./port_forward_bytes.ts";

async function writeAll(connection: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let sent = 0; sent < data.length;) sent += await connection.write(data.subarray(sent));
}

/** Reads a line; what came behind it is returned too. */
async function readLine(connection: Deno.Conn): Promise<{ line: string; rest: Uint8Array }> {
  const buffer = new Uint8Array(64 * 1024);
  for (let size = 0;;) {
    const n = await connection.read(buffer.subarray(size));
    if (n === null) throw new Error("no request");
    size += n;
    const end = buffer.subarray(0, size).indexOf(10);
    if (end < 0) continue;
    const line = new TextDecoder().decode(buffer.subarray(0, end));
    return { line, rest: buffer.subarray(end + 1, size) };
  }
}

const SERVICES: Readonly<Record<"echo" | "fetch" | "drip" | "source" | "sink" | "hold", Service>> = {
  async echo(connection) {
    const buffer = new Uint8Array(64 * 1024);
    for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
      await writeAll(connection, buffer.subarray(0, n));
    }
  },

  async fetch(connection) {
    const { line } = await readLine(connection);
    await writeAll(connection, new TextEncoder().encode(`HTTP/1.0 200 OK\r\n\r\n${line.trim()}\n`));
  },

  async drip(connection) {
    const { line } = await readLine(connection);
    const [count = 0, pause = 0] = line.split(" ").map(Number);
    for (let i = 0; i < count; i++) {
      if (i > 0) await new Promise((resolve) => setTimeout(resolve, pause));
      await writeAll(connection, new TextEncoder().encode(`line ${i}\n`));
    }
  },

  async source(connection) {
    const { line } = await readLine(connection);
    let left = Number(line);
    for (; left > PATTERN.length; left -= PATTERN.length) await writeAll(connection, PATTERN);
    await writeAll(connection, PATTERN.subarray(0, left));
  },

  async sink(connection) {
    const { line, rest } = await readLine(connection);
    const hash = createHash("sha256").update(rest);
    const buffer = new Uint8Array(64 * 1024);
    for (let left = Number(line) - rest.length; left > 0;) {
      const n = await connection.read(buffer);
      if (n === null) return;
      hash.update(buffer.subarray(0, n));
      left -= n;
    }
    await writeAll(connection, new TextEncoder().encode(`${hash.digest("hex")}\n`));
  },

  async hold(connection) {
    await writeAll(connection, new TextEncoder().encode("held\n"));
    while (await connection.read(new Uint8Array(64)) !== null);
  },
};

type Service = (connection: Deno.Conn) => Promise<void>;

async function serve(port: number, service: Service): Promise<void> {
  for await (const connection of Deno.listen({ port })) {
    service(connection).catch(() => {}).finally(() => connection.close()); // The client went away: its matter.
  }
}

for (const [name, service] of Object.entries(SERVICES)) void serve(PORTS[name as keyof typeof SERVICES], service);

/** Deno's own connections cannot send a reset. */
createServer((socket) => {
  socket.on("error", () => {});
  socket.once("data", () => socket.write(PATTERN.subarray(0, 1000), () => socket.resetAndDestroy()));
}).listen(PORTS.reset, () => console.log("ready"));
