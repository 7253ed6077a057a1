/** Memory stays flat on a real Kubernetes: a stalled reader, and a container that does not read. */
import { assertGreater, assertGreaterOrEqual, assertLess } from "@std/assert";
import { measureFlatness, MIB } from "../client/flat.ts";
import { ground } from "./ground.ts";

/** Passed through to the node, and translated by the API server. */
for (const server of ["default", "mid"] as const) {
  for (const way of ["TCP", "a unix socket"] as const) {
    const viaUnix = way === "a unix socket";

    Deno.test(`RemoteProcess over ${way} holds memory flat when its reader stalls on ${server}/node1`, async () => {
      const cluster = await ground();
      const access = {
        kubeconfig: cluster.kubeconfig(server),
        ...(viaUnix && { viaUnixSocket: cluster.socket(server) }),
      };
      await cluster.withPod({ node: "node1" }, async (pod) => {
        const { read } = await measureFlatness("read", access, pod.name, { enter: cluster.enter });
        assertGreaterOrEqual(read, 16 * MIB, "the flood goes on when somebody reads");
      });
    });

    Deno.test(`RemoteProcess over ${way} holds memory flat when nobody reads its input on ${server}/node1`, async () => {
      const cluster = await ground();
      const access = {
        kubeconfig: cluster.kubeconfig(server),
        ...(viaUnix && { viaUnixSocket: cluster.socket(server) }),
      };
      // Over a unix socket TLS is `node:tls`, which copies each record; what it leaves behind is collected late.
      const limit = (viaUnix ? 48 : 16) * MIB;
      await cluster.withPod({ node: "node1" }, async (pod) => {
        const { written } = await measureFlatness("write", access, pod.name, { enter: cluster.enter, limit });
        assertGreater(written, 0);
        assertLess(written, 64 * MIB, "the writer was slowed down");
      });
    });
  }
}
