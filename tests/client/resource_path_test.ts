/** Names that would lead a request elsewhere: refused in kubectl's words, and nothing is sent. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { groupPath, namespacePath, objectPath, pathSegment, TargetError } from "../../lib/client/mod.ts";
import { podPath } from "../../lib/client/resource_path.ts";
import { ObjectServer } from "./object_server.ts";

Deno.test("pathSegment() encodes what is a name", () => {
  for (const name of ["web-0", "...", ".a", "system:node", "a b", "ü?#"]) {
    assertEquals(decodeURIComponent(pathSegment(name)), name);
  }
  assertEquals(pathSegment("a b?#"), "a%20b%3F%23");
});

/** What kubectl 1.36 says. */
const REFUSED: ReadonlyArray<readonly [name: string, text: string]> = [
  ["", "resource name may not be empty"],
  [".", `invalid resource name ".": [may not be '.']`],
  ["..", `invalid resource name "..": [may not be '..']`],
  ["a%b", `invalid resource name "a%b": [may not contain '%']`],
  ["%2e%2e", `invalid resource name "%2e%2e": [may not contain '%']`],
  ["../../x", `invalid resource name "../../x": [may not contain '/']`],
  ["a%b/c", `invalid resource name "a%b/c": [may not contain '/' may not contain '%']`],
];

Deno.test("pathSegment() refuses in kubectl's words what is none", () => {
  for (const [name, text] of REFUSED) {
    assertEquals(assertThrows(() => pathSegment(name), TargetError).message, text);
  }
});

Deno.test("paths refuse each of their parts", () => {
  const id = { group: "apps", version: "v1", plural: "deployments", namespace: "shop" };
  assertEquals(objectPath(id, "web"), "/apis/apps/v1/namespaces/shop/deployments/web");
  assertEquals(podPath("shop", "web"), "/api/v1/namespaces/shop/pods/web");
  assertEquals(namespacePath("shop"), "/api/v1/namespaces/shop");
  const problem = "[may not be '..']";
  assertThrows(() => objectPath(id, ".."), TargetError, `invalid resource name "..": ${problem}`);
  assertThrows(() => objectPath({ ...id, namespace: ".." }, "x"), TargetError, `invalid namespace "..": ${problem}`);
  assertThrows(() => objectPath({ ...id, namespace: "" }, "x"), TargetError, "namespace may not be empty");
  assertThrows(() => objectPath({ ...id, plural: ".." }, "x"), TargetError, `invalid resource "..": ${problem}`);
  assertThrows(() => groupPath("..", "v1"), TargetError, `invalid API group "..": ${problem}`);
  assertThrows(() => groupPath("", ".."), TargetError, `invalid API version "..": ${problem}`);
  assertThrows(() => namespacePath(".."), TargetError, `invalid namespace "..": ${problem}`);
  assertThrows(() => podPath("..", "web"), TargetError, `invalid namespace "..": ${problem}`);
});

Deno.test("nothing is sent for a name that no object can have, by whatever method", async () => {
  const server = new ObjectServer();
  const cluster = server.cluster();
  const maps = cluster.resource({ version: "v1", plural: "configmaps", namespace: "shop" });
  for (const [name, text] of REFUSED) {
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name } };
    await assertRejects(() => maps.get(name), TargetError, text);
    await assertRejects(() => maps.update(object), TargetError, text);
    await assertRejects(() => maps.patch(name, {}), TargetError, text);
    await assertRejects(() => maps.apply(object, { fieldManager: "f" }), TargetError, text);
    await assertRejects(() => maps.delete(name), TargetError, text);
    assertThrows(() => cluster.pod(name), TargetError, text);
    const namespaced = text.replace("resource name", "namespace");
    assertThrows(() => cluster.pod("web", { namespace: name }), TargetError, namespaced);
    assertThrows(() => cluster.resource({ version: "v1", plural: "pods", namespace: name }), TargetError, namespaced);
    await assertRejects(() => cluster.resolvePod("web", { namespace: name }), TargetError, namespaced);
    if (name.includes("/")) continue; // To a target that is a type's and a name's.
    await assertRejects(() => cluster.resolvePod(name), TargetError, text);
    await assertRejects(() => cluster.portForward(name), TargetError, text);
    if (name !== "") await assertRejects(() => cluster.resolvePod(`deploy/${name}`), TargetError, text);
  }
  const wrong = { subresource: "../status" };
  await assertRejects(() => maps.patch("a", {}, wrong), TargetError, 'invalid subresource "../status"');
  assertEquals(server.requests, []);
});

Deno.test("a port-forward goes nowhere for a pod that a server calls what no pod can be called", async () => {
  const server = new ObjectServer();
  const pod = { metadata: { name: "..", namespace: "shop" }, status: { phase: "Running" } };
  await assertRejects(() => server.cluster().portForward("deploy/web", { pod }), TargetError, "may not be '..'");
  assertEquals(server.requests, []);
});
