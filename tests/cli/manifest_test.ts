import { assertEquals, assertRejects } from "@std/assert";
import { UsageError } from "../../lib/cli/flags.ts";
import { readManifest } from "../../lib/cli/manifest.ts";

async function read(text: string) {
  const path = await Deno.makeTempFile({ prefix: "podwire-cli-" });
  try {
    await Deno.writeTextFile(path, text);
    return await readManifest(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("readManifest() reads kind, name and namespace from YAML and JSON", async () => {
  assertEquals(await read("---\nkind: Pod\nmetadata:\n  name: web-0\n"), { target: "Pod/web-0" });
  assertEquals(await read('{"kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}'), {
    target: "Deployment/web",
    namespace: "shop",
  });
});

Deno.test("readManifest() refuses what is not one object", async () => {
  for (
    const [text, message] of [
      ["", "the file is empty, it describes no object"],
      ["---\n", "the file is empty, it describes no object"],
      ["kind: Pod\n---\nkind: Pod\n", "cannot exec into multiple objects at a time"],
      ["kind: Pod\n", "kind and metadata.name must be set"],
      ["- a\n", "kind and metadata.name must be set"],
      ["kind: [", "error parsing "],
    ] as const
  ) await assertRejects(() => read(text), UsageError, message);
  await assertRejects(() => readManifest("/no/such"), UsageError, 'the path "/no/such" does not exist');
  const folder = new URL(".", import.meta.url).pathname;
  await assertRejects(() => readManifest(folder), UsageError, `--filename ${folder} is a directory`);
});
