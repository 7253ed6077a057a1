/** Objects read, watched and written: the requests that go out, and what a watch survives. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ApiError, type ApiRequest, type KubernetesObject, type ResourceEvent } from "../../lib/client/mod.ts";
import { FakeClock } from "./fake_clock.ts";
import { ObjectServer, status } from "./object_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const MAPS = "/api/v1/namespaces/shop/configmaps";

interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>;
}

function maps(server: ObjectServer) {
  return server.cluster().resource<ConfigMap>({ version: "v1", plural: "configmaps", namespace: "shop" });
}

function map(name: string, data: Record<string, string> = {}) {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data };
}

/** What `work` sends first: method, path, content type and body. */
async function sent(work: (resource: ReturnType<typeof maps>) => Promise<unknown>): Promise<unknown[]> {
  const server = new ObjectServer();
  const requests: ApiRequest[] = [];
  server.intercept = (request) => {
    requests.push(request);
    return Response.json({ metadata: { name: "x" } });
  };
  await work(maps(server));
  const [{ method, path, headers, body } = requests[0]!] = requests;
  const type = headers.find(([name]) => name === "Content-Type")?.[1];
  return [method, path, type, body && JSON.parse(new TextDecoder().decode(body))];
}

Deno.test("Resource.path is the list's, of the core group, of another, and without a namespace", () => {
  const cluster = new ObjectServer().cluster();
  assertEquals(cluster.resource({ version: "v1", plural: "nodes" }).path, "/api/v1/nodes");
  assertEquals(
    cluster.resource({ group: "apps", version: "v1", plural: "daemonsets", namespace: "a b" }).path,
    "/apis/apps/v1/namespaces/a%20b/daemonsets",
  );
});

Deno.test("Resource writes as the API wants each way of writing", async () => {
  const object = map("m", { a: "b" });
  assertEquals(await sent((maps) => maps.create(object)), ["POST", MAPS, "application/json", object]);
  assertEquals(await sent((maps) => maps.update(object)), ["PUT", `${MAPS}/m`, "application/json", object]);
  assertEquals(
    await sent((maps) => maps.patch("m", { data: { a: null } }, { subresource: "status", fieldManager: "f" })),
    ["PATCH", `${MAPS}/m/status?fieldManager=f`, "application/merge-patch+json", { data: { a: null } }],
  );
  assertEquals(
    await sent((maps) => maps.apply(object, { fieldManager: "f", force: true })),
    ["PATCH", `${MAPS}/m?fieldManager=f&force=true`, "application/apply-patch+yaml", object],
  );
  assertEquals(await sent((maps) => maps.delete("m", { propagationPolicy: "Foreground", uid: "u" })), [
    "DELETE",
    `${MAPS}/m`,
    "application/json",
    { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Foreground", preconditions: { uid: "u" } },
  ]);
});

Deno.test("Resource throws the server's Status", async () => {
  const server = new ObjectServer();
  server.intercept = () => status(409, "there is one");
  const error = await assertRejects(() => maps(server).create(map("m")), ApiError, "there is one");
  assertEquals(error.code, 409);
});

Deno.test("Resource.list() asks for a list in parts, and for all of it at once when its parts have expired", async () => {
  const server = new ObjectServer();
  const part = (names: string[], next?: string) =>
    Response.json({ metadata: { resourceVersion: "7", continue: next }, items: names.map((name) => map(name)) });
  let expired = false;
  server.intercept = ({ path }) => {
    const next = new URL(path, "https://x").searchParams.get("continue");
    if (next === "two" && expired) return status(410);
    if (next === "two") return part(["c"]);
    return path.includes("limit=") ? part(["a", "b"], "two") : part(["a", "b", "c", "d"]);
  };
  const names = async () =>
    (await maps(server).list({ labelSelector: "a=b", limit: 2 })).items.map((m) => m.metadata.name);
  assertEquals(await names(), ["a", "b", "c"]);
  assertEquals(server.requests, [
    `GET ${MAPS}?labelSelector=a%3Db&limit=2`,
    `GET ${MAPS}?labelSelector=a%3Db&limit=2&continue=two`,
  ]);
  expired = true;
  assertEquals(await names(), ["a", "b", "c", "d"]);
});

interface Scene {
  readonly server: ObjectServer;
  readonly clock: FakeClock;
  /** What the watch told, in short. */
  readonly told: string[];
  /** The failures that it made good. */
  readonly retried: string[];
}

async function withWatch(work: (scene: Scene) => Promise<void>): Promise<void> {
  using clock = new FakeClock();
  const server = new ObjectServer();
  server.put(`${MAPS}/a`, map("a"));
  const told: string[] = [];
  const retried: string[] = [];
  const controller = new AbortController();
  const events = maps(server).watch({
    signal: controller.signal,
    onRetry: (error) => retried.push((error as Error).message),
  });
  const short = (event: ResourceEvent<ConfigMap>) =>
    event.type === "SYNC"
      ? `SYNC ${event.objects.map(({ metadata }) => metadata.name).join()}`
      : `${event.type} ${event.object.metadata.name}`;
  const reading = (async () => {
    for await (const event of events) told.push(short(event));
  })();
  await clock.settle();
  await work({ server, clock, told, retried });
  controller.abort(new Error("the test is over"));
  await reading;
  assertEquals(server.watches, 0);
}

Deno.test("Resource.watch() tells what is there, and what becomes of it", async () => {
  await withWatch(async ({ server, clock, told, retried }) => {
    server.put(`${MAPS}/b`, map("b"));
    server.put(`${MAPS}/b`, map("b", { c: "d" }));
    server.remove(`${MAPS}/a`);
    await clock.settle();
    assertEquals(told, ["SYNC a", "ADDED b", "MODIFIED b", "DELETED a"]);
    assertEquals(retried, []);
  });
});

Deno.test("Resource.watch() goes on from the last version that it saw, a bookmark's too", async () => {
  await withWatch(async ({ server, clock, told }) => {
    server.put(`${MAPS}/b`, map("b"));
    server.emit("BOOKMARK", { kind: "ConfigMap", metadata: { resourceVersion: "555" } }, MAPS);
    await clock.pass(10_000);
    server.endWatches();
    await clock.settle();
    const versions = server.requests.map((request) => /resourceVersion=(\d+)/.exec(request)?.[1]);
    assertEquals(versions, [undefined, "101", "555"]);
    assert(server.requests.at(-1)?.includes("allowWatchBookmarks=true"));
    assertEquals(told, ["SYNC a", "ADDED b"]);
  });
});

/** Breaks the watch, and answers the next one with `response`. */
function answerWatch(server: ObjectServer, response: Response): void {
  server.intercept = ({ path }) => {
    if (!path.includes("watch=true")) return undefined;
    server.intercept = () => undefined;
    return response;
  };
  server.endWatches(new Error("broken"));
}

function failure(code: number, message: string): object {
  return { kind: "Status", code, message };
}

for (
  const [how, [gone, why]] of Object.entries<[gone: (server: ObjectServer) => void, why: string]>({
    "an event says that its version is too old": [
      (server) => server.emit("ERROR", failure(410, "too old"), MAPS),
      "too old",
    ],
    "its answer says that its version is too old": [
      (server) => answerWatch(server, status(410, "too old")),
      "too old",
    ],
    "an event says that its version is not there yet": [
      (server) => server.emit("ERROR", failure(504, "Too large resource version: 900, current: 10"), MAPS),
      "Too large resource version: 900, current: 10",
    ],
    "its version is refused": [(server) => answerWatch(server, status(400, "no such version")), "no such version"],
    "an event is no JSON": [
      (server) => answerWatch(server, new Response("<html>\n")),
      `malformed watch event of ${MAPS}`,
    ],
    "an event is of no known type": [
      (server) => server.emit("CHANGED", map("b"), MAPS),
      `malformed watch event of ${MAPS}`,
    ],
    "an event has no object": [(server) => server.emit("MODIFIED", null, MAPS), `malformed watch event of ${MAPS}`],
    "an event's object has no metadata": [
      (server) => server.emit("MODIFIED", { kind: "ConfigMap" }, MAPS),
      `malformed watch event of ${MAPS}`,
    ],
    "an event is too large": [
      (server) => answerWatch(server, new Response(`{"type":"ADDED","object":"${"x".repeat(5 * 1024 * 1024)}`)),
      `watch event of ${MAPS} is larger than 4194304 bytes`,
    ],
    "it ends at once": [(server) => answerWatch(server, new Response("")), `the watch of ${MAPS} ended at once`],
  })
) {
  Deno.test(`Resource.watch() lists anew when ${how}`, async () => {
    await withWatch(async ({ server, clock, told, retried }) => {
      server.objects.delete(`${MAPS}/a`); // Nobody is told.
      gone(server);
      await clock.pass(5_000);
      server.put(`${MAPS}/b`, map("b"));
      await clock.settle();
      assertEquals(told, ["SYNC a", "SYNC ", "ADDED b"]);
      assertEquals(retried.at(-1), why);
    });
  });
}

for (
  const [how, fail] of Object.entries<(server: ObjectServer) => void>({
    "its answer says that the server is busy": (server) => answerWatch(server, status(429, "busy")),
    "an event says that the server is busy": (server) => server.emit("ERROR", failure(429, "busy"), MAPS),
    "the connection breaks": (server) => server.endWatches(new Error("busy")),
  })
) {
  Deno.test(`Resource.watch() goes on from the same version when ${how}`, async () => {
    await withWatch(async ({ server, clock, told, retried }) => {
      server.put(`${MAPS}/b`, map("b"));
      await clock.settle();
      fail(server);
      await clock.pass(5_000);
      assertEquals(retried.at(-1), "busy");
      assertEquals(told, ["SYNC a", "ADDED b"]);
      assert(server.requests.at(-1)?.includes("resourceVersion=102"), server.requests.at(-1));
    });
  });
}

Deno.test("Resource.watch() keeps trying while the server is away, no faster than it should, and misses nothing", async () => {
  await withWatch(async ({ server, clock, told, retried }) => {
    server.intercept = () => Promise.reject(new Error("refused"));
    server.endWatches(new Error("broken"));
    await clock.pass(60_000);
    assert(retried.length > 10 && retried.length < 40, `${retried.length} attempts in a minute`);
    server.intercept = () => undefined;
    await clock.pass(5_000);
    server.put(`${MAPS}/b`, map("b"));
    await clock.settle();
    assertEquals(told, ["SYNC a", "ADDED b"]);
  });
});

Deno.test("Resource.watch() gives a watch up that says nothing for longer than the server lets one live", async () => {
  await withWatch(async ({ server, clock, retried }) => {
    await clock.pass(314_000);
    assertEquals(retried, []);
    await clock.pass(3_000);
    assertEquals([retried, server.watches], [[`the watch of ${MAPS} stalled`], 1]);
  });
});

Deno.test("Resource.watch() throws what the first list throws", async () => {
  const server = new ObjectServer();
  server.intercept = () => status(403, "you may not");
  const events = maps(server).watch({ signal: new AbortController().signal });
  await assertRejects(() => events.next(), ApiError, "you may not");
});
