/** A tree of this machine that changes while it is copied. */
import { assertEquals, assertRejects } from "@std/assert";
import { LocalSource } from "../../lib/cli/cp_local_source.ts";
import { ContainerFiles, CopyError, readAll, type TreeSource } from "../../lib/client/mod.ts";
import { CopyGround } from "../client/copy_ground.ts";

/** A folder in which `script` has run. */
async function inFolder(script: string, work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-cp-" });
  try {
    const { success } = await new Deno.Command("bash", { args: ["-c", script], cwd: folder }).output();
    assertEquals(success, true, script);
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Copies a tree with the files `kept`, a hard link to it, and `odd`, to which `change` happens once it was read. */
async function copyWhile(change: (path: string) => Promise<void>): Promise<void> {
  await using ground = await CopyGround.start();
  const folder = ground.path("tree");
  await Deno.mkdir(folder);
  for (const name of ["a", "kept", "odd"]) await Deno.writeTextFile(`${folder}/${name}`, name);
  await Deno.link(`${folder}/kept`, `${folder}/link`);
  const local = new LocalSource(folder);
  const source: TreeSource = {
    name: "source",
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
    "source/odd changed while it was copied: not copied",
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

Deno.test("LocalSource goes on where something has gone before its turn, and tells of it", async () => {
  await inFolder("echo 1 >a; echo 2 >b; echo 3 >c", async (folder) => {
    const source = new LocalSource(folder);
    const paths: string[] = [];
    for await (const { path } of source.entries()) {
      paths.push(path);
      if (path === "a") await Deno.remove(`${folder}/b`);
    }
    assertEquals(paths, ["", "a", "c"]);
    assertEquals(source.failure?.message, `${folder}/b: removed while its folder was copied`);
  });
});

Deno.test("LocalSource tells names that are no UTF-8 from those that they are shown as", async () => {
  const script = String.raw`
printf 1 >$'a\xff'; printf 2 >$'a\xfe'; printf 3 >$'a\xef\xbf\xbd'
ln -s x $'b\xff'; printf 4 >$'b\xef\xbf\xbd'
mkdir $'c\xff' $'c\xef\xbf\xbd'; printf 5 >$'c\xff/f'; printf 6 >$'c\xef\xbf\xbd/f'`;
  await inFolder(script, async (folder) => {
    const found: string[] = [];
    for await (const { path, content, target } of new LocalSource(folder).entries()) {
      const text = content ? new TextDecoder().decode(await readAll(content)) : target ?? "";
      if (text) found.push(`${path} ${text}`);
    }
    const shown = "\xef\xbf\xbd"; // U+FFFD as bytes.
    assertEquals(
      found.sort(),
      ["a\xfe 2", "a\xff 1", `a${shown} 3`, "b\xff x", `b${shown} 4`, "c\xff/f 5", `c${shown}/f 6`].sort(),
    );
  });
});

Deno.test("LocalSource holds no file in memory, whatever its name", async () => {
  await inFolder(String.raw`head -c 20M /dev/urandom >$'odd\xff'`, async (folder) => {
    let [size, longest] = [0, 0];
    for await (const { content } of new LocalSource(folder).entries()) {
      for await (const { length } of content?.open(0) ?? []) {
        [size, longest] = [size + length, Math.max(longest, length)];
      }
    }
    assertEquals(size, 20 << 20);
    assertEquals(longest <= 1 << 20, true, `${longest} bytes at once`);

    await using ground = await CopyGround.start();
    using files = await ContainerFiles.open({ pod: ground.pod, retries: 0 });
    await files.write(new LocalSource(folder), ground.path("copy"), { preserve: true, jobs: 4 });
    const compare = new Deno.Command("diff", { args: ["-r", folder, ground.path("copy")] });
    assertEquals((await compare.output()).success, true, "the copy differs");
  });
});
