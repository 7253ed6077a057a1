/**
 * A port-forward outlives what happens to it: its pod is replaced, its API server restarts, its link breaks. Connections in
 * flight end with a reset, never as if they were complete.
 */
import { assert, assertEquals, assertGreaterOrEqual, assertLess, assertRejects } from "@std/assert";
import { Cluster, type ForwardListener, PortForwardError } from "../../lib/client/mod.ts";
import { CuttingRelay } from "./cutting_relay.ts";
import { type Ground, ground, type ServerName } from "./ground.ts";
import { PATTERN, PORTS } from "./port_forward_bytes.ts";
import { connect, echo, isReset, listenAll, readExactly } from "./port_forward_client.ts";
import { type Access, SERVER_POD } from "./port_forward_ground.ts";
import { until } from "./process.ts";
import { IMAGE } from "./shape.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** How long new connections may take to work once their target is back, in milliseconds. */
const BACK_WITHIN = 2_000;

function accessOf(cluster: Ground, server: ServerName): Access {
  return { kubeconfig: cluster.kubeconfig(server), viaUnixSocket: cluster.socket(server) };
}

/** A connection in which the pod has said something and could say more. */
async function hold(listener: ForwardListener): Promise<{ connection: Deno.Conn; ended: Promise<boolean> }> {
  const connection = await connect(listener);
  await readExactly(connection, "held\n".length);
  return { connection, ended: isReset(connection) };
}

/** Tries connections one after another until one works; returns when, as `performance.now()`. */
async function works(listener: ForwardListener, from: AbortSignal): Promise<number> {
  for (;;) {
    from.throwIfAborted();
    try {
      using connection = await connect(listener);
      await echo(connection, PATTERN.subarray(0, 1000));
      return performance.now();
    } catch {
      // Not yet: how long that goes on is what is measured. The listener stays all the time.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** When a pod of these labels, another than `uid`, has become ready, as `performance.now()`. */
async function ready(cluster: Ground, selector: string, uid: string | undefined): Promise<number> {
  return await until(`a pod of ${selector}`, 60_000, async () => {
    const { stdout } = await cluster.kubectl(["get", "pods", "-l", selector, "-o", "json"]);
    const { items } = JSON.parse(stdout) as { items: Item[] };
    const found = items.find(({ metadata, status }) =>
      metadata.uid !== uid && !metadata.deletionTimestamp &&
      status.conditions?.some(({ type, status }) => type === "Ready" && status === "True")
    );
    return found && performance.now();
  });
}

interface Item {
  readonly metadata: { readonly uid: string; readonly deletionTimestamp?: string };
  readonly status: { readonly conditions?: ReadonlyArray<{ readonly type: string; readonly status: string }> };
}

/** A Deployment or a StatefulSet of one pod with the server. */
function workload(kind: "Deployment" | "StatefulSet", name: string): unknown {
  return {
    apiVersion: "apps/v1",
    kind,
    metadata: { name, namespace: "default" },
    spec: {
      ...(kind === "StatefulSet" && { serviceName: name }),
      replicas: 1,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          ...SERVER_POD.spec,
          nodeName: "node1",
          terminationGracePeriodSeconds: 1,
          containers: SERVER_POD.containers?.map((container) => ({
            image: IMAGE,
            imagePullPolicy: "Never",
            ...container,
          })),
        },
      },
    },
  };
}

for (const [kind, target] of [["Deployment", "deploy/NAME"], ["StatefulSet", "NAME-0"]] as const) {
  Deno.test(`port-forward to ${target} goes on with the pod that a ${kind} makes anew`, async () => {
    const cluster = await ground();
    const name = `forward-${crypto.randomUUID().slice(0, 8)}`;
    await using api = await Cluster.fromKubeconfig(accessOf(cluster, "default"));
    await cluster.withObjects([workload(kind, name)], async () => {
      await ready(cluster, `app=${name}`, undefined);
      await using forward = await api.portForward(target.replace("NAME", name));
      const { uid } = forward.pod.metadata;
      const { echo: port, hold: held } = await listenAll(forward, { echo: PORTS.echo, hold: PORTS.hold });
      const inFlight = await hold(held);
      using _inFlight = inFlight.connection;

      const { code } = await cluster.kubectl(["delete", "pod", forward.pod.metadata.name, "--wait=false"]);
      assertEquals(code, 0);
      assert(await inFlight.ended, "in flight it ended with a reset");
      const [back, again] = await Promise.all([
        ready(cluster, `app=${name}`, uid),
        works(port, AbortSignal.timeout(60_000)),
      ]);
      assertLess(again - back, BACK_WITHIN);
      assert(forward.pod.metadata.uid !== uid, "it is another pod");
      assertGreaterOrEqual(forward.stats.redials, 1);
    });
  });
}

Deno.test("port-forward ends when its pod, which was asked for by name, is gone for good", async () => {
  const cluster = await ground();
  await using api = await Cluster.fromKubeconfig(accessOf(cluster, "default"));
  await cluster.withPod(SERVER_POD, async (pod) => {
    await using forward = await api.pod(pod.name).portForward();
    const { hold: held } = await listenAll(forward, { hold: PORTS.hold });
    const inFlight = await hold(held);
    using _inFlight = inFlight.connection;
    await cluster.deletePod(pod);
    await assertRejects(() => forward.finished, PortForwardError, "lost connection to pod");
    assert(await inFlight.ended);
    await assertRejects(() => connect(held), Deno.errors.ConnectionRefused);
    await assertRejects(() => forward.connect(PORTS.echo), PortForwardError, "lost connection to pod");
  });
});

Deno.test("port-forward outlives a restart of its API server, through the tunnel and over SPDY", async () => {
  const cluster = await ground();
  await using api = await Cluster.fromKubeconfig(accessOf(cluster, "old"));
  await cluster.withPod({ ...SERVER_POD, node: "node1" }, async (first) => {
    await cluster.withPod({ ...SERVER_POD, node: "node2" }, async (second) => {
      await using tunnel = await api.pod(first.name).portForward();
      await using spdy = await api.pod(second.name).portForward();
      const forwards = [tunnel, spdy];
      const ports = await Promise.all(
        forwards.map((one) => listenAll(one, { echo: PORTS.echo, hold: PORTS.hold })),
      );
      const inFlight = await Promise.all(ports.map((one) => hold(one.hold)));
      let waiting: Promise<number>[] = [];
      await cluster.restartServer("old", async () => {
        assertEquals(await Promise.all(inFlight.map(({ ended }) => ended)), [true, true]);
        // While there is no server, connections wait for it.
        waiting = ports.map((one) => works(one.echo, AbortSignal.timeout(60_000)));
      });
      const back = performance.now();
      for (const again of await Promise.all(waiting)) assertLess(again - back, BACK_WITHIN);
      for (const { connection } of inFlight) connection.close();
      for (const { stats } of forwards) assertGreaterOrEqual(stats.redials, 1);
    });
  });
});

/** Exchanges without a pause until told to stop, and counts those that were whole. Whatever breaks one is a reset. */
async function load(listener: ForwardListener, progress: { count: number }, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      using connection = await connect(listener);
      for (let i = 0; i < 5; i++) await echo(connection, PATTERN.subarray(i * 1000, i * 1000 + 100_000));
      progress.count++;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe)) throw error;
    }
  }
}

Deno.test("port-forward outlives 20 cuts of its link under load, through the tunnel and over SPDY", async () => {
  const cluster = await ground();
  await Promise.all(([["default", "node1"], ["old", "node2"]] as const).map(async ([server, node]) => {
    await using relay = await CuttingRelay.start(cluster.socket(server));
    await cluster.withPod({ ...SERVER_POD, node }, async (pod) => {
      const access = { kubeconfig: cluster.kubeconfig(server), server: relay.url };
      await using api = await Cluster.fromKubeconfig(access);
      await using forward = await api.pod(pod.name).portForward();
      const { echo: port, hold: held } = await listenAll(forward, { echo: PORTS.echo, hold: PORTS.hold });
      const stop = new AbortController();
      const progress = Array.from({ length: 8 }, () => ({ count: 0 }));
      const running = Promise.all(progress.map((one) => load(port, one, stop.signal)));
      const cutting = (async () => {
        for (let cut = 0; cut < 20; cut++) {
          const inFlight = await hold(held);
          using _inFlight = inFlight.connection;
          const { ended } = relay;
          const counts = progress.map(({ count }) => count);
          const began = performance.now();
          relay.cut(cut % 2 === 0 ? "reset" : "end");
          assert(await inFlight.ended, "in flight it ended with a reset");
          assertGreaterOrEqual(relay.ended, ended + 1);
          assertLess(await works(port, AbortSignal.timeout(10_000)) - began, BACK_WITHIN);
          await until("everybody's exchanges after the cut", 10_000, () => {
            return Promise.resolve(progress.every(({ count }, i) => count > counts[i]! + 1) || undefined);
          });
        }
      })().finally(() => stop.abort());
      await Promise.all([running, cutting]);
      assertGreaterOrEqual(forward.stats.redials, 20);
    });
  }));
});

Deno.test("port-forward stays up while nothing happens, and notices a link that has died without a word", async () => {
  const cluster = await ground();
  await using relay = await CuttingRelay.start(cluster.socket("default"));
  await cluster.withPod(SERVER_POD, async (pod) => {
    await using near = await Cluster.fromKubeconfig(accessOf(cluster, "default"));
    await using far = await Cluster.fromKubeconfig({ kubeconfig: cluster.kubeconfig("default"), server: relay.url });
    await using idle = await near.pod(pod.name).portForward();
    await using dead = await far.pod(pod.name).portForward();
    const [idlePort, deadPort] = await Promise.all([idle, dead].map((one) => listenAll(one, { echo: PORTS.echo })));
    const { hold: held } = await listenAll(dead, { hold: PORTS.hold });
    using quiet = await connect(idlePort!.echo);
    await echo(quiet, PATTERN.subarray(0, 10));
    const inFlight = await hold(held);
    using _inFlight = inFlight.connection;

    relay.swallow();
    const began = performance.now();
    assert(await inFlight.ended, "in flight it ended with a reset");
    const noticed = performance.now();
    const again = await works(deadPort!.echo, AbortSignal.timeout(10_000));
    assertLess(again - noticed, BACK_WITHIN);
    assertLess(noticed - began, 45_000, "three Pings without an answer");

    assertGreaterOrEqual(noticed - began, 25_000, "the other forward had so long nothing to do");
    await echo(quiet, PATTERN.subarray(0, 10));
    assertEquals(idle.stats.redials, 0);
  });
});
