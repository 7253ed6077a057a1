/**
 * One connection whose reader stalls beside one that runs: `port_forward_stall.ts ACCESS POD SECONDS`. Prints what
 * it measured.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { Cluster, type ForwardListener } from "../../lib/client/mod.ts";
import { PATTERN, PORTS } from "./port_forward_bytes.ts";
import { connect, listenAll, readExactly, sumOf, writeAll } from "./port_forward_client.ts";

/** Speeds in MiB a second, memory in bytes. */
export interface StallReport {
  /** How fast one runs without the other. */
  readonly alone: number;
  /** How fast it runs beside the stalled one. */
  readonly beside: number;
  /** Resident memory when nothing goes on, after the same work without a stalled reader. */
  readonly idle: number;
  /** The most of it while one stalled. */
  readonly peak: number;
}

const MIB = 1024 * 1024;

/** How long it takes until the code is compiled and the heap has its size, in milliseconds. */
const WARM_UP = 4_000;

/** What is asked for on one connection, in bytes: more than fits into all buffers on the way. */
const SIZE = 64 * MIB;
const SUM = sumOf(SIZE);
/** The sum without the first period of the pattern, which makes the rest the beginning of it again. */
const REST_SUM = sumOf(SIZE - PATTERN.length);

async function main([access = "", pod = "", seconds = ""]: string[]): Promise<StallReport> {
  await using cluster = await Cluster.fromKubeconfig(JSON.parse(access));
  await using forward = await cluster.pod(pod).portForward();
  const { source } = await listenAll(forward, { source: PORTS.source });
  await run(source, WARM_UP);
  const alone = await run(source, WARM_UP);
  const idle = Deno.memoryUsage().rss;

  using stalled = await connect(source);
  await writeAll(stalled, new TextEncoder().encode(`${SIZE}\n`));
  await readExactly(stalled, PATTERN.length);
  let peak = 0;
  const sampling = setInterval(() => peak = Math.max(peak, Deno.memoryUsage().rss), 100);
  const beside = await run(source, Number(seconds) * 1000);
  clearInterval(sampling);

  // Now it reads on: nothing is lost.
  assertEquals(await sumOfNext(stalled, SIZE - PATTERN.length), REST_SUM);
  assertEquals(await stalled.read(new Uint8Array(1)), null);
  assertEquals([forward.stats.failed, forward.stats.redials], [0, 0]);
  return { alone, beside, idle, peak };
}

/** Fetches again and again for so long; returns how fast, in MiB a second. */
async function run(listener: ForwardListener, milliseconds: number): Promise<number> {
  const began = performance.now();
  let mebibytes = 0;
  while (performance.now() - began < milliseconds) {
    // It goes when it has all: containerd tells of the end a second late.
    using connection = await connect(listener);
    await writeAll(connection, new TextEncoder().encode(`${SIZE}\n`));
    assertEquals(await sumOfNext(connection, SIZE), SUM);
    mebibytes += SIZE / MIB;
  }
  return mebibytes / ((performance.now() - began) / 1000);
}

/** The SHA-256 of the next `size` bytes. */
async function sumOfNext(connection: Deno.Conn, size: number): Promise<string> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(256 * 1024);
  for (let left = size; left > 0;) {
    const n = await connection.read(buffer.subarray(0, Math.min(left, buffer.length)));
    if (n === null) throw new Error(`the end came ${left} bytes early`);
    hash.update(buffer.subarray(0, n));
    left -= n;
  }
  return hash.digest("hex");
}

if (import.meta.main) console.log(JSON.stringify(await main(Deno.args)));
