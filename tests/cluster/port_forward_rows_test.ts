/** Port-forward on every row of the matrix, over every wire, and on every way to an API server. */
import { assertEquals, assertGreater } from "@std/assert";
import type { Wire } from "../../lib/client/mod.ts";
import { type Ground, ground, NODE_NAMES, type NodeName, ROWS, type ServerName } from "./ground.ts";
import { runClient, SERVER_POD } from "./port_forward_ground.ts";
import { tlsProxy } from "./tls_proxy.ts";

/** A way to a pod, and the wire that it ends up with. */
interface Way {
  readonly server: ServerName;
  readonly node: NodeName;
  readonly wire: Wire;
  readonly goes: "tunnel" | "spdy" | "v4";
  /** TCP with a client certificate when left out. */
  readonly by?: "token" | "unix socket" | "https proxy";
}

const WAYS: readonly Way[] = [
  ...ROWS.map(({ server, node, way }): Way => {
    return { server, node, wire: "auto", goes: way === "fallback" ? "spdy" : "tunnel" };
  }),
  ...ROWS.map(({ server, node }): Way => ({ server, node, wire: "spdy", goes: "spdy", by: "token" })),
  ...ROWS.map(({ server, node }): Way => ({ server, node, wire: "websocket", goes: "v4" })),
  { server: "default", node: "node1", wire: "tunnel", goes: "tunnel", by: "token" },
  { server: "default", node: "node1", wire: "auto", goes: "tunnel", by: "unix socket" },
  { server: "old", node: "node2", wire: "auto", goes: "spdy", by: "unix socket" },
  { server: "default", node: "node1", wire: "auto", goes: "tunnel", by: "https proxy" },
  { server: "old", node: "node2", wire: "auto", goes: "spdy", by: "https proxy" },
];

/** So many of them at once: each mostly waits for lines that come slowly. */
const AT_ONCE = 5;

async function walk(cluster: Ground, { server, wire, goes, by }: Way, pod: string): Promise<void> {
  await using proxy = await tlsProxy(cluster, server);
  const access = {
    kubeconfig: cluster.kubeconfig(server, by === "token" ? "token" : "admin"),
    wire,
    ...(by === "unix socket" && { viaUnixSocket: cluster.socket(server) }),
    ...(by === "https proxy" && { proxyUrl: proxy.url }),
  };
  const { wires } = await runClient<{ wires: string[] }>(cluster, "port_forward_table.ts", access, pod);
  assertEquals(wires, [goes]);
  if (by === "https proxy") assertGreater(proxy.connects, 1);
}

for (const node of NODE_NAMES) {
  Deno.test(`port-forward to ${node} keeps every promise, over every wire, on every way`, async () => {
    const cluster = await ground();
    await cluster.withPod({ ...SERVER_POD, node }, async (pod) => {
      const failures: Error[] = [];
      const ways = WAYS.filter((way) => way.node === node).values();
      await Promise.all(Array.from({ length: AT_ONCE }, async () => {
        for (const way of ways) {
          const name = `${way.server}/${way.node} over ${way.wire} by ${way.by ?? "client certificate"}`;
          await walk(cluster, way, pod.name).catch((cause) => failures.push(new Error(name, { cause })));
        }
      }));
      if (failures.length > 0) throw new AggregateError(failures, `${failures.length} ways failed`);
    });
  });
}
