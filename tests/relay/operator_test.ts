/** The operator on a server that misbehaves as no real one can be told to. What it does on a real one: tests/cluster/. */
import { assert, assertEquals, assertGreater, assertLess, assertMatch } from "@std/assert";
import type { KubernetesObject, Manifest } from "../../lib/client/mod.ts";
import { parseAllowed } from "../../lib/relay/allow_list.ts";
import type { RelayObject } from "../../lib/relay/crd.ts";
import { Operator } from "../../lib/relay/operator.ts";
import { FakeClock } from "../client/fake_clock.ts";
import { merge, ObjectServer, status } from "../client/object_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const CORE = "/api/v1/namespaces/relays";
const APPS = "/apis/apps/v1/namespaces/relays/daemonsets";
const RELAYS = "/apis/podwire.dev/v1alpha1/namespaces/relays/relays";
const OURS = { "app.kubernetes.io/managed-by": "podwire-relay-operator" };

interface Scene {
  readonly server: ObjectServer;
  readonly clock: FakeClock;
  readonly log: string[];
  /** Lets the operator do all that it has to do without waiting. */
  readonly quiet: () => Promise<void>;
  /** Starts it. */
  readonly start: () => Promise<void>;
  /** The names of a resource's objects. */
  readonly names: (list: string) => string[];
  /** A relay's condition, as `STATUS REASON`. */
  readonly condition: (relay: string, type: string) => string;
  /** What it says for people. */
  readonly message: (relay: string, type: string) => string | undefined;
  /** The events, as `TYPE REASON`. */
  readonly events: () => string[];
}

async function withOperator(work: (scene: Scene) => Promise<void>): Promise<void> {
  using clock = new FakeClock();
  const server = new ObjectServer();
  const log: string[] = [];
  const controller = new AbortController();
  server.put("/api/v1/nodes/n1", {
    apiVersion: "v1",
    kind: "Node",
    metadata: { labels: { "kubernetes.io/os": "linux", "zone": "a" } },
  });
  const operator = new Operator(server.cluster(), {
    namespace: "relays",
    image: "podwire",
    allow: [parseAllowed("tcp:127.0.0.1:9000")],
    identity: "test",
    log: (line) => log.push(line),
  });
  const quiet = async () => {
    for (let before = -1; before !== server.requests.length;) {
      before = server.requests.length;
      for (let i = 0; i < 10; i++) await clock.settle();
    }
  };
  const find = (relay: string, type: string) => {
    const { status } = server.objects.get(`${RELAYS}/${relay}`) as RelayObject;
    return status?.conditions?.find((condition) => condition.type === type);
  };
  const names = (list: string) =>
    [...server.objects.keys()].filter((path) => path.startsWith(`${list}/`)).map((path) => path.slice(list.length + 1));
  let running = Promise.resolve();
  await work({
    server,
    clock,
    log,
    quiet,
    start: async () => {
      running = operator.run(controller.signal);
      await quiet();
    },
    names,
    condition: (relay, type) => {
      const found = find(relay, type);
      return `${found?.status} ${found?.reason}`;
    },
    message: (relay, type) => find(relay, type)?.message,
    events: () =>
      names(`${CORE}/events`).map((name) => {
        const { type, reason } = server.objects.get(`${CORE}/events/${name}`) as { type?: string; reason?: string };
        return `${type} ${reason}`;
      }),
  });
  controller.abort(new Error("the test is over"));
  await running;
  assertEquals([server.watches, clock.pending], [0, 0]);
}

function relay(spec: Partial<RelayObject["spec"]> = {}) {
  const whole = { nodeSelector: { zone: "a" }, port: 80, target: { address: "tcp:127.0.0.1:9000" }, ...spec };
  return { apiVersion: "podwire.dev/v1alpha1", kind: "Relay", metadata: { generation: 1 }, ...{ spec: whole } };
}

/** The pod that a DaemonSet would make. */
function pod(daemonSet: KubernetesObject, ready: boolean) {
  const { labels } = daemonSet.metadata;
  const conditions = [{ type: "Ready", status: ready ? "True" : "False" }];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { labels },
    ...{ spec: { nodeName: "n1" }, status: { conditions } },
  };
}

Deno.test("Operator makes what a relay asks for, and says when it works", async () => {
  await withOperator(async ({ server, start, quiet, names, condition, events }) => {
    server.put(`${RELAYS}/web`, relay());
    await start();
    const [set = ""] = names(APPS).map((name) => name.replace(/-(cluster|node)$/, ""));
    assertEquals(names(APPS).sort(), [`${set}-cluster`, `${set}-node`]);
    assertEquals(names(`${CORE}/configmaps`).sort(), [`${set}-cluster`, `${set}-node`]);
    assertEquals(names(`${CORE}/services`), ["web"]);
    assertEquals([condition("web", "Accepted"), condition("web", "Ready")], ["True Allowed", "False NodesNotReady"]);
    for (const half of ["node", "cluster"]) {
      server.put(`${CORE}/pods/${half}-1`, pod(server.objects.get(`${APPS}/${set}-${half}`)!, true));
    }
    await quiet();
    assertEquals(condition("web", "Ready"), "True NodesReady");
    assertEquals(events(), ["Normal Allowed", "Normal NodesNotReady", "Normal NodesReady"]);
  });
});

Deno.test("Operator does nothing before it knows everything", async () => {
  await withOperator(async ({ server, start, quiet, names }) => {
    server.put(`${RELAYS}/web`, relay());
    const labels = { ...OURS, "app.kubernetes.io/instance": "relay-old" };
    server.put(`${APPS}/relay-old-node`, { apiVersion: "apps/v1", kind: "DaemonSet", metadata: { labels } });
    const known = Promise.withResolvers<undefined>();
    server.intercept = ({ path }) => path.startsWith(`${RELAYS}?limit`) ? known.promise : undefined;
    await start();
    assertEquals(server.requests.filter((request) => !request.startsWith("GET")), []);
    known.resolve(undefined);
    await quiet();
    assertEquals(names(APPS).length, 2);
    assert(!names(APPS).includes("relay-old-node"), "what nothing asks for goes");
  });
});

Deno.test("Operator takes nothing away when its watches have to begin anew", async () => {
  await withOperator(async ({ server, start, clock, quiet, log }) => {
    server.put(`${RELAYS}/web`, relay());
    await start();
    const before = server.requests.length;
    server.intercept = ({ path }) => path.startsWith(`${RELAYS}?limit`) ? status(404, "page not found") : undefined;
    for (const list of [RELAYS, APPS, `${CORE}/services`, `${CORE}/configmaps`, `${CORE}/pods`, "/api/v1/nodes"]) {
      server.emit("ERROR", { kind: "Status", code: 410, message: "too old" }, list);
    }
    await clock.pass(500);
    assert(log.some((line) => line.includes(`${RELAYS} again: `) && line.includes("page not found")), log.join("\n"));
    server.intercept = () => undefined;
    await clock.pass(10_000);
    await quiet();
    const requests = server.requests.slice(before);
    const listed = requests.flatMap((request) => /^GET (.*)\?.*limit=/.exec(request)?.[1] ?? []);
    assertEquals(new Set(listed).size, 6);
    assertEquals(requests.filter((request) => !request.startsWith("GET")), []);
  });
});

Deno.test("Operator says what failed, tries again later each time, and makes it good", async () => {
  await withOperator(async ({ server, start, clock, quiet, condition, events, log, names }) => {
    server.put(`${RELAYS}/web`, relay());
    server.intercept = ({ method, path }) =>
      method === "POST" && path.startsWith(APPS) ? status(500, "no space") : undefined;
    await start();
    assertEquals(condition("web", "Ready"), "False ApplyFailed");
    for (let i = 0; i < 20; i++) {
      await clock.pass(500);
      await quiet();
    }
    const delays = log.flatMap((line) => /no space; again in (\d+) ms/.exec(line)?.[1] ?? []);
    assertEquals(delays, ["200", "400", "800", "1600", "3200", "6400"]);
    assertEquals(log.filter((line) => line.startsWith("relay web: ApplyFailed")).length, 1, "it is said once");
    server.intercept = () => undefined;
    await clock.pass(10_000);
    await quiet();
    assertEquals([condition("web", "Ready"), names(APPS).length], ["False NodesNotReady", 2]);
    assertEquals(events(), ["Normal Allowed", "Warning ApplyFailed", "Normal NodesNotReady"]);
  });
});

Deno.test("Operator applies nothing that is as it was, and puts right what somebody changed", async () => {
  await withOperator(async ({ server, start, quiet, names }) => {
    server.put(`${RELAYS}/web`, relay());
    await start();
    const set = names(APPS)[0]!.replace(/-(cluster|node)$/, "");
    const labels = { ...OURS, "app.kubernetes.io/instance": set, "app.kubernetes.io/component": "other" };
    const before = server.requests.length;
    server.put(`${CORE}/pods/x`, { apiVersion: "v1", kind: "Pod", metadata: { labels } });
    await quiet();
    assertEquals(server.requests.slice(before), []);
    server.put(`${APPS}/${set}-node`, { apiVersion: "apps/v1", kind: "DaemonSet", ...{ spec: {} } });
    await quiet();
    assertEquals(server.requests.slice(before), [
      `GET ${APPS}/${set}-node`,
      `PUT ${APPS}/${set}-node?fieldManager=podwire-relay-operator`,
    ]);
  });
});

Deno.test("Operator takes out what somebody else put in, but not how they labelled it", async () => {
  await withOperator(async ({ server, start, quiet, names }) => {
    server.put(`${RELAYS}/web`, relay());
    await start();
    const set = names(APPS)[0]!.replace(/-(cluster|node)$/, "");
    const paths = [`${CORE}/configmaps/${set}-node`, `${CORE}/services/web`, `${APPS}/${set}-cluster`];
    const content = () => paths.map((path) => JSON.stringify({ ...server.objects.get(path), metadata: undefined }));
    const before = content();
    const additions = [
      { data: { "evil.json": "{}" }, binaryData: { "worse.json": "e30=" } },
      { spec: { type: "NodePort", externalIPs: ["192.0.2.1"] } },
      { spec: { template: { spec: { hostPID: true } } } },
    ];
    for (const [i, path] of paths.entries()) {
      const addition = { ...additions[i], metadata: { labels: { team: "a" } } };
      server.put(path, merge(server.objects.get(path), addition) as Manifest);
    }
    assertEquals(content().filter((text) => before.includes(text)), []);
    await quiet();
    assertEquals(content(), before);
    assertEquals(paths.map((path) => server.objects.get(path)!.metadata.labels?.team), ["a", "a", "a"]);
  });
});

Deno.test("Operator makes a set anew when somebody has frozen a ConfigMap of it", async () => {
  await withOperator(async ({ server, start, quiet, names }) => {
    server.put(`${RELAYS}/web`, relay());
    await start();
    const made = names(APPS).sort();
    const path = `${CORE}/configmaps/${made[0]}`;
    server.put(path, { apiVersion: "v1", kind: "ConfigMap", ...{ immutable: true, data: { "evil.json": "{}" } } });
    const before = server.requests.length;
    await quiet();
    const ended = server.requests.slice(before).filter((request) => request.startsWith(`DELETE ${APPS}`));
    assertEquals(ended.map((request) => request.slice(request.lastIndexOf("/") + 1)).sort(), made);
    assertEquals([names(APPS).sort(), names(`${CORE}/configmaps`).sort()], [made, made]);
    assertEquals(Object.keys(server.objects.get(path) ?? {}).sort(), ["apiVersion", "data", "kind", "metadata"]);
    assert(!JSON.stringify(server.objects.get(path)).includes("evil"), "what was frozen is gone");
  });
});

Deno.test("Operator leaves a Service alone that is not its own", async () => {
  await withOperator(async ({ server, start, condition, events }) => {
    const theirs = server.put(`${CORE}/services/web`, { apiVersion: "v1", kind: "Service" });
    server.intercept = ({ path }) => {
      // It has no label of ours: the server would not list it.
      return path.startsWith(`${CORE}/services?label`) ? Response.json({ metadata: {}, items: [] }) : undefined;
    };
    server.put(`${RELAYS}/web`, relay());
    await start();
    assertEquals(condition("web", "Ready"), "False NameInUse");
    assertEquals(events(), ["Normal Allowed", "Warning NameInUse"]);
    assertEquals(server.objects.get(`${CORE}/services/web`), theirs);
    server.intercept = () => undefined;
  });
});

Deno.test("Operator exposes nothing that is refused, and takes it away when it is refused later", async () => {
  await withOperator(async ({ server, start, quiet, names, condition }) => {
    server.put(`${RELAYS}/web`, relay());
    server.put(`${RELAYS}/ssh`, relay({ port: 22, target: { address: "tcp:127.0.0.1:22" } }));
    server.put(`${RELAYS}/zzz`, relay());
    await start();
    assertEquals(condition("ssh", "Accepted"), "False NotAllowed");
    assertEquals(condition("zzz", "Accepted"), "False PortInUse");
    assertEquals(names(`${CORE}/services`), ["web"]);
    const config = () =>
      names(`${CORE}/configmaps`).map((name) => {
        const { data } = server.objects.get(`${CORE}/configmaps/${name}`) as { data?: Record<string, string> };
        return Object.keys(data ?? {});
      });
    assertEquals(config(), [["web.json"], ["podwire-node-admin.json", "web.json"]]);
    server.put(`${RELAYS}/web`, relay({ target: { address: "tcp:127.0.0.1:23" } }));
    await quiet();
    assertEquals(names(`${CORE}/services`), ["zzz"], "the port is free now");
    server.put(`${RELAYS}/zzz`, relay({ target: { address: "tcp:127.0.0.1:23" } }));
    await quiet();
    assertEquals([names(`${CORE}/services`), names(APPS), config()], [[], [], []]);
  });
});

Deno.test("Operator has each pod look at a new configuration once", async () => {
  await withOperator(async ({ server, start, quiet, names }) => {
    server.put(`${RELAYS}/web`, relay());
    await start();
    const daemonSet = names(APPS).find((name) => name.endsWith("-cluster"))!;
    server.put(`${CORE}/pods/p`, pod(server.objects.get(`${APPS}/${daemonSet}`)!, true));
    await quiet();
    const patches = () => server.requests.filter((request) => request.startsWith(`PATCH ${CORE}/pods/p`)).length;
    assertEquals(patches(), 1);
    server.put(`${RELAYS}/web`, relay({ allowFrom: ["10.0.0.0/8"] }));
    await quiet();
    assertEquals(patches(), 2);
  });
});

Deno.test("Operator moves a relay's Service with it to other nodes", async () => {
  await withOperator(async ({ server, start, quiet, names }) => {
    server.put(`${RELAYS}/web`, relay());
    await start();
    const before = names(APPS);
    server.put(`${RELAYS}/web`, relay({ nodeSelector: { zone: "b" } }));
    await quiet();
    const after = names(APPS);
    assertEquals([after.length, before.filter((name) => after.includes(name))], [2, []]);
    const service = server.objects.get(`${CORE}/services/web`)!;
    assertEquals(service.metadata.labels?.["app.kubernetes.io/instance"], after[0]?.replace(/-(cluster|node)$/, ""));
  });
});

Deno.test("Operator lets older relays be where all together are too large", async () => {
  await withOperator(async ({ server, start, quiet, names, condition }) => {
    const paths = Array.from({ length: 32 }, (_, i) => `/${i}`.padEnd(512, "x"));
    const time = (i: number) => `2026-01-01T00:00:${String(i).padStart(2, "0")}Z`;
    const put = (i: number) =>
      server.put(`${RELAYS}/r${i}`, {
        ...relay({ port: 1000 + i, http: { paths } }),
        metadata: { generation: 1, creationTimestamp: time(59 - i) }, // The last is the oldest.
      });
    for (let i = 0; i < 60; i++) put(i);
    await start();
    const refused = () =>
      names(RELAYS).filter((name) => condition(name, "Accepted") === "False TooLarge").map((name) =>
        Number(name.slice(1))
      );
    const first = refused();
    assertGreater(first.length, 0);
    assertEquals(first, first.map((_, i) => i), "the youngest are");
    for (const name of names(`${CORE}/configmaps`)) {
      const { data } = server.objects.get(`${CORE}/configmaps/${name}`) as { data?: Record<string, string> };
      assertLess(Object.values(data ?? {}).join("").length, 1 << 20);
      assert(data?.["r59.json"] && !data["r0.json"]);
    }
    server.remove(`${RELAYS}/r59`);
    await quiet();
    assertEquals(refused(), first.slice(0, -1), "there is room for one more");
  });
});

Deno.test("Operator has one set for the same nodes in other words, and none for another system's", async () => {
  await withOperator(async ({ server, start, names, condition, message }) => {
    const os = (name: string) => ({ zone: "a", "kubernetes.io/os": name });
    server.put(`${RELAYS}/plain`, relay());
    server.put(`${RELAYS}/linux`, relay({ port: 81, nodeSelector: os("linux") }));
    server.put(`${RELAYS}/windows`, relay({ port: 82, nodeSelector: os("windows") }));
    await start();
    assertEquals([names(APPS).length, names(`${CORE}/services`).sort()], [2, ["linux", "plain"]]);
    assertEquals(condition("windows", "Accepted"), "False Invalid");
    assertEquals(message("windows", "Accepted"), "spec.nodeSelector: kubernetes.io/os must be linux, not windows");
  });
});

Deno.test("Operator says what is wrong by the keys of a Relay", async () => {
  await withOperator(async ({ server, start, message }) => {
    // Some of an older custom resource, which let them be.
    server.put(`${RELAYS}/range`, relay({ allowFrom: ["10.0.0.0/8", "10.0.0.1/8"] }));
    server.put(`${RELAYS}/port`, relay({ port: 9402 }));
    server.put(`${RELAYS}/target`, relay({ target: { address: "tcp:127.0.0:9100" } }));
    server.put(`${RELAYS}/times`, relay({ connectTimeout: "0s", idleTimeout: "1y" }));
    await start();
    assertEquals(message("port", "Accepted"), "spec.port: the pods use the ports 9402 and 9403 themselves");
    assertMatch(message("range", "Accepted") ?? "", /^spec\.allowFrom\[1\]: [^;]+$/);
    assertMatch(message("target", "Accepted") ?? "", /^spec\.target\.address: [^;]+$/);
    assertMatch(
      message("times", "Accepted") ?? "",
      /^spec\.connectTimeout: must be more than 0; spec\.idleTimeout: must be a duration [^;]+$/,
    );
  });
});
