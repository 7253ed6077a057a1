/**
 * A node's localhost in the cluster, by what `podwire relay manifest` prints: a static pod on the node, a pod with ports, and
 * others that use them.
 */
import { assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { ground } from "./ground.ts";
import { until } from "./process.ts";
import { Prometheus } from "./prometheus.ts";
import { localServer, podwireRelay, RelayGround } from "./relay_ground.ts";
import { Layout, stateDir } from "./shape.ts";

/** GETs a URL. */
const FETCH = "const answer = await fetch(Deno.args[0]); console.log(answer.status, await answer.text())";

/** Sends numbered datagrams to `HOST PORT`, each when its predecessor is back, and says how many came back whole and in order. */
const DATAGRAMS = `
  import { createSocket } from "node:dgram";
  const [host, port] = Deno.args;
  const socket = createSocket("udp4");
  const total = 500;
  let next = 0, timer;
  const text = (i) => String(i).padEnd(i % 2 ? 1200 : 1, "x");
  const send = () => {
    socket.send(text(next), Number(port), host);
    timer = setTimeout(() => { console.log("only " + next); Deno.exit(1); }, 5000);
  };
  socket.on("message", (data) => {
    clearTimeout(timer);
    if (String(data) !== text(next)) { console.log("wrong at " + next); Deno.exit(1); }
    if (++next === total) { console.log("all " + total); Deno.exit(0); }
    send();
  });
  send();
`;

Deno.test("a static pod and a DaemonSet bring a node's localhost into the cluster: TCP, a unix socket and UDP", async () => {
  const cluster = await ground();
  await using server = await localServer(cluster);
  await using relays = await RelayGround.create();
  const folder = await Deno.makeTempDir({ prefix: "podwire-relay-" });
  const staticPod = `${new Layout(stateDir()).node("node1")}/manifests/${relays.namespace}.yaml`;
  try {
    const config = {
      relays: [
        { ...tcp("web", 8080, `tcp:127.0.0.1:${server.http}`), http: { paths: ["/metrics"] } },
        { ...tcp("sock", 8081, `unix:${server.unix}`), allowFrom: ["10.0.0.0/8"] },
        { name: "echo", listen: { address: "udp:0.0.0.0:53" }, target: { address: `udp:127.0.0.1:${server.udp}` } },
      ],
    };
    await Deno.writeTextFile(`${folder}/relays.yaml`, JSON.stringify(config));
    const manifest = (part: string) =>
      podwireRelay([
        ...["manifest", "-c", `${folder}/relays.yaml`, "--image", relays.image, "--image-pull-policy", "Never"],
        ...[
          "-n",
          relays.namespace,
          "--name",
          "local",
          "--node-selector",
          "kubernetes.io/hostname=node1",
          "--part",
          part,
        ],
      ]);

    // What is printed for a node's half as a DaemonSet is what the server takes, too.
    const all = await manifest("all");
    await relays.kubectl(["apply", "--dry-run=server", "--validate=strict", "-f", "-"], all);

    await Deno.writeTextFile(staticPod, await manifest("static-pod"));
    await relays.apply(await manifest("cluster"));
    await relays.kubectl(["rollout", "status", "daemonset/local-cluster", "--timeout=60s"]);
    assertEquals(await relays.kubectl(["get", "pod", "local-node-node1", "-o", "jsonpath={.status.phase}"]), "Running");

    const client = { name: "main", image: relays.image, imagePullPolicy: "Never", command: ["sleep", "infinity"] };
    await relays.apply([{
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "client", namespace: relays.namespace },
      spec: { nodeName: "node2", terminationGracePeriodSeconds: 1, containers: [client] },
    }]);
    await relays.kubectl(["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    const inPod = (command: readonly string[], stdin?: string) =>
      cluster.kubectl(["exec", "-i", "-n", relays.namespace, "client", "--", ...command], { stdin: stdin ?? "" });

    // Another pod, through the Services.
    const get = async (url: string) => {
      const { stdout } = await inPod(["deno", "eval", FETCH, url]);
      return stdout;
    };
    for (const [name, port] of [["web", 8080], ["sock", 8081]] as const) {
      const url = `http://${await relays.address(name)}:${port}`;
      const body = await until(`an answer of ${name}`, 10_000, async () => await get(`${url}/metrics`) || undefined);
      assertStringIncludes(body, "relay_test_value 42");
      assertStringIncludes(await get(`${url}/config`), name === "web" ? "403" : "200 secret of /config");
    }
    const udp = await inPod([
      "sh",
      "-c",
      'cat >/tmp/udp.mjs; deno run -A --no-config /tmp/udp.mjs "$@"',
      "sh",
      await relays.address("echo"),
      "53",
    ], DATAGRAMS);
    assertEquals(udp.stdout.trim(), "all 500", udp.stderr);

    // Debian's Prometheus, where the Services lead to.
    const pod =
      JSON.parse(await relays.kubectl(["get", "pod", "-l", "app.kubernetes.io/component=cluster", "-o", "json"]))
        .items[0];
    const targets = [8080, 8081, 9402, 9403].map((port) => `${pod.status.podIP}:${port}`);
    await using prometheus = await Prometheus.start(cluster, [{ job_name: "relays", static_configs: [{ targets }] }]);
    const up = await prometheus.series("up == 1", targets.length);
    assertEquals(up.map(({ metric }) => metric["instance"]).sort(), targets);
    const values = await prometheus.series("relay_test_value", 2);
    assertEquals(values.map(({ value }) => value[1]), ["42", "42"]);
    const [passed] = await prometheus.series('podwire_relay_connections_total{relay="web",instance=~".*:9403"}', 1);
    assertGreater(Number(passed?.value[1]), 1, "the node's half says what it did");
  } finally {
    await Deno.remove(staticPod).catch(() => {}); // It may not have been written.
    await Deno.remove(folder, { recursive: true });
    await until("the static pod's end", 30_000, async () => {
      const { stdout } = await cluster.kubectl([
        "get",
        "pod",
        "-n",
        relays.namespace,
        "local-node-node1",
        "-o",
        "name",
        "--ignore-not-found",
      ]);
      return stdout === "" || undefined;
    });
  }
});

function tcp(name: string, port: number, target: string) {
  return { name, listen: { address: `tcp:0.0.0.0:${port}` }, target: { address: target } };
}
