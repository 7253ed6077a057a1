/**
 * A client that stalls, or is stalled, and watches its own memory: `flat_client.ts read|write SECONDS CLUSTER POD`, where
 * CLUSTER is what `Cluster.fromKubeconfig` or `new Cluster` takes, as JSON. It prints one line of JSON, a
 * {@linkcode FlatReport}. In a process of its own, because only a process knows its memory.
 *
 * @module
 */
import { Cluster } from "../../lib/client/mod.ts";
import type { FlatReport } from "./flat.ts";

async function main([mode = "", seconds = "", options = "", name = ""]: string[]): Promise<FlatReport> {
  const parsed = JSON.parse(options);
  await using cluster = parsed.kubeconfig ? await Cluster.fromKubeconfig(parsed) : new Cluster(parsed);
  // One line of input starts the flood; from then on `write` meets a command that reads nothing.
  const command = mode === "read" ? "read line; exec cat /dev/zero" : "exec sleep 1000";
  await using process = await cluster.pod(name).exec(["sh", "-c", command], { stdin: "piped" }).spawn();
  const writer = process.stdin.getWriter();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const idle = Deno.memoryUsage().rss;

  let written = 0;
  const chunk = new Uint8Array(64 * 1024);
  const write = async () => {
    while (true) {
      await writer.write(chunk);
      written += chunk.length;
    }
  };
  if (mode === "read") await writer.write(new TextEncoder().encode("go\n"));
  else write().catch(() => {}); // The session ends below.

  let peak = idle;
  for (const end = performance.now() + Number(seconds) * 1000; performance.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    peak = Math.max(peak, Deno.memoryUsage().rss);
  }
  let read = 0;
  if (mode === "read") {
    for await (const { length } of process.stdout) {
      read += length;
      if (read >= 16 * 1024 * 1024) break; // More than all queues hold: the flood goes on.
    }
  }
  return { idle, peak, written, read };
}

console.log(JSON.stringify(await main(Deno.args)));
