/** A reader that stalls costs neither memory nor the other connections anything, although the wire has no flow control. */
import { assertGreater, assertLess } from "@std/assert";
import { ground, type NodeName, type ServerName } from "./ground.ts";
import { runClient, SERVER_POD } from "./port_forward_ground.ts";
import type { StallReport } from "./port_forward_stall.ts";

const MIB = 1024 * 1024;

for (const [server, node, seconds] of [["default", "node1", "20"], ["old", "node2", "8"]] as const) {
  Deno.test(`a reader that stalls for ${seconds} s holds nobody up on ${server}/${node}`, async () => {
    const cluster = await ground();
    await cluster.withPod({ ...SERVER_POD, node: node satisfies NodeName }, async (pod) => {
      const access = { kubeconfig: cluster.kubeconfig(server satisfies ServerName) };
      const options = { args: [seconds], timeout: 120_000 };
      const report = await runClient<StallReport>(cluster, "port_forward_stall.ts", access, pod.name, options);
      const { alone, beside, idle, peak } = report;
      console.log(JSON.stringify(report));
      assertLess(peak - idle, 16 * MIB, `from ${idle / MIB} to ${peak / MIB} MiB`);
      assertGreater(beside, 0.7 * alone, "MiB a second");
    });
  });
}
