import { assertEquals } from "@std/assert";
import { kindName, listOf, toJson, toName, withoutManagedFields } from "../../lib/cli/object_output.ts";

Deno.test("toJson() sorts keys, indents by four and escapes what Go's encoding/json escapes", () => {
  assertEquals(
    toJson({ kind: "Pod", apiVersion: "v1", spec: { b: [], a: [{ z: 1, y: "<&>\u2028" }] }, empty: {} }),
    `{
    "apiVersion": "v1",
    "empty": {},
    "kind": "Pod",
    "spec": {
        "a": [
            {
                "y": "\\u003c\\u0026\\u003e\\u2028",
                "z": 1
            }
        ],
        "b": []
    }
}
`,
  );
});

Deno.test("listOf() is the list that kubectl prints", () => {
  assertEquals(
    toJson(listOf([])),
    `{
    "apiVersion": "v1",
    "items": [],
    "kind": "List",
    "metadata": {
        "resourceVersion": ""
    }
}
`,
  );
});

Deno.test("toName() writes the kind with its group", () => {
  assertEquals(toName({ apiVersion: "v1", kind: "Pod", metadata: { name: "web-0" } }), "pod/web-0\n");
  assertEquals(
    toName({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "web" } }),
    "deployment.apps/web\n",
  );
  assertEquals(kindName("v1", "Pod"), "pod");
});

Deno.test("withoutManagedFields() leaves everything else as it is", () => {
  const object = { kind: "Pod", metadata: { name: "x", managedFields: [{}] }, spec: { managedFields: 1 } };
  assertEquals(withoutManagedFields(object), { kind: "Pod", metadata: { name: "x" }, spec: { managedFields: 1 } });
  assertEquals(withoutManagedFields({ kind: "Status" }), { kind: "Status" });
});
