// What `podwire relay crd` prints for a namespace.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { loadAll } from "js-yaml";
import { PODWIRE } from "./harness.ts";

async function crd(...args: string[]): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), { args: [...PODWIRE, "relay", "crd", ...args] });
  const { stdout } = await child.output();
  return new TextDecoder().decode(stdout);
}

function namespaces(manifest: string): string[] {
  const objects: Array<{ kind: string; metadata: { name: string } }> = [];
  loadAll(manifest, (object) => void objects.push(object as typeof objects[number]));
  return objects.filter(({ kind }) => kind === "Namespace").map(({ metadata }) => metadata.name);
}

Deno.test("podwire relay crd leaves a namespace that is not its own as it is, and says what it needs", async () => {
  const [own, theirs] = await Promise.all([crd(), crd("-n", "shop")]);
  assertEquals([namespaces(own), namespaces(theirs)], [["podwire-relay"], []]);
  assertEquals(own[0], "a", "no comment");
  assertStringIncludes(theirs, "#   kubectl label namespace shop pod-security.kubernetes.io/enforce=privileged\n");
});
