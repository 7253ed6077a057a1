import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { authorize, type RequestAttributes, requestAttributes } from "../../lib/server/authorization.ts";
import { StatusError } from "../../lib/server/status_error.ts";

/** An attribute's value as upstream's tests write it. */
type Row = [
  method: string,
  url: string,
  verb: string,
  group: string,
  namespace: string,
  resource: string,
  sub: string,
  name: string,
];

function attributesOf(method: string, url: string): RequestAttributes {
  const [path = "", query = ""] = url.split("?", 2);
  return requestAttributes(method, path, query);
}

Deno.test("requestAttributes() reads resource requests as the API server does", () => {
  // From apiserver pkg/endpoints/request/requestinfo_test.go: TestGetAPIRequestInfo, and the paths of streams.
  const rows: Row[] = [
    ["GET", "/api/v1/namespaces", "list", "", "", "namespaces", "", ""],
    ["GET", "/api/v1/namespaces/other", "get", "", "other", "namespaces", "", "other"],
    ["GET", "/api/v1/namespaces/other/pods", "list", "", "other", "pods", "", ""],
    ["GET", "/api/v1/namespaces/other/pods/foo", "get", "", "other", "pods", "", "foo"],
    ["HEAD", "/api/v1/namespaces/other/pods/foo", "get", "", "other", "pods", "", "foo"],
    ["GET", "/api/v1/pods", "list", "", "", "pods", "", ""],
    ["HEAD", "/api/v1/pods", "list", "", "", "pods", "", ""],
    ["GET", "/api/v1/proxy/namespaces/other/pods/foo", "proxy", "", "other", "pods", "", "foo"],
    [
      "GET",
      "/api/v1/proxy/namespaces/other/pods/foo/subpath/not/a/subresource",
      "proxy",
      "",
      "other",
      "pods",
      "",
      "foo",
    ],
    ["GET", "/api/v1/watch/pods", "watch", "", "", "pods", "", ""],
    ["GET", "/api/v1/pods?watch=true", "watch", "", "", "pods", "", ""],
    ["GET", "/api/v1/pods?watch=false", "list", "", "", "pods", "", ""],
    ["GET", "/api/v1/pods?watch=", "watch", "", "", "pods", "", ""],
    ["GET", "/api/v1/pods?watch=0&watch=1", "list", "", "", "pods", "", ""],
    ["GET", "/api/v1/watch/namespaces/other/pods", "watch", "", "other", "pods", "", ""],
    ["GET", "/api/v1/namespaces/other/pods?watch=1", "watch", "", "other", "pods", "", ""],
    ["GET", "/api/v1/namespaces/other/pods/foo/status", "get", "", "other", "pods", "status", "foo"],
    ["GET", "/api/v1/namespaces/other/pods/foo/proxy/subpath", "get", "", "other", "pods", "proxy", "foo"],
    [
      "GET",
      "/api/v1/namespaces/other/services/http:foo:80/proxy/",
      "get",
      "",
      "other",
      "services",
      "proxy",
      "http:foo:80",
    ],
    ["PUT", "/api/v1/namespaces/other/finalize", "update", "", "other", "namespaces", "finalize", "other"],
    ["PUT", "/api/v1/namespaces/other/status", "update", "", "other", "namespaces", "status", "other"],
    ["PATCH", "/api/v1/namespaces/other/pods/foo", "patch", "", "other", "pods", "", "foo"],
    ["DELETE", "/api/v1/namespaces/other/pods/foo", "delete", "", "other", "pods", "", "foo"],
    ["POST", "/api/v1/namespaces/other/pods", "create", "", "other", "pods", "", ""],
    ["DELETE", "/api/v1/nodes", "deletecollection", "", "", "nodes", "", ""],
    ["DELETE", "/api/v1/namespaces/other/pods", "deletecollection", "", "other", "pods", "", ""],
    ["POST", "/apis/extensions/v1/namespaces/other/pods", "create", "extensions", "other", "pods", "", ""],
    ["GET", "/apis/apps/v1/deployments", "list", "apps", "", "deployments", "", ""],
    ["GET", "/apis/apps/v1/namespaces/a/deployments/b/scale", "get", "apps", "a", "deployments", "scale", "b"],
    ["GET", "/api/v1/namespaces/a/pods/b/exec?command=ls", "get", "", "a", "pods", "exec", "b"],
    ["POST", "/api/v1/namespaces/a/pods/b/portforward", "create", "", "a", "pods", "portforward", "b"],
    ["GET", "/api/v1/namespaces/a/pods/b?watch=true", "get", "", "a", "pods", "", "b"],
    // TestSelectorParsing.
    ["GET", "/api/v1/nodes?watch=true&fieldSelector=metadata.name%3Dnode-1", "watch", "", "", "nodes", "", "node-1"],
    ["GET", "/api/v1/nodes?fieldSelector=metadata.name==node-1,spec.x=y", "list", "", "", "nodes", "", "node-1"],
    ["GET", "/api/v1/nodes?fieldSelector=metadata.name!%3Dnode-1", "list", "", "", "nodes", "", ""],
    ["GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dfoo/", "list", "", "", "nodes", "", ""],
    ["GET", "/api/v1/nodes?fieldSelector=metadata.name%3D..", "list", "", "", "nodes", "", ""],
    ["GET", "/api/v1/nodes?fieldSelector=metadata.name%3Da%5C,b", "list", "", "", "nodes", "", ""],
    // Encoded where it need not be, it is the same to a server.
    ["GET", "/api/v1/%6eamespaces/a/p%6Fds/b/ex%65c", "get", "", "a", "pods", "exec", "b"],
    [
      "GET",
      "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
      "get",
      "rbac.authorization.k8s.io",
      "",
      "clusterroles",
      "",
      "system:node",
    ],
    ["OPTIONS", "/api/v1/pods", "", "", "", "pods", "", ""],
  ];
  for (const [method, url, verb, group, namespace, resource, sub, name] of rows) {
    const attributes = attributesOf(method, url);
    assertEquals(
      [
        attributes.isResourceRequest,
        attributes.verb,
        attributes.apiGroup,
        attributes.namespace,
        attributes.resource,
        attributes.subresource,
        attributes.name,
      ],
      [true, verb, group, namespace, resource, sub, name],
      url,
    );
  }
});

Deno.test("requestAttributes() reads other requests by method and path", () => {
  const rows: Array<[method: string, url: string, verb: string, path: string]> = [
    ["GET", "/", "get", "/"],
    ["GET", "/api", "get", "/api"],
    ["GET", "/api/v1", "get", "/api/v1"],
    ["GET", "/api/v1/", "get", "/api/v1/"],
    ["GET", "/apis/apps/v1", "get", "/apis/apps/v1"],
    ["POST", "/version/", "post", "/version/"],
    ["HEAD", "/healthz/etcd", "head", "/healthz/etcd"],
    ["GET", "/openapi/v2?timeout=32s", "get", "/openapi/v2"],
    ["GET", "/API/v1/pods", "get", "/API/v1/pods"],
  ];
  for (const [method, url, verb, path] of rows) {
    const attributes = attributesOf(method, url);
    assertEquals([attributes.isResourceRequest, attributes.verb, attributes.path], [false, verb, path], url);
  }
});

Deno.test("requestAttributes() refuses what others could read in another way", () => {
  const paths = [
    "",
    "api/v1",
    "//",
    "//api/v1/pods",
    "/api//v1/pods",
    "/api/v1/namespaces//pods",
    "/api/v1/pods//",
    "/api/v1/pods/",
    "/api/v1/namespaces/a/pods/b/exec/",
    "/api/v1/namespaces/a/../b/pods",
    "/api/v1/./pods",
    "/api/v1/pods/..",
    "/..",
    "/api/v1/namespaces/a/%2e%2e/b/pods",
    "/api/v1/namespaces/a/%2E./b",
    "/api/v1/%2e/pods",
    "/api/v1/namespaces/a%2fb/pods",
    "/api/v1/namespaces/a%2Fpods",
    "/api/v1/namespaces/a%5cb",
    "/api/v1/namespaces/a\\..\\b",
    "/api/v1/pods%00",
    "/api/v1/pods\0",
    "/api/v1/pods%0a",
    "/api/v1/pods%7f",
    "/api/v1/%252e%252e/pods",
    "/api/v1/pods%",
    "/api/v1/pods%zz",
    "/api/v1/pods%ff",
    "/api/v1/pods#a",
    "/api/v1/pods a",
    "/api/v1/pöds",
    "/api/v1/proxy",
    "/api/v1/watch",
    "/api/v1/namespaces/a/services/b/proxy/../../secrets",
    "/api/v1/namespaces/a/services/b/proxy//c",
  ];
  for (const path of paths) {
    const error = assertThrows(() => requestAttributes("GET", path, ""), StatusError, undefined, JSON.stringify(path));
    assertEquals([error.code, error.reason], [400, "BadRequest"], JSON.stringify(path));
  }
});

Deno.test("requestAttributes() refuses a list's query that others could read in another way", () => {
  const name = "fieldSelector=metadata.name=web";
  const refused = [
    `fieldSelector=type!=%FF&${name}`,
    name + "&a".repeat(10_001),
    "watch=%FF",
    "watch=%",
    `a;b&${name}`,
    "fieldSelector=\u00e9",
  ];
  for (const query of refused) {
    const error = assertThrows(() => requestAttributes("GET", "/api/v1/namespaces/n/secrets", query), StatusError);
    assertEquals(error.response.status, 400, query.slice(0, 50));
  }
  const { verb, name: found } = requestAttributes(
    "GET",
    "/api/v1/namespaces/n/secrets",
    `${name}&labelSelector=a%3Db,c+d`,
  );
  assertEquals([verb, found], ["list", "web"]);
  assertEquals(requestAttributes("GET", "/api/v1/namespaces/n/pods/p/exec", "command=%FF&command=b").verb, "get");
});

Deno.test("authorize() asks for create too before a stream, however it is asked for", async () => {
  const ask = async (method: string, sub: string, allowed: readonly string[]) => {
    const asked: string[] = [];
    const attributes = requestAttributes(method, `/api/v1/namespaces/ns/pods/p/${sub}`, "");
    const decision = await authorize(
      ({ verb }) => {
        asked.push(verb);
        return allowed.includes(verb) ? { allowed: true } : { allowed: false, reason: "" };
      },
      attributes,
      AbortSignal.abort(),
    ).then(() => "yes", (error: StatusError) => error.message);
    return [asked.join(), decision];
  };
  const no = (verb: string, sub: string) =>
    `pods "p" is forbidden: the client cannot ${verb} resource "pods/${sub}" in API group "" in the namespace "ns"`;
  for (const sub of ["exec", "attach", "portforward"]) {
    assertEquals(await ask("GET", sub, ["get", "create"]), ["get,create", "yes"]);
    assertEquals(await ask("GET", sub, ["get"]), ["get,create", no("create", sub)]);
    assertEquals(await ask("GET", sub, ["create"]), ["get", no("get", sub)]);
    assertEquals(await ask("GET", sub, []), ["get", no("get", sub)]);
    assertEquals(await ask("POST", sub, ["create"]), ["create", "yes"]);
    assertEquals(await ask("POST", sub, ["get"]), ["create", no("create", sub)]);
    assertEquals(await ask("PUT", sub, ["update"]), ["update,create", no("create", sub)]);
  }
  assertEquals(await ask("GET", "log", ["get"]), ["get", "yes"]);
});

Deno.test("authorize() refuses in the API server's words", async () => {
  const rows: Array<[method: string, path: string, message: string, details: Record<string, string>]> = [
    [
      "GET",
      "/api/v1/namespaces/ns/pods/p/exec",
      'pods "p" is forbidden: User "u" cannot get resource "pods/exec" in API group "" in the namespace "ns": RBAC: none',
      { name: "p", kind: "pods" },
    ],
    [
      "GET",
      "/apis/apps/v1/deployments",
      'deployments.apps is forbidden: User "u" cannot list resource "deployments" in API group "apps" at the cluster scope: RBAC: none',
      { group: "apps", kind: "deployments" },
    ],
    ["GET", "/metrics", 'forbidden: User "u" cannot get path "/metrics": RBAC: none', {}],
  ];
  for (const [method, path, message, details] of rows) {
    const error = await assertRejects(
      () =>
        authorize(
          () => ({ allowed: false, reason: "RBAC: none", user: "u" }),
          requestAttributes(method, path, ""),
          AbortSignal.abort(),
        ),
      StatusError,
    );
    assertEquals([error.code, error.reason, error.message, error.details], [403, "Forbidden", message, details]);
  }
});
