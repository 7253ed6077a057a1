import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { type HostPod, type HostServer, serveHost } from "../../lib/server/mod.ts";
import { humanDuration, wantsTable } from "../../lib/server/table.ts";
import { connect } from "./raw_client.ts";

const PODS: readonly HostPod[] = [
  {
    name: "web",
    labels: { app: "web", tier: "front" },
    containers: [
      { name: "main", command: ["sleep", "600"], tty: true, stdin: true },
      { name: "side", command: ["sleep", "600"], cwd: "/" },
    ],
  },
  { name: "db", namespace: "data", labels: { app: "db" }, containers: [{ name: "main", command: ["sleep", "600"] }] },
  { name: "bad", namespace: "data", containers: [{ name: "main", command: ["no-such-command"] }] },
];

const TABLE =
  "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

// deno-lint-ignore no-explicit-any -- JSON, looked into by the tests
async function getJson(host: HostServer, path: string, accept = "application/json"): Promise<any> {
  const response = await fetch(`${host.url.href.replace(/\/$/, "")}${path}`, { headers: { accept } });
  return await response.json();
}

Deno.test("serveHost() answers what kubectl discovers", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  assertMatch((await getJson(host, "/version")).gitVersion, /^v1\.36\.\d+\+podwire$/);
  assertEquals((await getJson(host, "/api")).versions, ["v1"]);
  assertEquals((await getJson(host, "/apis")).groups, []);
  const { resources } = await getJson(host, "/api/v1");
  assertEquals(resources.map((resource: { name: string }) => resource.name), [
    "namespaces",
    "pods",
    "pods/attach",
    "pods/exec",
    "pods/log",
    "pods/portforward",
  ]);
  for (const path of ["/healthz", "/livez", "/readyz"]) {
    assertEquals(await (await fetch(host.url.href + path)).text(), "ok");
  }
});

Deno.test("serveHost() lists and gets pods and namespaces", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  const web = await getJson(host, "/api/v1/namespaces/default/pods/web");
  assertEquals([web.kind, web.metadata.name, web.metadata.namespace, web.status.phase], [
    "Pod",
    "web",
    "default",
    "Running",
  ]);
  assertEquals(web.metadata.labels, { app: "web", tier: "front" });
  assertMatch(web.metadata.annotations["podwire.dev/host"], /processes of the local user/);
  assertMatch(web.metadata.creationTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  assertEquals(web.spec.nodeName, "podwire-host");
  assertEquals(web.spec.containers, [
    { name: "main", image: "local-process", command: ["sleep", "600"], stdin: true, tty: true },
    { name: "side", image: "local-process", command: ["sleep", "600"], workingDir: "/" },
  ]);
  const bad = await getJson(host, "/api/v1/namespaces/data/pods/bad");
  assertEquals(bad.status.phase, "Failed");
  const { terminated } = bad.status.containerStatuses[0].state;
  assertEquals([terminated.exitCode, terminated.reason], [128, "StartError"]);
  assertMatch(terminated.message, /exec: "no-such-command": executable file not found in \$PATH$/);
  assertEquals(
    (await getJson(host, "/api/v1/namespaces")).items.map((item: HostPod & { metadata: HostPod }) =>
      item.metadata.name
    ),
    ["data", "default"],
  );
  assertEquals((await getJson(host, "/api/v1/namespaces/data")).kind, "Namespace");
});

Deno.test("serveHost() selects by label and field", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  const cases: Array<[string, string[]]> = [
    ["", ["web", "db", "bad"]],
    ["labelSelector=app%3Dweb", ["web"]],
    ["labelSelector=app%3D%3Dweb%2Ctier%3Dfront", ["web"]],
    ["labelSelector=app!%3Dweb", ["db", "bad"]],
    ["labelSelector=app+in+(web,db)%2Ctier", ["web"]],
    ["labelSelector=app+notin+(web)", ["db", "bad"]],
    ["labelSelector=!app", ["bad"]],
    ["fieldSelector=metadata.name%3Ddb", ["db"]],
    ["fieldSelector=status.phase!%3DRunning", ["bad"]],
    ["fieldSelector=metadata.namespace%3Ddata,status.phase%3DRunning&limit=500", ["db"]],
  ];
  for (const [query, names] of cases) {
    const { items } = await getJson(host, `/api/v1/pods?${query}`);
    assertEquals(items.map((item: { metadata: HostPod }) => item.metadata.name), names, query);
  }
  assertEquals((await getJson(host, "/api/v1/namespaces/data/pods")).items.length, 2);
  assertEquals((await getJson(host, "/api/v1/namespaces/none/pods")).items, []);
  assertEquals((await getJson(host, "/api/v1/pods?labelSelector=a%20b")).message, 'unable to parse requirement: "a b"');
  assertEquals(
    (await getJson(host, "/api/v1/pods?fieldSelector=spec.x%3D1")).message,
    "field label not supported: spec.x",
  );
});

Deno.test("serveHost() prints tables where they are asked for", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  const table = await getJson(host, "/api/v1/pods", TABLE);
  assertEquals([table.kind, table.apiVersion], ["Table", "meta.k8s.io/v1"]);
  const shown = table.columnDefinitions.filter((column: { priority: number }) => column.priority === 0);
  assertEquals(shown.map((column: { name: string }) => column.name), ["Name", "Ready", "Status", "Restarts", "Age"]);
  assertEquals(table.rows.map((row: { cells: string[] }) => row.cells.slice(0, 4)), [
    ["web", "2/2", "Running", "0"],
    ["db", "1/1", "Running", "0"],
    ["bad", "0/1", "StartError", "0"],
  ]);
  assertEquals(table.rows[0].object.kind, "PartialObjectMetadata");
  assertEquals((await getJson(host, "/api/v1/namespaces", TABLE)).rows[0].cells[0], "data");
  assertEquals((await getJson(host, "/api/v1/namespaces/default/pods/web", TABLE)).rows.length, 1);
});

Deno.test("wantsTable() takes the first form that the host has", () => {
  assert(wantsTable(TABLE));
  assert(!wantsTable("application/json"));
  assert(!wantsTable(undefined));
  assert(!wantsTable("application/json, application/json;as=Table;v=v1;g=meta.k8s.io"));
  assert(wantsTable("application/vnd.kubernetes.protobuf, application/json;as=Table;v=v1;g=meta.k8s.io"));
});

Deno.test("humanDuration() writes ages as kubectl does", () => {
  const cases: Array<[number, string]> = [
    [0, "0s"],
    [119, "119s"],
    [120, "2m"],
    [135, "2m15s"],
    [600, "10m"],
    [179 * 60, "179m"],
    [3 * 3600 + 60, "3h1m"],
    [9 * 3600, "9h"],
    [50 * 3600, "2d2h"],
    [9 * 86400, "9d"],
    [800 * 86400, "2y70d"],
  ];
  for (const [seconds, text] of cases) assertEquals(humanDuration(seconds * 1000), text);
});

Deno.test("serveHost() refuses with the API server's words", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  const cases: Array<[string, string, number, string, string]> = [
    ["GET", "/nothing", 404, "NotFound", "the server could not find the requested resource"],
    ["GET", "/openapi/v3", 404, "NotFound", "the server could not find the requested resource"],
    ["GET", "/api/v1/nodes", 404, "NotFound", "the server could not find the requested resource"],
    [
      "GET",
      "/api/v1/namespaces/default/pods/web/log",
      400,
      "BadRequest",
      "a container name must be specified for pod web, choose one of: [main side]",
    ],
    [
      "GET",
      "/api/v1/namespaces/data/pods/db/log?previous=true",
      400,
      "BadRequest",
      'previous terminated container "main" in pod "db" not found',
    ],
    [
      "GET",
      "/api/v1/namespaces/data/pods/db/log?tailLines=-1",
      422,
      "Invalid",
      'PodLogOptions "db" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
    ],
    [
      "GET",
      "/api/v1/namespaces/data/pods/db/log?limitBytes=x",
      400,
      "BadRequest",
      'strconv.ParseInt: parsing "x": invalid syntax',
    ],
    [
      "GET",
      "/api/v1/namespaces/data/pods/db/status",
      404,
      "NotFound",
      "the server could not find the requested resource",
    ],
    ["GET", "/api/v1/namespaces/default/pods/db", 404, "NotFound", 'pods "db" not found'],
    ["GET", "/api/v1/namespaces/none", 404, "NotFound", 'namespaces "none" not found'],
    [
      "DELETE",
      "/api/v1/namespaces/default/pods",
      405,
      "MethodNotAllowed",
      "the server does not allow this method on the requested resource",
    ],
    ["POST", "/version", 405, "MethodNotAllowed", "the server does not allow this method on the requested resource"],
    [
      "GET",
      "/api/v1/namespaces?watch=true",
      405,
      "MethodNotAllowed",
      "the server does not allow this method on the requested resource",
    ],
    [
      "GET",
      "/api/v1/namespaces/default/pods/web/exec",
      400,
      "BadRequest",
      "a container name must be specified for pod web, choose one of: [main side]",
    ],
    [
      "POST",
      "/api/v1/namespaces/default/pods/web/exec?container=x",
      400,
      "BadRequest",
      "container x is not valid for pod web",
    ],
    ["GET", "/api/v1/namespaces/default/pods/web/attach?container=side", 400, "BadRequest", "Upgrade request required"],
  ];
  for (const [method, path, code, reason, message] of cases) {
    const response = await fetch(host.url.href + path, { method });
    const status = await response.json();
    assertEquals(response.status, code, path);
    assertEquals([status.kind, status.status, status.code, status.reason, status.message], [
      "Status",
      "Failure",
      code,
      reason,
      message,
    ]);
  }
});

async function statusLine(host: HostServer, request: string): Promise<string> {
  const connection = await connect(host);
  await connection.write(new TextEncoder().encode(`${request}Connection: close\r\n\r\n`));
  const text = await new Response(connection.readable).text();
  return text.split("\r\n")[0]!;
}

Deno.test("serveHost() lets nobody in over TCP without the token", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  const { token } = host;
  assert(token !== undefined && token.length >= 32);
  const at = `http://127.0.0.1:${host.url.port}`;
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(at + path, { headers });
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await get("/version"), 401);
  assertEquals(await get("/healthz"), 401);
  assertEquals(await get(`/${token}x/version`), 401);
  assertEquals(await get(`/${token.slice(1)}/version`), 401);
  assertEquals(await get("/version", { authorization: `Bearer ${token}x` }), 401);
  assertEquals(await get("/version", { authorization: `Basic ${token}` }), 401);
  assertEquals(await get(`/${token}/version`), 200);
  assertEquals(await get(`/version`, { authorization: `Bearer ${token}` }), 200);
  const { token: other } = await (async () => {
    await using second = await serveHost({ listen: { port: 0 }, pods: [] });
    return { token: second.token };
  })();
  assertNotEquals(other, token);
});

Deno.test("serveHost() refuses other names of the machine and pages of other origins", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: [], allowOrigins: ["https://page.example"] });
  const get = (lines: string, method = "GET") =>
    statusLine(host, `${method} ${host.url.pathname}/version HTTP/1.1\r\n${lines}`);
  for (const name of ["localhost", "127.0.0.1:1234", "[::1]:80", "127.1.2.3"]) {
    assertEquals(await get(`Host: ${name}\r\n`), "HTTP/1.1 200 OK");
  }
  for (const name of ["evil.example", "127.0.0.1.evil.example", "192.168.1.1:80", "localhost.evil.example"]) {
    assertEquals(await get(`Host: ${name}\r\n`), "HTTP/1.1 403 Forbidden");
  }
  assertEquals(await get("Host: localhost\r\nOrigin: https://page.example\r\n"), "HTTP/1.1 200 OK");
  assertEquals(await get("Host: localhost\r\nOrigin: https://other.example\r\n"), "HTTP/1.1 403 Forbidden");
  assertEquals(await get("Host: localhost\r\nOrigin: null\r\n"), "HTTP/1.1 403 Forbidden");
});

Deno.test("serveHost() answers a browser's questions", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: [], allowOrigins: ["https://page.example"] });
  const ask = (origin: string) =>
    fetch(`http://127.0.0.1:${host.url.port}/version`, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "GET", "access-control-request-headers": "authorization" },
    });
  const allowed = await ask("https://page.example");
  assertEquals(allowed.status, 204);
  assertEquals(allowed.headers.get("access-control-allow-origin"), "https://page.example");
  assertEquals(allowed.headers.get("access-control-allow-headers"), "authorization");
  assertEquals(allowed.headers.get("vary"), "Origin");
  const refused = await ask("https://other.example");
  await refused.body?.cancel();
  assertEquals(refused.status, 403);
  assertEquals(refused.headers.get("access-control-allow-origin"), null);
  // A page may read why it was refused.
  const unauthorized = await fetch(`http://127.0.0.1:${host.url.port}/version`, {
    headers: { origin: "https://page.example" },
  });
  await unauthorized.body?.cancel();
  assertEquals([unauthorized.status, unauthorized.headers.get("access-control-allow-origin")], [
    401,
    "https://page.example",
  ]);
  // Who has not said the token keeps no connection.
  assertEquals(
    [allowed, refused, unauthorized].map(({ headers }) => headers.get("connection")),
    Array(3).fill("close"),
  );
});

Deno.test("the kubeconfig leads to the host", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
  const config = JSON.parse(host.kubeconfig);
  assertEquals(config["current-context"], config.contexts[0].name);
  const { server } = config.clusters[0].cluster;
  assertEquals(server, `http://127.0.0.1:${host.url.port}/${host.token}`);
  const response = await fetch(`${server}/api/v1/namespaces/default/pods/web`);
  assertEquals((await response.json()).metadata.name, "web");
});
