/**
 * What the relay is for: the metrics of the cluster's own programs, which listen on localhost, scraped by Prometheus; and nothing
 * else of them.
 */
import { assertEquals, assertGreater } from "@std/assert";
import { ground, TOKENS } from "./ground.ts";
import { until } from "./process.ts";
import { Prometheus } from "./prometheus.ts";
import { RelayGround, WITHIN } from "./relay_ground.ts";

const tls = { insecureSkipVerify: true }; // They make their certificates themselves.

/** Each with a series that only it has, and a path that must not be reached. */
const PROGRAMS = [
  { name: "kube-scheduler", port: 10259, tls, series: "scheduler_pending_pods", secret: "/configz" },
  { name: "kube-controller-manager", port: 10257, tls, series: "node_collector_zone_size", secret: "/configz" },
  { name: "etcd", port: 2379, series: "etcd_server_has_leader", secret: "/v3/kv/range" },
  { name: "kube-proxy", port: 10249, series: "kubeproxy_sync_proxy_rules_last_timestamp_seconds", secret: "/configz" },
];

Deno.test("Prometheus scrapes the control plane's localhost through relays, and no other path is passed on", async () => {
  const cluster = await ground();
  await using relays = await RelayGround.withOperator(PROGRAMS.map(({ port }) => `tcp:127.0.0.1:${port}=/metrics`));
  await Promise.all(PROGRAMS.map(({ name, port, tls }) =>
    relays.relay(name, {
      nodeSelector: { "kubernetes.io/hostname": "node1" },
      port,
      target: { address: `tcp:127.0.0.1:${port}`, ...(tls && { tls }) },
      http: { paths: ["/metrics"] },
    })
  ));
  await Promise.all(PROGRAMS.map(({ name }) => relays.ready(name, ["node1"])));

  const token = `Authorization: Bearer ${TOKENS.token}`;
  for (const { name, port, secret } of PROGRAMS) {
    const address = await relays.address(name);
    await until(`${name}'s metrics`, WITHIN, async () => {
      return (await relays.get(address, port, "/metrics", [token])).status === 200 || undefined;
    });
    for (const path of [secret, "/", "/metrics/", "/metrics/../configz", "//metrics", "/debug/pprof/"]) {
      assertEquals((await relays.get(address, port, path, [token])).status, 403, `${name}${path}`);
    }
  }
  const scheduler = await relays.get(await relays.address("kube-scheduler"), 10259, "/metrics");
  assertEquals(scheduler.status, 403, "without a token the scheduler itself refuses");

  const addresses = await Promise.all(PROGRAMS.map(async ({ name, port }) => `${await relays.address(name)}:${port}`));
  await using prometheus = await Prometheus.start(cluster, [{
    job_name: "control-plane",
    authorization: { credentials: TOKENS.token },
    static_configs: [{ targets: addresses }],
  }]);
  await prometheus.series("up == 1", PROGRAMS.length);
  for (const [i, { series }] of PROGRAMS.entries()) {
    const found = await prometheus.query(series);
    assertGreater(found.length, 0, series);
    assertEquals(new Set(found.map(({ metric }) => metric["instance"])), new Set([addresses[i]]));
  }
});
