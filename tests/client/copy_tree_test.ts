// Trees into containers: what a source must not do, what a break must not do, and what is left when something goes wrong.
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { ContainerFiles, contentOf, CopyError, type FileSum, type TreeEntry } from "../../lib/client/mod.ts";
import { readArchive } from "../../lib/client/copy_archive.ts";
import { readPrinted } from "../../lib/client/printed.ts";
import { within } from "../support/until.ts";
import { CopyGround, noise, type Program, TOOLS } from "./copy_ground.ts";

const LARGE = 5 << 20;
const without = (...names: string[]): Program[] => TOOLS.filter((name) => !names.includes(name));

/** Copies entries to a path of the ground's container. */
async function write(
  ground: CopyGround,
  entries: readonly TreeEntry[],
  path: string,
  { preserve = true, changed = () => {} }: { preserve?: boolean; changed?: (files: readonly FileSum[]) => void } = {},
): Promise<void> {
  using files = await ContainerFiles.open({ pod: ground.pod, retries: 3 });
  const source = {
    name: "source",
    entries: () => ReadableStream.from(entries),
    changed: (files: readonly FileSum[]) => (changed(files), Promise.resolve([])),
  };
  await files.write(source, path, { preserve, jobs: 1 });
}

const COMMON = { mode: 0o755, mtime: 1e9, uid: Deno.uid() ?? 0, gid: Deno.gid() ?? 0, size: 0 };

function folder(path: string): TreeEntry {
  return { ...COMMON, path, type: "directory" };
}

function file(path: string, data: Uint8Array | string): TreeEntry {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return { ...COMMON, path, type: "file", mode: 0o644, size: bytes.length, content: contentOf(bytes) };
}

function symlink(path: string, target: string): TreeEntry {
  return { ...COMMON, path, type: "symlink", target };
}

/** A program that fails if it gets certain arguments, else is this machine's own. */
function failing(name: string, pattern: string, otherwise = "exit 1"): Program {
  return { name, script: `case "$*" in ${pattern}) ${otherwise};; esac\nexec /bin/${name} "$@"` };
}

/** Waits until there is a file. */
async function appears(path: string): Promise<void> {
  while (!await Deno.stat(path).then(() => true, () => false)) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

for (const [what, size] of [["small", 10], ["large", LARGE]] as const) {
  Deno.test(`a tree's ${what} file cannot leave its destination`, async () => {
    await using ground = await CopyGround.start();
    const outside = ground.path("outside");
    await Deno.mkdir(outside);
    const data = noise(size);
    const hostile: TreeEntry[][] = [
      [folder(""), file("../../escaped", data)],
      [folder(""), file("a/../../../escaped", data)],
      [folder(""), file("/escaped", data)],
      [folder(""), symlink("d", outside), file("d/escaped", data)],
      [folder(""), file("d/escaped", data), symlink("d", outside)],
      [folder(""), symlink("d", outside), symlink("d/escaped", "x")],
      [folder(""), symlink("d", outside), { ...folder("d"), mode: 0o700 }],
      [symlink("", outside), file("escaped", data)],
      [folder(""), file("f", data), { ...COMMON, path: "h", type: "link", target: "../../bin/tar" }],
    ];
    for (const entries of hostile) {
      const error = await assertRejects(() => write(ground, entries, ground.path("tree")), CopyError);
      assertMatch(error.message, /tar contents corrupted: ".*" leads out of what is copied/);
      assertEquals(await ground.names(), ["outside"]);
      assertEquals(await Array.fromAsync(Deno.readDir(outside)), []);
      assertEquals(((await Deno.stat(outside)).mode ?? 0) & 0o777, 0o777 & ~Deno.umask());
    }
  });
}

for (const [what, size] of [["small", 10], ["large", LARGE]] as const) {
  Deno.test(`a copy of a ${what} file fails if what was staged is gone`, async () => {
    await using ground = await CopyGround.start();
    await Deno.writeTextFile(ground.path("file"), "old");
    const loseStage = () => {
      const { name } = Deno.readDirSync(ground.path("")).find(({ name }) => name.startsWith(".podwire-"))!;
      Deno.removeSync(ground.path(name), { recursive: true });
    };
    await assertRejects(
      () => write(ground, [file("", noise(size))], ground.path("file"), { changed: loseStage }),
      CopyError,
    );
    assertEquals(await Deno.readTextFile(ground.path("file")), "old");
    assertEquals(await ground.names(), ["file"]);
  });
}

Deno.test("new content is kept, and named, where a file can be neither rewritten nor replaced", async () => {
  const torn = failing("cp", "*", 'for last; do :; done; : >"$last"; exit 1');
  const stuck = failing("mv", "*/tree/f*");
  await using ground = await CopyGround.start([...without("cp", "mv"), torn, stuck]);
  await Deno.mkdir(ground.path("to"));
  await Deno.writeTextFile(ground.path("to/f"), "old");
  const error = await assertRejects(
    () => write(ground, [folder(""), file("f", "new")], ground.path("to")),
    CopyError,
    "It may be damaged",
  );
  assertStringIncludes(error.message, error.staged!);
  assertEquals(await Deno.readTextFile(`${error.staged}/tree/f`), "new");
});

Deno.test("links below a destination are replaced, and nothing is written where they lead", async () => {
  await using ground = await CopyGround.start();
  for (const name of ["to", "elsewhere"]) await Deno.mkdir(ground.path(name));
  await Deno.symlink("to", ground.path("link"));
  for (const name of ["folder", "file"]) await Deno.symlink("../elsewhere", ground.path(`to/${name}`));
  await write(ground, [folder(""), folder("folder"), file("folder/a", "a"), file("file", "b")], ground.path("link"));
  assertEquals(await Array.fromAsync(Deno.readDir(ground.path("elsewhere"))), []);
  assertEquals(await Deno.readTextFile(ground.path("to/folder/a")), "a");
  assertEquals(await Deno.readTextFile(ground.path("to/file")), "b");
  assertEquals((await Deno.lstat(ground.path("to/file"))).isSymlink, false);
  assertEquals((await Deno.lstat(ground.path("link"))).isSymlink, true, "the destination itself is followed");
});

Deno.test("a link that is made twice, as its answer was lost, is made in its own place", async () => {
  const ln = {
    name: "ln",
    script:
      `/bin/ln "$@"; c=$?; cd "\${0%/bin/ln}"; echo "$@" >>made; while [ ! -e go ]; do /bin/sleep 0.01; done; exit $c`,
  };
  await using ground = await CopyGround.start([...without("tar", "ln"), ln]);
  await Deno.mkdir(ground.path("live"));
  const copied = write(ground, [folder(""), symlink("link", ground.path("live"))], ground.path("to"));
  copied.catch(() => {}); // It is awaited below.
  await appears(`${ground.folder}/made`);
  ground.link.cutAll();
  await Deno.writeTextFile(`${ground.folder}/go`, "");
  await copied;
  assertEquals((await Deno.readTextFile(`${ground.folder}/made`)).trim().split("\n").length, 2);
  assertEquals(await Array.fromAsync(Deno.readDir(ground.path("live"))), []);
  assertEquals(await Deno.readLink(ground.path("to/link")), ground.path("live"));
});

Deno.test("a copy that is aborted says why, and leaves nothing in the container", async () => {
  await using ground = await CopyGround.start();
  const controller = new AbortController();
  const endless = new ReadableStream<Uint8Array>({ pull: (c) => c.enqueue(noise(65536)) }, { highWaterMark: 0 });
  const reason = new Error("enough");
  const copied = ground.pod.upload(endless, ground.path("file"), {
    signal: controller.signal,
    onProgress: (bytes) => bytes > LARGE && controller.abort(reason),
  });
  assertEquals(await assertRejects(() => copied), reason);
  assertEquals(await ground.names(), []);
});

Deno.test("names that checksum programs write otherwise are copied too", async () => {
  await using ground = await CopyGround.start();
  const names = ["Icon\r", "line\nbreak", "back\\slash", " blank ", "-dash"];
  await write(ground, [folder(""), ...names.map((name) => file(name, name))], ground.path("to"));
  for (const name of names) assertEquals(await Deno.readTextFile(ground.path(`to/${name}`)), name);
});

Deno.test("an owner whose number does not fit into a header is set by chown where tar is not GNU's", async () => {
  const tar = { name: "tar", script: 'case "$1" in --version) exit 1;; esac\nexec /bin/tar "$@"' };
  const chown = { name: "chown", script: 'echo "$1 ${2##*/}" >>"${0%/bin/chown}/chowned"' };
  await using ground = await CopyGround.start([...without("tar", "chown"), tar, chown]);
  const owner = { uid: 1_000_650_000, gid: 2_097_152 };
  const entries = [{ ...folder(""), ...owner }, { ...file("f", "f"), ...owner, mode: 0o640 }, file("g", "g")];
  await write(ground, entries, ground.path("to"));
  const chowned = (await Deno.readTextFile(`${ground.folder}/chowned`)).trim().split("\n").sort();
  assertEquals(chowned, ["1000650000:2097152 f", "1000650000:2097152 tree"]);
  const { mode, mtime } = await Deno.stat(ground.path("to/f"));
  assertEquals([(mode ?? 0) & 0o777, mtime], [0o640, new Date(1e12)]);
  assertEquals((await Deno.stat(ground.path("to"))).mtime, new Date(1e12));
});

/** How many entries a stream of the tree, or of its archive, brings. */
async function count(ground: CopyGround, way: "tar" | "files"): Promise<number> {
  if (way === "tar") {
    return (await Array.fromAsync(readArchive(await ground.pod.tar(ground.path("tree"))))).length;
  }
  using files = await ContainerFiles.open({ pod: ground.pod, retries: 3 });
  return (await Array.fromAsync(files.read(ground.path("tree")).entries())).length;
}

Deno.test("an archive goes on after a break if it is the same again, and not if something has gone or grown", async () => {
  // The second `tar` finds what `change` has made of the tree.
  const script = `cd "\${0%/bin/tar}"
if [ "$1" = cf ] && [ -e begun ] && [ -e change ]; then . ./change; fi
[ "$1" = cf ] && : >begun
exec /bin/tar "$@"`;
  await using ground = await CopyGround.start([...without("tar"), { name: "tar", script }]);
  await Deno.mkdir(ground.path("tree"));
  for (let i = 0; i < 3000; i++) await Deno.symlink(`to-${i}`, ground.path(`tree/link-${i}`));
  for (let i = 0; i < 500; i++) await Deno.writeTextFile(ground.path(`tree/file-${i}`), `${i}`);
  for (
    const [kind, change, same] of [["link", ":", true], ["link", "rm", false], ["file", "echo more >>", false]] as const
  ) {
    for (const way of ["tar", "files"] as const) {
      // In the order of `tar`: what is in front has arrived when the link is cut.
      await Deno.writeTextFile(
        `${ground.folder}/change`,
        `${change} pod/"$(/bin/tar cf - -C pod tree | /bin/tar tf - | /bin/grep -m 1 ${kind})"`,
      );
      [ground.link.cuts, ground.link.after] = [1, 1.5 * 1024 * 1024];
      if (same) assertEquals(await count(ground, way), 3501, way);
      else await assertRejects(() => count(ground, way), CopyError, "cannot go on where the connection broke");
      assertEquals(ground.link.cuts, 0);
      await Deno.remove(`${ground.folder}/begun`);
    }
  }
});

Deno.test("what tar cannot read is told, however much it says of files that have changed", async () => {
  const script = `case "$*" in cf*) echo 'tar: secret: Cannot open: Permission denied' >&2
i=0; while [ $i -lt 3000 ]; do echo "tar: file-$i: file changed as we read it" >&2; i=$((i + 1)); done
/bin/tar "$@"; exit 2;; esac
exec /bin/tar "$@"`;
  await using ground = await CopyGround.start([...without("tar"), { name: "tar", script }]);
  await Deno.mkdir(ground.path("tree"));
  await assertRejects(() => count(ground, "tar"), CopyError, "…\n");
});

Deno.test("of what a container's program prints no more is kept than the end", async () => {
  const line = new TextEncoder().encode("all the same\n");
  const text = await readPrinted(
    ReadableStream.from([...Array(50_000).fill(line), new TextEncoder().encode("the end\n")]),
  );
  assertMatch(text, /^…\n[^…]{65536}$/);
  assertMatch(text, /\nthe end\n$/);
});

Deno.test("upload() leaves a file that is there its owner and mode, unless it is told another mode", async () => {
  await using ground = await CopyGround.start();
  const path = ground.path("file");
  for (const size of [10, LARGE]) {
    await Deno.writeTextFile(path, "old");
    await Deno.chmod(path, 0o600);
    const root = Deno.uid() === 0;
    if (root) await Deno.chown(path, 999, 998);
    const mtime = new Date("2001-02-03T04:05:06Z");
    for (const [options, mode] of [[{}, 0o600], [{ mode: 0o640 }, 0o640], [{ mtime }, 0o640]] as const) {
      await ground.pod.upload(new Blob([noise(size)]), path, options);
      const info = await Deno.stat(path);
      assertEquals([(info.mode ?? 0) & 0o777, info.size], [mode, size]);
      if (root) assertEquals([info.uid, info.gid], [999, 998]);
      if ("mtime" in options) assertEquals(info.mtime, mtime);
    }
    await Deno.remove(path);
  }
  await ground.pod.upload(new Blob(["new"]), path);
  assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o644);
});

Deno.test("a copy that is aborted while it rewrites a file rewrites all of it", async () => {
  const cp = {
    name: "cp",
    script: 'for last; do :; done; : >"$last"; cd "${0%/bin/cp}"; : >begun\n' +
      'while [ ! -e go ]; do /bin/sleep 0.01; done; exec /bin/cp "$@"',
  };
  await using ground = await CopyGround.start([...without("cp"), cp]);
  await Deno.writeTextFile(ground.path("file"), "old");
  const controller = new AbortController();
  const copied = ground.pod.upload(new Blob(["new"]), ground.path("file"), { signal: controller.signal });
  await appears(`${ground.folder}/begun`);
  controller.abort(new Error("enough"));
  await Deno.writeTextFile(`${ground.folder}/go`, "");
  await copied;
  assertEquals(await Deno.readTextFile(ground.path("file")), "new");
  assertEquals(await ground.names(), ["file"]);
});

Deno.test("a copy that breaks for good while it rewrites a file keeps the new content, and names it", async () => {
  const cp = { name: "cp", script: 'for last; do :; done; : >"$last"; : >"${0%/bin/cp}/begun"; exec /bin/sleep 1000' };
  await using ground = await CopyGround.start([...without("cp"), cp]);
  await Deno.writeTextFile(ground.path("file"), "old");
  const copied = ground.pod.upload(new Blob(["new"]), ground.path("file"), { retries: 0 });
  copied.catch(() => {}); // It is awaited below.
  await appears(`${ground.folder}/begun`);
  ground.link.cutAll();
  const { staged } = await assertRejects(() => copied, CopyError, "What had arrived lies in");
  assertEquals(await Deno.readTextFile(`${staged}/tree`), "new");
});

Deno.test({
  name: "a shell that has the number of the one before it does not wait for itself",
  ignore: Deno.build.os !== "linux" || Deno.uid() !== 0,
  async fn() {
    // As in a container that was started anew.
    const sh = { name: "sh", script: 'exec /usr/bin/unshare --pid --fork --kill-child /bin/sh "$@"' };
    await using ground = await CopyGround.start([...without("sh"), sh]);
    using files = await ContainerFiles.open({ pod: ground.pod, retries: 3 });
    ground.link.cutAll();
    assertEquals(await within("an answer", files.isFolder(ground.path("")), 20_000), true);
  },
});
