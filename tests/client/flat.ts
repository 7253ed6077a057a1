/**
 * Measures the memory of a client that stalls, or is stalled, in a process of its own.
 *
 * @module
 */
import { assertEquals, assertLess } from "@std/assert";
import type { ClusterOptions } from "../../lib/client/mod.ts";
import type { AccessOptions } from "../../lib/kubeconfig/mod.ts";
import { denoFlags } from "../offline/flags.ts";

/** What the client saw; sizes in bytes. */
export interface FlatReport {
  /** Resident with the session open and nothing under way. */
  readonly idle: number;
  /** The most that was resident while it stalled. */
  readonly peak: number;
  /** Input that the transport took. */
  readonly written: number;
  /** Output that came after the stall, for `read`. */
  readonly read: number;
}

/** One mebibyte in bytes. */
export const MIB: number = 1024 * 1024;

/** How to measure. */
export interface FlatOptions {
  /** Words in front of the client's command line. */
  readonly enter?: readonly string[];
  /** How much its memory may grow, in bytes. Default 16 MiB. */
  readonly limit?: number;
}

/**
 * For four seconds a client reads nothing of a flood of output (`read`), or writes to a command that reads nothing (`write`).
 * Fails if its memory grows beyond the limit.
 */
export async function measureFlatness(
  mode: "read" | "write",
  cluster: ClusterOptions | AccessOptions,
  pod: string,
  options: FlatOptions = {},
): Promise<FlatReport> {
  const { enter = [], limit = 16 * MIB } = options;
  const client = new URL("./flat_client.ts", import.meta.url).pathname;
  const [program = "", ...args] = [...enter, Deno.execPath(), "run", "-A", ...await denoFlags(), client];
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args: [...args, mode, "4", JSON.stringify(cluster), pod],
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const report: FlatReport = JSON.parse(new TextDecoder().decode(stdout));
  const { idle, peak } = report;
  assertLess(peak - idle, limit, `from ${(idle / MIB).toFixed(1)} to ${(peak / MIB).toFixed(1)} MiB`);
  return report;
}
