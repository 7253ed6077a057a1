/**
 * The operator on the real thing: what its relays ask for is there within ten seconds, whatever happens to relays, nodes, itself
 * and the API server meanwhile; and what was not changed never drops a connection.
 */
import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { restartKubelet } from "./cluster.ts";
import { ground } from "./ground.ts";
import { processes, until } from "./process.ts";
import { hold, localServer, RelayGround, WITHIN } from "./relay_ground.ts";
import { Layout, type NodeName, stateDir } from "./shape.ts";

const on = (node: NodeName) => ({ nodeSelector: { "kubernetes.io/hostname": node } });

Deno.test("the operator keeps relays in line through everything that happens to them, to nodes, to itself and the server", async (t) => {
  const cluster = await ground();
  await using server = await localServer(cluster);
  const web = { target: { address: `tcp:127.0.0.1:${server.http}` }, http: { paths: ["/metrics"] } };
  const echo = { target: { address: `tcp:127.0.0.1:${server.echo}` } };
  await using relays = await RelayGround.withOperator([
    `tcp:127.0.0.1:${server.http}=/metrics`,
    `tcp:127.0.0.1:${server.echo}`,
  ]);

  /** A step that the following ones build on. */
  const step = async (name: string, work: () => Promise<void>) => {
    if (await t.step(name, work)) return;
    throw new Error(
      `${name}: the operator said\n${await relays.kubectl(["logs", "deployment/podwire-relay-operator"])}`,
    );
  };
  /** The relay answers through its Service; kube-proxy takes a moment. */
  const works = (service: string, port: number, patience = WITHIN) =>
    until(`an answer through ${service}`, patience, async () => {
      const { status, body } = await relays.get(await relays.address(service), port, "/metrics");
      return status === 200 && body.includes("relay_test_value 42") || undefined;
    });

  await step("two relays come up on their nodes", async () => {
    await Promise.all([
      relays.relay("first", { ...on("node1"), ...echo, port: 7 }),
      relays.relay("second", { ...on("node2"), ...web, port: 8080 }),
    ]);
    await Promise.all([relays.ready("first", ["node1"]), relays.ready("second", ["node2"])]);
    await works("second", 8080);
    assertEquals((await relays.get(await relays.address("second"), 8080, "/config")).status, 403);
    const pods = JSON.parse(
      await relays.kubectl(["get", "pods", "-l", "app.kubernetes.io/name=podwire-relay", "-o", "json"]),
    );
    const nodes = pods.items.map((pod: Pod) =>
      `${pod.metadata.labels["app.kubernetes.io/component"]} ${pod.spec.nodeName}`
    );
    assertEquals(nodes.sort(), ["cluster node1", "cluster node2", "node node1", "node node2"]);
  });

  await using held = await hold(cluster, await relays.address("first"), 7);

  await step("what --allow does not name is refused, and says so", async () => {
    await relays.relay("ssh", { ...on("node1"), target: { address: "tcp:127.0.0.1:22" }, port: 22 });
    await until(
      "a refusal",
      WITHIN,
      async () => (await relays.status("ssh")).accepted === "False NotAllowed" || undefined,
    );
    const events = await relays.kubectl(["get", "events", "--field-selector", "involvedObject.name=ssh"]);
    assertStringIncludes(events, "the operator's --allow does not name tcp:127.0.0.1:22");
    await relays.kubectl(["delete", "relay", "ssh"]);
  });

  await step("what no relay can be is refused, by the custom resource or the operator", async () => {
    const wrong: ReadonlyArray<readonly [name: string, spec: object, text: string]> = [
      ["podwire-node-admin", {}, "the name is taken by podwire itself"],
      ["1st", {}, "at most 63 of a-z, 0-9 and -, a letter first"],
      ["bad", { allowFrom: [] }, "spec.allowFrom"],
      ["bad", { allowFrom: ["10.0.0.1", "10.0.0.1/8"] }, "spec.allowFrom[1]"],
      ["bad", { target: { address: "tcp:127.0.0.1:99999" } }, "PORT must be from 1 to 65535"],
      ["bad", { target: { address: "tcp:127.0.0.1:0" } }, "PORT must be from 1 to 65535"],
      ["bad", { target: { address: "unix:/run/x.sock" } }, "must be tcp:HOST:PORT or udp:HOST:PORT"],
      ["bad", { connectTimeout: "0s" }, "must be more than 0"],
      ["bad", { target: { address: "udp:127.0.0.1:514" }, http: null, idleTimeout: "0s" }, "must be more than 0"],
      ["bad", { nodeSelector: { zone: "-a" } }, "spec.nodeSelector.zone"],
      ["bad", { nodeSelector: { "a zone": "a" } }, "must be [DOMAIN/]NAME"],
      ["bad", { nodeSelector: { "kubernetes.io/os": "windows" } }, "kubernetes.io/os must be linux"],
    ];
    for (const [name, spec, text] of wrong) {
      await assertRejects(() => relays.relay(name, { ...on("node1"), ...web, port: 8000, ...spec }), Error, text);
    }
    await relays.relay("bad", { ...on("node1"), ...web, port: 8000, target: { address: "tcp:127.0.0:9100" } });
    const said = () => relays.kubectl(["get", "relay", "bad", "-o", "jsonpath={.status.conditions[0].message}"]);
    await until("a refusal", WITHIN, async () => (await said()).startsWith("spec.target.address: ") || undefined);
    await relays.kubectl(["delete", "relay", "bad"]);
  });

  await step("what somebody else puts into the operator's objects is taken out", async () => {
    const labels = await relays.kubectl(["get", "service", "second", "-o", "jsonpath={.metadata.labels}"]);
    const set = JSON.parse(labels)["app.kubernetes.io/instance"];
    const additions: ReadonlyArray<readonly [object: string, patch: object]> = [
      [`configmap/${set}-node`, { data: { "evil.json": "{}" }, binaryData: { "worse.json": "e30=" } }],
      ["service/second", { spec: { type: "NodePort", externalIPs: ["192.0.2.1"] } }],
      [`daemonset/${set}-cluster`, { spec: { template: { spec: { hostPID: true } } } }],
    ];
    const content = (object: string) =>
      relays.kubectl(["get", object, "-o", "jsonpath={.data}{.binaryData}{.spec}{.metadata.labels.team}"]);
    for (const [object, patch] of additions) {
      await relays.kubectl(["label", object, "team=a"]);
      const before = await content(object);
      assert(before.endsWith("a"), before);
      await relays.kubectl(["patch", object, "--type=merge", "--patch", JSON.stringify(patch)]);
      await until(`${object} as it was`, WITHIN, async () => (await content(object)) === before || undefined);
    }
    await relays.kubectl(["rollout", "status", `daemonset/${set}-cluster`, "--timeout=60s"]);
    await works("second", 8080);
  });

  await step("a relay is edited", async () => {
    await relays.relay("second", { ...on("node2"), ...web, port: 8081 });
    await works("second", 8081);
  });

  await step("a relay moves to the other node, into the pods of another relay", async () => {
    await relays.relay("second", { ...on("node1"), ...web, port: 8081 });
    await relays.ready("second", ["node1"]);
    await works("second", 8081);
    const sets = (await relays.children()).filter((name) => name.startsWith("daemonset"));
    assertEquals(sets.length, 2, "nothing is left of its old pods");
  });

  await step("a relay is deleted from pods that another one shares", async () => {
    const address = await relays.address("second");
    await relays.kubectl(["delete", "relay", "second"]);
    await until("the port to close", WITHIN, async () => {
      const { status } = await relays.get(address, 8081, "/metrics");
      const left = (await relays.children()).includes("service/second");
      return status === 0 && !left || undefined;
    });
  });

  await step("a node is removed and returns", async () => {
    await relays.relay("third", { ...on("node2"), ...web, port: 9000 });
    await relays.ready("third", ["node2"]);
    await relays.kubectl(["delete", "node", "node2"]);
    await until(
      "the relay to have no node",
      WITHIN,
      async () => (await relays.status("third")).ready === "False NoNodes" || undefined,
    );
    await restartKubelet(new Layout(stateDir()), "node2");
    await relays.ready("third", ["node2"]);
    await works("third", 9000);
  });

  await step("the operator is killed in the middle of its work", async () => {
    await relays.kubectl(["delete", "relay", "third"]);
    await relays.relay("fourth", { ...on("node1"), ...web, port: 9001 });
    await killOperator(relays.namespace);
    await relays.relay("fifth", { ...on("node2"), ...web, port: 9002 });
    await Promise.all([relays.ready("fourth", ["node1"]), relays.ready("fifth", ["node2"])]);
    await works("fourth", 9001);
    await works("fifth", 9002);
    const left = (await relays.children()).filter((name) => name === "service/third");
    assertEquals(left, []);
  });

  await step("of two operators the other one leads when the leader's pod is deleted", async () => {
    const leader = () =>
      relays.kubectl(["get", "lease", "podwire-relay-operator", "-o", "jsonpath={.spec.holderIdentity}"]);
    const first = await leader();
    await relays.kubectl(["scale", "deployment/podwire-relay-operator", "--replicas=2"]);
    await relays.kubectl(["rollout", "status", "deployment/podwire-relay-operator", "--timeout=60s"]);
    await relays.kubectl(["delete", "pod", first, "--wait=false"]);
    await until("another leader", WITHIN, async () => !["", first].includes(await leader()) || undefined);
    await relays.relay("fourth", { ...on("node1"), ...web, port: 9010 });
    await works("fourth", 9010);
  });

  await step("the API server restarts", async () => {
    await relays.kubectl(["delete", "relay", "fifth"]);
    await cluster.restartServer("default");
    await relays.relay("sixth", { ...on("node2"), ...web, port: 9003 });
    await relays.ready("sixth", ["node2"]);
    // kube-proxy, which lost the server too, waits up to half a minute before it asks for Services again.
    await works("sixth", 9003, 45_000);
  });

  await step("the relay that nobody touched has kept its connection", async () => {
    const { code, last } = await held.end();
    assertEquals(code, 0, last);
    assertGreater(Number(last), 100);
  });

  await step("nothing is left when all relays are gone", async () => {
    await relays.kubectl(["delete", "relays", "--all"]);
    await until("everything to go", WITHIN, async () => (await relays.children()).length === 0 || undefined);
    const log = await relays.kubectl(["logs", "deployment/podwire-relay-operator"]);
    assert(!/TypeError|ReferenceError|Uncaught/.test(log), log);
  });
});

interface Pod {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly spec: { readonly nodeName: string };
}

/** Kills the operator of `namespace`; the kubelet starts its container anew. */
async function killOperator(namespace: string): Promise<void> {
  const found = [...processes()].filter(({ args }) =>
    args.includes("operator") && args.includes(`--namespace=${namespace}`)
  );
  assertEquals(found.length, 1, "one operator runs");
  Deno.kill(found[0]!.pid, "SIGKILL");
  await until(
    "its end",
    5_000,
    () => Promise.resolve([...processes()].every(({ pid }) => pid !== found[0]!.pid) || undefined),
  );
}
