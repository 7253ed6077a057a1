import { assert, assertEquals, assertMatch } from "@std/assert";
import { type HostPod, type HostServer, serveHost } from "../../lib/server/mod.ts";
import { until } from "../support/until.ts";

const SLEEP = { name: "main", command: ["sleep", "600"] };

const PODS: readonly HostPod[] = [
  { name: "web", labels: { app: "web" }, containers: [SLEEP] },
  { name: "db", labels: { app: "db" }, containers: [SLEEP] },
  // Ends when its input does, so that a test decides.
  { name: "job", labels: { app: "job" }, containers: [{ name: "main", command: ["cat"], stdin: true }] },
];

const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

function urlOf(host: HostServer, path: string): string {
  return `${host.url.href.replace(/\/$/, "")}${path}`;
}

// deno-lint-ignore no-explicit-any -- JSON, looked into by the tests
async function getJson(host: HostServer, path: string, init: RequestInit = {}): Promise<any> {
  return await (await fetch(urlOf(host, path), init)).json();
}

/** The events of a watch, read one by one. */
class Watcher implements AsyncDisposable {
  readonly #lines: ReadableStreamDefaultReader<string>;
  #text = "";

  private constructor(body: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.#lines = body.pipeThrough(new TextDecoderStream()).getReader();
  }

  static async open(host: HostServer, query: string, accept = "application/json"): Promise<Watcher> {
    const response = await fetch(urlOf(host, `/api/v1/namespaces/default/pods?watch=true&${query}`), {
      headers: { accept },
    });
    assertEquals([response.status, response.headers.get("content-type")], [200, "application/json"]);
    return new Watcher(response.body!);
  }

  /** The next event; `undefined` at the end of the watch. */
  // deno-lint-ignore no-explicit-any -- JSON, looked into by the tests
  async next(): Promise<any> {
    while (!this.#text.includes("\n")) {
      const { value, done } = await this.#lines.read();
      if (done) return undefined;
      this.#text += value;
    }
    const end = this.#text.indexOf("\n");
    const event = JSON.parse(this.#text.slice(0, end));
    this.#text = this.#text.slice(end + 1);
    return event;
  }

  /** The next events in short. */
  async read(count: number): Promise<string[]> {
    const events: string[] = [];
    while (events.length < count) {
      const { type, object } = await this.next();
      events.push(`${type} ${object.metadata.name}`);
    }
    return events;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lines.cancel();
  }
}

function remove(host: HostServer, name: string, init: RequestInit = {}): Promise<Response> {
  return fetch(urlOf(host, `/api/v1/namespaces/default/pods/${name}`), { method: "DELETE", ...init });
}

Deno.test("a watch begins with what is there, and goes on with what becomes of it", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  await using watcher = await Watcher.open(host, "");
  assertEquals(await watcher.read(3), ["ADDED web", "ADDED db", "ADDED job"]);
  const deleted = await (await remove(host, "db")).json();
  assertEquals([deleted.kind, deleted.metadata.deletionGracePeriodSeconds], ["Pod", 30]);
  const marked = await watcher.next();
  assertEquals([marked.type, marked.object.metadata.deletionTimestamp], [
    "MODIFIED",
    deleted.metadata.deletionTimestamp,
  ]);
  const ended = await watcher.next();
  const [{ state, ready }] = ended.object.status.containerStatuses;
  assertEquals([ended.type, state.terminated.exitCode, ready], ["MODIFIED", 143, false]);
  const gone = await watcher.next();
  assertEquals([gone.type, gone.object.metadata.name], ["DELETED", "db"]);
  assert(Number(gone.object.metadata.resourceVersion) > Number(ended.object.metadata.resourceVersion));
  assertEquals((await getJson(host, "/api/v1/namespaces/default/pods/db")).code, 404);
});

Deno.test("a watch from a list's version leaves nothing out", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  const { metadata } = await getJson(host, "/api/v1/namespaces/default/pods");
  await (await remove(host, "web?gracePeriodSeconds=0")).body?.cancel();
  await using watcher = await Watcher.open(host, `resourceVersion=${metadata.resourceVersion}`);
  assertEquals(await watcher.read(1), ["DELETED web"]);
});

Deno.test("a watch tells of what comes into a selection and leaves it", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  await using running = await Watcher.open(host, "fieldSelector=metadata.name%3Djob,status.phase%3DRunning");
  await using succeeded = await Watcher.open(host, "fieldSelector=status.phase%3DFailed&labelSelector=app%3Djob");
  assertEquals(await running.read(1), ["ADDED job"]);
  const exec = await getJson(host, "/api/v1/namespaces/default/pods/job");
  assertEquals(exec.status.phase, "Running");
  // SIGTERM ends it, and with it its phase.
  await (await remove(host, "job")).body?.cancel();
  assertEquals(await running.read(2), ["MODIFIED job", "DELETED job"]);
  assertEquals(await succeeded.read(2), ["ADDED job", "DELETED job"]);
});

Deno.test("a watch can be a list, as informers want it", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS.slice(0, 1) });
  await using watcher = await Watcher.open(
    host,
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=1",
  );
  assertEquals(await watcher.read(1), ["ADDED web"]);
  const { type, object } = await watcher.next();
  assertEquals([type, object.kind, object.metadata], [
    "BOOKMARK",
    "Pod",
    { resourceVersion: "1", annotations: { "k8s.io/initial-events-end": "true" } },
  ]);
});

Deno.test("a watch prints tables, and ends in time", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS.slice(0, 1) });
  await using watcher = await Watcher.open(host, "timeoutSeconds=1", TABLE);
  const { type, object } = await watcher.next();
  assertEquals([type, object.kind, object.rows[0].cells.slice(0, 4)], ["ADDED", "Table", [
    "web",
    "1/1",
    "Running",
    "0",
  ]]);
  assertEquals(await watcher.next(), undefined);
});

/** Ends on SIGKILL only, and says when it is so far. */
const STUBBORN = { name: "main", command: ["sh", "-c", "trap : TERM; echo ready; while :; do sleep 0.05; done"] };

/** A host whose one pod, `web`, is stubborn. */
async function serveStubborn(): Promise<HostServer> {
  const host = await serveHost({ listen: { port: 0 }, pods: [{ name: "web", containers: [STUBBORN] }] });
  const log = await fetch(urlOf(host, "/api/v1/namespaces/default/pods/web/log?follow=true"));
  const reader = log.body!.getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value), "ready\n");
  await reader.cancel();
  return host;
}

Deno.test("a watch from a version that is forgotten says so", async () => {
  await using host = await serveStubborn();
  for (let grace = 2000; grace > 990; grace--) { // Less and less patience: each is a change.
    await (await remove(host, `web?gracePeriodSeconds=${grace}`)).body?.cancel();
  }
  await using watcher = await Watcher.open(host, "resourceVersion=1");
  const { type, object } = await watcher.next();
  assertEquals([type, object.code, object.reason], ["ERROR", 410, "Expired"]);
  assertMatch(object.message, /^too old resource version: 1 \(\d+\)$/);
  assertEquals(await watcher.next(), undefined);
  await (await remove(host, "web?gracePeriodSeconds=0")).body?.cancel();
});

Deno.test("delete keeps to its options", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  const uid = (await getJson(host, "/api/v1/namespaces/default/pods/web")).metadata.uid;
  const ask = async (options: unknown, type = "application/json") => {
    const headers = { "content-type": type };
    const response = await remove(host, "web", { body: JSON.stringify(options), headers });
    const { message, metadata } = await response.json();
    return [response.status, message ?? metadata.name];
  };
  assertEquals(await ask({ preconditions: { uid: "other" } }), [
    409,
    `Operation cannot be fulfilled on pods "web": Precondition failed: uid in precondition: other, uid in object meta: ${uid}`,
  ]);
  assertEquals(await ask({ dryRun: ["All"], gracePeriodSeconds: 0 }), [200, "web"]);
  assertEquals(await ask({}, "application/vnd.kubernetes.protobuf"), [
    415,
    "the body of the request was in an unknown format: application/vnd.kubernetes.protobuf",
  ]);
  assertMatch(
    String(
      (await remove(host, "web", { body: "{", headers: { "content-type": "application/json" } }).then((response) =>
        response.json()
      )).message,
    ),
    /json parse error/,
  );
  assertEquals(await ask({ gracePeriodSeconds: 0, preconditions: { uid } }), [200, "web"]);
  assertEquals((await remove(host, "web")).status, 404);
});

Deno.test("the processes of a deleted pod get the time that they have", async () => {
  await using host = await serveStubborn();
  await using watcher = await Watcher.open(host, "");
  await watcher.read(1);
  await (await remove(host, "web")).body?.cancel();
  await watcher.read(1);
  // Who has no patience shortens it.
  const { metadata } = await (await remove(host, "web?gracePeriodSeconds=1")).json();
  assertEquals(metadata.deletionGracePeriodSeconds, 1);
  await watcher.read(1);
  const ended = await watcher.next();
  assertEquals(ended.object.status.containerStatuses[0].state.terminated.exitCode, 137);
  assertEquals(await watcher.read(1), ["DELETED web"]);
});

Deno.test("delete refuses options of wrong types, and does nothing", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  const rows: ReadonlyArray<readonly [unknown, string]> = [
    [{ gracePeriodSeconds: "x" }, "string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"],
    [{ gracePeriodSeconds: 1.5 }, "number 1.5 into Go struct field DeleteOptions.gracePeriodSeconds of type int64"],
    [{ gracePeriodSeconds: [1] }, "array into Go struct field DeleteOptions.gracePeriodSeconds of type int64"],
    [{ dryRun: "All" }, "string into Go struct field DeleteOptions.dryRun of type []string"],
    [{ dryRun: [true] }, "bool into Go struct field DeleteOptions.dryRun of type string"],
    [{ preconditions: "x" }, "string into Go struct field DeleteOptions.preconditions of type v1.Preconditions"],
    [{ preconditions: { uid: 1 } }, "number into Go struct field DeleteOptions.preconditions.uid of type types.UID"],
    [[1], "array into Go value of type v1.DeleteOptions"],
    ["x", "string into Go value of type v1.DeleteOptions"],
  ];
  const headers = { "content-type": "application/json" };
  for (const [options, text] of rows) {
    const response = await remove(host, "web", { body: JSON.stringify(options), headers });
    const { code, reason, message } = await response.json();
    assertEquals([response.status, code, reason, message], [
      400,
      400,
      "BadRequest",
      `DeleteOptions in version "v1" cannot be handled as a DeleteOptions: json: cannot unmarshal ${text}`,
    ]);
  }
  assertEquals((await getJson(host, "/api/v1/namespaces/default/pods/web")).metadata.deletionTimestamp, undefined);
  const nothing = { gracePeriodSeconds: null, dryRun: ["All"], preconditions: null };
  const { metadata } = await (await remove(host, "web", { body: JSON.stringify(nothing), headers })).json();
  assertEquals(metadata.name, "web");
});

Deno.test("a pod is deleted with a grace period that no date can hold", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  await using watcher = await Watcher.open(host, "fieldSelector=metadata.name%3Dweb");
  await watcher.read(1);
  const { metadata } = await (await remove(host, "web?gracePeriodSeconds=9000000000000")).json();
  assertEquals(metadata.deletionTimestamp, "9999-12-31T23:59:59Z");
  assertEquals(metadata.deletionGracePeriodSeconds, 9_000_000_000_000);
  assertEquals(await watcher.read(3), ["MODIFIED web", "MODIFIED web", "DELETED web"]);
  assertEquals((await getJson(host, "/version")).major, "1");
});

Deno.test("a grace period that is longer than a timer can wait lets processes end by themselves", async () => {
  const days = 30 * 24 * 3600;
  const script = "trap 'sleep 0.2; exit 7' TERM; echo up; while :; do sleep 0.05; done";
  const containers = [{ name: "main", command: ["sh", "-c", script] }];
  await using host = await serveHost({
    listen: { port: 0 },
    pods: [{ name: "asked", containers }, { name: "own", containers, terminationGracePeriodSeconds: days }],
  });
  for (const [name, query] of [["asked", `?gracePeriodSeconds=${days}`], ["own", ""]] as const) {
    await until("it listens", async () => {
      const log = await fetch(urlOf(host, `/api/v1/namespaces/default/pods/${name}/log`));
      return (await log.text()) === "up\n";
    });
    await using watcher = await Watcher.open(host, `fieldSelector=metadata.name%3D${name}`);
    await watcher.read(1);
    await (await remove(host, `${name}${query}`)).body?.cancel();
    await watcher.read(1);
    const { object } = await watcher.next();
    assertEquals(object.status.containerStatuses[0].state.terminated.exitCode, 7);
  }
});
