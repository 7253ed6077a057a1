/**
 * Much through a port-forward, one direction after the other: `port_forward_bulk.ts ACCESS POD MIB`. Prints how fast that was.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { Cluster } from "../../lib/client/mod.ts";
import { PORTS } from "./port_forward_bytes.ts";
import { download, listenAll, sumOf, upload } from "./port_forward_client.ts";

/** In MiB a second. */
export interface Speed {
  readonly down: number;
  readonly up: number;
}

async function main([access = "", pod = "", mebibytes = ""]: string[]): Promise<Speed> {
  const size = Number(mebibytes) * 1024 * 1024;
  const sum = sumOf(size);
  await using cluster = await Cluster.fromKubeconfig(JSON.parse(access));
  await using forward = await cluster.pod(pod).portForward();
  const { source, sink } = await listenAll(forward, { source: PORTS.source, sink: PORTS.sink });
  const began = performance.now();
  assertEquals(await download(source, size), { size, sum });
  const middle = performance.now();
  assertEquals(await upload(sink, size), sum);
  const ended = performance.now();
  assertEquals(forward.stats.failed, 0);
  const speed = (milliseconds: number) => Math.round(Number(mebibytes) / milliseconds * 1000);
  return { down: speed(middle - began), up: speed(ended - middle) };
}

if (import.meta.main) console.log(JSON.stringify(await main(Deno.args)));
