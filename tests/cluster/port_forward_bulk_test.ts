/** Much goes through a port-forward whole. */
import { assertGreater } from "@std/assert";
import type { Wire } from "../../lib/client/mod.ts";
import { ground, type NodeName, type ServerName } from "./ground.ts";
import type { Speed } from "./port_forward_bulk.ts";
import { runClient, SERVER_POD } from "./port_forward_ground.ts";

const MEBIBYTES = "512";

/** Passed through to the node; ended in the API server; over SPDY and the oldest wire. */
const WAYS: ReadonlyArray<readonly [ServerName, NodeName, Wire]> = [
  ["default", "node1", "tunnel"],
  ["default", "node2", "tunnel"],
  ["old", "node2", "spdy"],
  ["default", "node1", "websocket"],
];

for (const [server, node, wire] of WAYS) {
  Deno.test(`port-forward carries 512 MiB down and 512 MiB up on ${server}/${node} over ${wire}`, async () => {
    const cluster = await ground();
    await cluster.withPod({ ...SERVER_POD, node }, async (pod) => {
      const access = { kubeconfig: cluster.kubeconfig(server), wire };
      const speed = await runClient<Speed>(cluster, "port_forward_bulk.ts", access, pod.name, { args: [MEBIBYTES] });
      assertGreater(Math.min(speed.down, speed.up), 10, JSON.stringify(speed)); // MiB/s: it stalled somewhere.
    });
  });
}
