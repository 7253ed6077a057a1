/** Connections in great number, of which some fail: the others do not notice, and nothing stays behind. */
import { assert, assertLess } from "@std/assert";
import { ground } from "./ground.ts";
import { runClient, SERVER_POD } from "./port_forward_ground.ts";
import type { Remains } from "./port_forward_many.ts";

const MIB = 1024 * 1024;

for (const [wire, total] of [["tunnel", 10_000], ["spdy", 1_000]] as const) {
  Deno.test(`1,000 connections at once and ${total} one after another leave nothing behind over ${wire}`, async () => {
    const cluster = await ground();
    await cluster.withPod(SERVER_POD, async (pod) => {
      const access = { kubeconfig: cluster.kubeconfig("default"), wire };
      const options = { args: [String(total)], timeout: 180_000 };
      // A timer, a socket or a stream's that is left would keep the client from ending.
      const [half, all] = await runClient<[Remains, Remains]>(
        cluster,
        "port_forward_many.ts",
        access,
        pod.name,
        options,
      );
      console.log(JSON.stringify([half, all]));
      assert(all.files <= half.files, `${half.files} files, then ${all.files}`);
      // So many connections that leave 400 bytes each would be seen.
      assertLess(all.held - half.held, 2 * MIB, `from ${half.held / MIB} to ${all.held / MIB} MiB`);
    });
  });
}
