/** `Cluster.resource()` on a real API server: each way of writing, lists in parts, and a watch that outlives the server. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ApiError, Cluster, type KubernetesObject, type ResourceEvent } from "../../lib/client/mod.ts";
import { ground } from "./ground.ts";
import { until } from "./process.ts";

interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>;
}

const RUN = `resource-${crypto.randomUUID().slice(0, 8)}`;

function map(name: string, data: Record<string, string> = {}) {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name: `${RUN}-${name}`, labels: { run: RUN } }, data };
}

/** The config maps of the namespace `default`. */
async function connect() {
  const cluster = await ground();
  const api = await Cluster.fromKubeconfig({ kubeconfig: cluster.kubeconfig(), viaUnixSocket: cluster.socket() });
  const maps = api.resource<ConfigMap>({ version: "v1", plural: "configmaps", namespace: "default" });
  return { cluster, api, maps, [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}

async function refused(work: Promise<unknown>, code: number): Promise<void> {
  assertEquals((await assertRejects(() => work, ApiError)).code, code);
}

Deno.test("Resource creates, applies, patches, updates and deletes", async () => {
  await using connection = await connect();
  const { maps } = connection;
  const one = await maps.create(map("a", { x: "1" }));
  await refused(maps.create(map("a")), 409);
  const name = one.metadata.name;

  const patched = await maps.patch(name, { data: { x: null, y: "2" } });
  assertEquals(patched.data, { y: "2" });
  await refused(maps.update({ ...map("a"), metadata: one.metadata }), 409);

  await refused(maps.apply(map("a", { y: "3" }), { fieldManager: "tester" }), 409);
  const applied = await maps.apply(map("a", { y: "3", z: "4" }), { fieldManager: "tester", force: true });
  assertEquals(applied.data, { y: "3", z: "4" });
  const less = await maps.apply(map("a", { y: "3" }), { fieldManager: "tester" });
  assertEquals(less.data, { y: "3" }, "what is no longer applied goes");

  await refused(maps.delete(name, { uid: "another" }), 409);
  await maps.delete(name, one.metadata.uid === undefined ? {} : { uid: one.metadata.uid });
  await refused(maps.get(name), 404);
});

Deno.test("Resource.list() puts the parts of a list together", async () => {
  await using connection = await connect();
  const { maps } = connection;
  const names = ["a", "b", "c", "d", "e"].map((name) => map(name));
  try {
    await Promise.all(names.map((one) => maps.create(one)));
    const { items, resourceVersion } = await maps.list({ labelSelector: `run=${RUN}`, limit: 2 });
    assertEquals(items.map(({ metadata }) => metadata.name), names.map(({ metadata }) => metadata.name));
    assert(Number(resourceVersion) > 0);
  } finally {
    await Promise.all(names.map(({ metadata }) => maps.delete(metadata.name)));
  }
});

Deno.test("Resource.watch() misses nothing and tells nothing twice when the API server restarts", async () => {
  await using connection = await connect();
  const { cluster, maps } = connection;
  const told: string[] = [];
  const retried: unknown[] = [];
  const end = new AbortController();
  const short = (event: ResourceEvent<ConfigMap>) =>
    event.type === "SYNC"
      ? `SYNC ${event.objects.length}`
      : `${event.type} ${event.object.metadata.name.slice(RUN.length + 1)}`;
  const watching = (async () => {
    const options = {
      labelSelector: `run=${RUN}`,
      signal: end.signal,
      onRetry: (error: unknown) => retried.push(error),
    };
    for await (const event of maps.watch(options)) told.push(short(event));
  })();
  const heard = (line: string) => until(line, 10_000, () => Promise.resolve(told.includes(line) || undefined));
  await heard("SYNC 0");
  await maps.create(map("a"));
  await maps.patch(`${RUN}-a`, { data: { x: "1" } });
  await heard("MODIFIED a");
  await cluster.restartServer("default");
  await maps.delete(`${RUN}-a`);
  await maps.create(map("b"));
  await maps.delete(`${RUN}-b`);
  await heard("DELETED b");
  // A server that has just started may no longer know what was before (410): then all that is there is told again.
  const changes = told.filter((line) => line !== "SYNC 1");
  assertEquals(changes, ["SYNC 0", "ADDED a", "MODIFIED a", "DELETED a", "ADDED b", "DELETED b"]);
  assert(retried.length > 0, "the restart was noticed");
  end.abort(new Error("the test is over"));
  await watching;
});
