/** What the functions of a user throw that are told what happens: it is reported, and neither stops nor leaves anything. */
import { assertEquals, assertRejects } from "@std/assert";
import { Cluster, ForwardError } from "../../lib/client/mod.ts";
import { loadAccess } from "../../lib/kubeconfig/mod.ts";
import { serveHost } from "../../lib/server/mod.ts";
import { FakeHost } from "../kubeconfig/fake_host.ts";
import { utf8 } from "../spdy/harness.ts";
import { Reported } from "../support/reported.ts";
import { CopyGround } from "./copy_ground.ts";
import { FakeClock } from "./fake_clock.ts";
import { readText, REFUSED } from "./forward_peer.ts";
import { refusal, withPortForward } from "./forward_server.ts";
import { ObjectServer } from "./object_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Tells of itself by throwing. */
class Told extends Error {
  readonly what: unknown;

  constructor(what: unknown) {
    super("a bug of the user's");
    this.what = what;
  }
}

function fling(what: unknown): never {
  throw new Told(what);
}

/** What was told. */
function told({ errors }: Reported): unknown[] {
  return errors.map((error) => error instanceof Told ? error.what : error);
}

for (const wire of ["tunnel", "spdy", "v4"] as const) {
  Deno.test(`PortForward outlives what onEvent throws over ${wire}`, async () => {
    using reported = new Reported();
    const failure = new Error("no more of it");
    let broken = false;
    await withPortForward({
      target: (server) => server.anyPod(wire === "v4" ? "websocket" : "auto"),
      onDial: (dial) => broken ? failure : dial.wire === "tunnel" && wire === "spdy" ? refusal(403) : undefined,
      options: { onEvent: ({ type }) => fling(type) },
    }, async ({ server, forward, clock }) => {
      if (wire === "v4") {
        const connection = await forward.connect(80);
        connection.close();
        await connection.closed;
        await clock.settle();
        assertEquals(told(reported), ["dialed", "connected", "closed"]);
        return;
      }
      const [peer] = server.peers;
      const connecting = forward.connect(80);
      const ids = await peer!.accept();
      const connection = await connecting;
      await connection.write(utf8("alive"));
      assertEquals(await peer!.expectData(ids.data), "alive");
      await peer!.finish(ids);
      assertEquals(await readText(connection), "");
      await connection.closed;
      await peer!.expectReset(ids.data);
      const refused = forward.connect(81);
      await peer!.fail(await peer!.accept(), REFUSED);
      await assertRejects(async () => await readText(await refused), ForwardError, "connection refused");
      await clock.settle();
      assertEquals(told(reported), ["dialed", "connected", "closed", "connected", "failed"]);
      broken = true;
      peer!.close();
      await clock.pass(100);
      broken = false;
      await clock.pass(2_000);
      const types = told(reported).slice(5);
      assertEquals([types[0], types.at(-1)], ["lost", "dialed"]);
      assertEquals([...new Set(types.slice(1, -1))], ["retry"]);
      assertEquals(forward.stats.redials, 1);
    });
  });
}

Deno.test("Cluster outlives what onRequest throws, and leaves no stream open", async () => {
  using reported = new Reported();
  await using host = await serveHost({ listen: { port: 0 } });
  await using cluster = new Cluster({ server: host.url, onRequest: ({ status }) => fling(status) });
  const pod = cluster.pod("demo");
  assertEquals((await pod.exec(["true"]).output()).code, 0);
  await pod.get();
  await using process = await pod.exec(["cat"], { stdin: "piped" }).spawn();
  await process.stdin.close();
  assertEquals((await process.status).code, 0);
  assertEquals(told(reported), [101, 200, 101]);
});

// The host leaves the pipes of commands to the garbage collector.
Deno.test("copies outlive what onProgress throws", { sanitizeResources: false }, async () => {
  using reported = new Reported();
  await using ground = await CopyGround.start();
  const onProgress = (bytes: number) => fling(bytes);
  const { size } = await ground.pod.upload(utf8("hello"), ground.path("file"), { onProgress });
  assertEquals(told(reported).at(-1), size);
  reported.errors.length = 0;
  const { readable } = await ground.pod.download(ground.path("file"), { onProgress });
  assertEquals(await new Response(readable).text(), "hello");
  assertEquals(told(reported), [5]);
});

Deno.test("Resource.watch() outlives what onRetry throws", async () => {
  using reported = new Reported();
  using clock = new FakeClock();
  const server = new ObjectServer();
  const path = "/api/v1/namespaces/shop/configmaps";
  const map = (name: string) => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "shop" } });
  server.put(`${path}/a`, map("a"));
  const controller = new AbortController();
  const types: string[] = [];
  const reading = (async () => {
    const maps = server.cluster().resource({ version: "v1", plural: "configmaps", namespace: "shop" });
    for await (const { type } of maps.watch({ signal: controller.signal, onRetry: fling })) types.push(type);
  })();
  await clock.settle();
  server.endWatches(new Error("the link broke"));
  await clock.pass(2_000);
  server.put(`${path}/b`, map("b"));
  await clock.settle();
  assertEquals(types, ["SYNC", "ADDED"]);
  assertEquals(reported.errors.length, 1);
  controller.abort();
  await reading;
});

Deno.test("loadAccess() outlives what onWarning throws", async () => {
  using reported = new Reported();
  const host = new FakeHost({}, { KUBECONFIG: "/missing" });
  assertEquals((await loadAccess({ onWarning: fling }, host)).server.href, "http://localhost:8080/");
  assertEquals(told(reported), ["Config not found: /missing"]);
});
