/**
 * Runs sessions one after the other and watches what they leave behind: `many_client.ts COUNT ACCESS POD`, where ACCESS is
 * what `Cluster.fromKubeconfig` takes, as JSON. In a process of its own, because only a process knows its memory. It prints one
 * line of JSON, a {@linkcode Remains} after the first ten sessions, after half of them and after all.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { Cluster } from "../../lib/client/mod.ts";

/** What the process holds. */
export interface Remains {
  /** Open sockets. */
  readonly sockets: number;
  /** Resident memory in bytes. */
  readonly rss: number;
}

async function remains(): Promise<Remains> {
  let sockets = 0;
  for await (const { name } of Deno.readDir("/proc/self/fd")) {
    const target = await Deno.readLink(`/proc/self/fd/${name}`).catch(() => ""); // Open only while it was listed.
    if (target.startsWith("socket:")) sockets++;
  }
  return { sockets, rss: Deno.memoryUsage().rss };
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

// deno-lint-ignore no-console -- The report goes to the test that started this, which ends when no timer is left.
console.log(JSON.stringify(await main(Deno.args)));
