/** A tree of this machine that changes while it is copied. */
import { assertEquals, assertRejects } from "@std/assert";
import { LocalSource } from "../../lib/cli/cp_local_source.ts";
import { ContainerFiles, CopyError, type TreeSource } from "../../lib/client/mod.ts";
import { CopyGround } from "../client/copy_ground.ts";

/** Copies a tree with the files `kept`, a hard link to it, and `odd`, to which `change` happens once it was read. */
async function copyWhile(change: (path: string) => Promise<void>): Promise<void> {
  await using ground = await CopyGround.start();
  const folder = ground.path("tree");
  await Deno.mkdir(folder);
  for (const name of ["a", "kept", "odd"]) await Deno.writeTextFile(`${folder}/${name}`, name);
  await Deno.link(`${folder}/kept`, `${folder}/link`);
  const local = new LocalSource(folder);
  const source: TreeSource = {
    async *entries() {
      for await (const entry of local.entries()) {
        yield entry;
        if (entry.path === "odd") await change(`${folder}/odd`);
      }
    },
    changed: (files) => local.changed(files),
  };
  using files = await ContainerFiles.open({ pod: ground.pod, retries: 0 });
  await assertRejects(
    () => files.write(source, ground.path("copy"), { preserve: true, jobs: 4 }),
    CopyError,
    "odd changed while it was copied: not copied",
  );
  const there = Array.from(Deno.readDirSync(ground.path("copy")), ({ name }) => name);
  assertEquals(there.sort(), ["a", "kept", "link"]);
}

Deno.test("LocalSource tells of a file that is written to while it is copied", async () => {
  await copyWhile((path) => Deno.writeTextFile(path, "something else"));
});

Deno.test("LocalSource tells of a file that is removed while it is copied", async () => {
  await copyWhile((path) => Deno.remove(path));
});
