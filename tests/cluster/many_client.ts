/**
 * Runs sessions one after the other and watches what they leave behind: `many_client.ts COUNT ACCESS POD`, where ACCESS is
 * what `Cluster.fromKubeconfig` takes, as JSON. Needs `--v8-flags=--expose-gc`. In a process of its own, because only a process knows its memory. It prints one
 * line of JSON, a {@linkcode Remains} after the first ten sessions, after half of them and after all.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { Cluster } from "../../lib/client/mod.ts";
import { heldBytes } from "./port_forward_client.ts";

/** What the process holds. */
export interface Remains {
  /** Open sockets. */
  readonly sockets: number;
  /** What JavaScript still holds after a collection, in bytes. Resident memory would tell of garbage too. */
  readonly held: number;
}

async function remains(): Promise<Remains> {
  let sockets = 0;
  for await (const { name } of Deno.readDir("/proc/self/fd")) {
    const target = await Deno.readLink(`/proc/self/fd/${name}`).catch(() => ""); // Open only while it was listed.
    if (target.startsWith("socket:")) sockets++;
  }
  return { sockets, held: await heldBytes() };
}

async function main([count = "", access = "", pod = ""]: string[]): Promise<Remains[]> {
  const all: Remains[] = [];
  // The first few load what the process keeps.
  for (const [start, end] of [[0, 10], [10, Number(count) / 2], [Number(count) / 2, Number(count)]] as const) {
    await using cluster = await Cluster.fromKubeconfig(JSON.parse(access));
    for (let i = start; i < end; i++) {
      const { code, stdout } = await cluster.pod(pod).exec(["sh", "-c", `echo ${i}; exit ${i % 256}`]).output();
      assertEquals([code, new TextDecoder().decode(stdout)], [i % 256, `${i}\n`]);
    }
    cluster.close();
    all.push(await remains());
  }
  return all;
}

console.log(JSON.stringify(await main(Deno.args)));
