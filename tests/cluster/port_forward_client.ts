/**
 * What the clients of a port-forward have in common: they go through its listeners, as any program would.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import type { ForwardListener, PortForward } from "../../lib/client/mod.ts";
import { pattern } from "./port_forward_bytes.ts";

/** A program's connection to a listener. */
export function connect({ address }: ForwardListener): Promise<Deno.Conn> {
  return "path" in address
    ? Deno.connect({ transport: "unix", path: address.path })
    : Deno.connect({ hostname: address.hostname, port: address.port });
}

/** Listens on any port for each of the pod's ports. */
export async function listenAll<Name extends string>(
  forward: PortForward,
  ports: Readonly<Record<Name, number>>,
): Promise<Record<Name, ForwardListener>> {
  const listeners: Partial<Record<Name, ForwardListener>> = {};
  for (const [name, target] of Object.entries<number>(ports)) {
    listeners[name as Name] = await forward.listen({ port: 0, target });
  }
  return listeners as Record<Name, ForwardListener>;
}

/** Sends a request, ends that direction, and reads to the end. */
export async function ask(listener: ForwardListener, request: string): Promise<string> {
  using connection = await connect(listener);
  await writeAll(connection, new TextEncoder().encode(request));
  await connection.closeWrite();
  return await new Response(connection.readable).text();
}

/** Writes all of `data`. */
export async function writeAll(connection: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let sent = 0; sent < data.length;) sent += await connection.write(data.subarray(sent));
}

/** Reads exactly `size` bytes. */
export async function readExactly(connection: Deno.Conn, size: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(size);
  for (let got = 0; got < size;) {
    const n = await connection.read(bytes.subarray(got));
    if (n === null) throw new Error(`the end came after ${got} of ${size} bytes`);
    got += n;
  }
  return bytes;
}

/** Sends bytes to the echo and expects them back; the connection stays. */
export async function echo(connection: Deno.Conn, sent: Uint8Array): Promise<void> {
  const [received] = await Promise.all([readExactly(connection, sent.length), writeAll(connection, sent)]);
  assertEquals(hex(received), hex(sent));
}

/** The SHA-256 of `size` bytes of the pattern. */
export function sumOf(size: number): string {
  const hash = createHash("sha256");
  for (const part of pattern(size)) hash.update(part);
  return hash.digest("hex");
}

/** Fetches `size` bytes from the source, having ended its own direction before. */
export async function download(listener: ForwardListener, size: number): Promise<{ size: number; sum: string }> {
  using connection = await connect(listener);
  await writeAll(connection, new TextEncoder().encode(`${size}\n`));
  await connection.closeWrite();
  const hash = createHash("sha256");
  let received = 0;
  const buffer = new Uint8Array(256 * 1024);
  for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
    hash.update(buffer.subarray(0, n));
    received += n;
  }
  return { size: received, sum: hash.digest("hex") };
}

/** Sends `size` bytes to the sink; returns the sum that it counted. */
export async function upload(listener: ForwardListener, size: number): Promise<string> {
  using connection = await connect(listener);
  const answer = readLine(connection);
  await writeAll(connection, new TextEncoder().encode(`${size}\n`));
  for (const part of pattern(size)) await writeAll(connection, part);
  return await answer;
}

/** Whether the program learns of an end by a reset: `false` for an end that looks like a good one. */
export async function isReset(connection: Deno.Conn): Promise<boolean> {
  try {
    while (await connection.read(new Uint8Array(65536)) !== null);
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return true;
    throw error;
  }
}

/** Open file descriptors of this process. */
export async function openFiles(): Promise<number> {
  return (await Array.fromAsync(Deno.readDir("/proc/self/fd"))).length;
}

/**
 * Collects until that frees nothing more, as buffers are given back in the background and the last sessions still close; what JavaScript
 * still holds then, in bytes.
 */
export async function heldBytes(): Promise<number> {
  const { gc } = globalThis as { gc?: () => void };
  if (!gc) throw new Error("run this with --v8-flags=--expose-gc");
  let least = Infinity;
  for (let turns = 0, since = 0; turns < 200 && since < 20; turns++, since++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 25));
    const { heapUsed, external } = Deno.memoryUsage();
    if (heapUsed + external < least - 64 * 1024) since = 0;
    least = Math.min(least, heapUsed + external);
  }
  return least;
}

async function readLine(connection: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(1024);
  let text = "";
  while (!text.endsWith("\n")) {
    const n = await connection.read(buffer);
    if (n === null) throw new Error(`the end came after "${text}"`);
    text += new TextDecoder().decode(buffer.subarray(0, n));
  }
  return text.trim();
}

function hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
