// What a container that lies can do to this machine: nothing outside of the destination, no devices, no links that lead out.
// CVE-2018-1002100, CVE-2019-1002101, CVE-2019-11246, CVE-2019-11249, CVE-2019-11251.
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { fromText, type TreeEntry, type TreeSource } from "../../lib/client/mod.ts";
import { SegmentDigest } from "../../lib/client/copy_check.ts";
import { loadDigests } from "../../lib/client/copy_digest.ts";
import { PodwireError } from "../../lib/bytes/mod.ts";
import { LocalSink, type LocalSinkOptions } from "../../lib/cli/cp_local_sink.ts";

/** A place with a destination `out` in it, and what must stay as it is beside that. */
async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-cp-" });
  try {
    await Deno.mkdir(`${folder}/beside`);
    await Deno.writeTextFile(`${folder}/beside/secret`, "secret");
    await work(folder);
    assertEquals(await Deno.readTextFile(`${folder}/beside/secret`), "secret");
    assertEquals(await namesIn(`${folder}/beside`), ["secret"]);
    assertEquals((await namesIn(folder)).filter((name) => name !== "beside" && name !== "out"), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(folder), ({ name }) => name)).sort();
}

function entry(type: TreeEntry["type"], path: string, more: Partial<TreeEntry> | string = ""): TreeEntry {
  const bytes = new TextEncoder().encode(typeof more === "string" ? more : "");
  return {
    type,
    path: fromText(path),
    mode: type === "directory" ? 0o755 : 0o644,
    mtime: 1_000_000_000,
    uid: Deno.uid() ?? 0,
    gid: Deno.gid() ?? 0,
    size: bytes.length,
    ...(type === "file" &&
      { content: { size: bytes.length, open: (at) => ReadableStream.from([bytes.subarray(at)]) } }),
    ...(typeof more === "object" && more),
  };
}

async function write(
  root: string,
  entries: readonly TreeEntry[] | TreeSource,
  changed: readonly string[] = [],
  options: Partial<LocalSinkOptions> = {},
): Promise<{ warnings: string[]; problems: string[] }> {
  const warnings: string[] = [];
  const { sha256sum } = await loadDigests();
  const source: TreeSource = "changed" in entries
    ? entries
    : { name: "source", entries: () => ReadableStream.from(entries), changed: () => Promise.resolve(changed) };
  const sink = new LocalSink(root, source, {
    preserve: true,
    digest: () => new SegmentDigest(sha256sum!, Infinity),
    onWarning: (text) => warnings.push(text.replaceAll(root, "OUT")),
    linkWarning: (link, target) => `link ${link} -> ${target}`,
    ...options,
  });
  return { problems: await sink.run(), warnings };
}

Deno.test("LocalSink refuses names that lead out", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const names = ["../beside/secret", "a/../../beside/secret", "/etc/podwire-evil", "..", "a/..", "a//b", "./c"];
    const { warnings } = await write(out, [
      entry("directory", ""),
      ...names.map((name) => entry("file", name, "evil")),
      ...names.map((name) => entry("directory", name)),
      entry("file", "good", "good"),
    ]);
    assertEquals(warnings.length, names.length * 2);
    assertEquals(await namesIn(out), ["good"]);
  });
});

Deno.test("LocalSink makes no link that leads out, and keeps those that stay", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const rows: Array<[path: string, target: string, kept: boolean]> = [
      ["absolute", "/etc/passwd", false],
      ["up", "../beside", false],
      ["d/up", "../../beside", false],
      ["deep", "d/../../beside", false],
      ["empty", "", false],
      ["through", "d/sibling/..", false],
      ["d", "..", false], // A folder by now.
      ["d/sibling", "../file", true],
      ["plain", "file", true],
      ["dangling", "d/nothing", true],
    ];
    const links = rows.map(([path, target]) => entry("symlink", path, { target }));
    const { warnings } = await write(out, [entry("directory", ""), entry("directory", "d"), ...links]);
    assertEquals(warnings.length, rows.filter(([, , kept]) => !kept).length);
    for (const [path, target, kept] of rows) {
      assertEquals(await Deno.readLink(`${out}/${path}`).catch(() => undefined), kept ? target : undefined, path);
    }
  });
});

Deno.test("LocalSink writes through no link: not one of the archive, not one that is there", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    await Deno.mkdir(out);
    await Deno.symlink("../beside", `${out}/there`);
    await Deno.symlink("../beside/secret", `${out}/leaf`);
    const { warnings } = await write(out, [
      entry("directory", ""),
      // CVE-2019-11251: two links, each of which seems to stay.
      entry("directory", "a"),
      entry("symlink", "a/b", { target: ".." }),
      entry("symlink", "c", { target: "a/b/.." }),
      entry("symlink", "own", { target: "." }),
      entry("file", "c/evil", "evil"),
      entry("file", "own/evil", "evil"),
      entry("file", "there/evil", "evil"),
      entry("file", "there/secret", "evil"),
      entry("file", "leaf", "file"),
    ]);
    assertEquals(warnings.length, 4, warnings.join());
    for (const name of ["c", "own"]) assertEquals((await Deno.lstat(`${out}/${name}`)).isDirectory, true);
    assertEquals((await Deno.lstat(`${out}/leaf`)).isSymlink, false, "the link is replaced");
  });
});

Deno.test("LocalSink makes hard links only to what it has written itself", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    await Deno.mkdir(out);
    await Deno.writeTextFile(`${out}/mine`, "mine");
    const { warnings } = await write(out, [
      entry("directory", ""),
      entry("file", "a", "a"),
      entry("link", "b", { target: "a" }),
      entry("link", "passwd", { target: "/etc/passwd" }),
      entry("link", "secret", { target: "../beside/secret" }),
      entry("link", "other", { target: "mine" }),
    ]);
    assertEquals(warnings.length, 3);
    assertEquals(await namesIn(out), ["a", "b", "mine"]);
    assertEquals((await Deno.stat(`${out}/a`)).ino, (await Deno.stat(`${out}/b`)).ino);
  });
});

Deno.test("LocalSink makes no hard link to a link that has taken a file's place", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const odd = { path: "a/b/odd\xff", target: "../../x" };
    const { warnings } = await write(out, [
      entry("directory", ""),
      entry("directory", "a"),
      entry("directory", "a/b"),
      entry("file", "a/b/f", "f"),
      entry("symlink", "a/b/f", { target: "../../x" }), // Stays, from there.
      entry("link", "g", { target: "a/b/f" }), // Would not, from here.
      entry("symlink", "", odd),
      entry("link", "h", { target: odd.path }),
    ]);
    assertEquals(warnings, ["link OUT/g -> a/b/f", "link OUT/h -> a/b/odd\\xff"]);
    assertEquals(await namesIn(out), ["a"]);
  });
});

Deno.test("LocalSink makes no devices, and nothing that runs as its owner", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const { warnings } = await write(out, [
      entry("directory", ""),
      entry("other", "device"),
      entry("file", "setuid", { mode: 0o6755, ...content("x") }),
    ]);
    assertEquals(warnings, ['warning: skipping "OUT/device": not a file, a folder or a link']);
    assertEquals((await Deno.stat(`${out}/setuid`)).mode! & 0o7777, 0o755);
  });
});

function content(text: string): Pick<TreeEntry, "size" | "content"> {
  const bytes = new TextEncoder().encode(text);
  return { size: bytes.length, content: { open: () => ReadableStream.from([bytes]) } };
}

Deno.test("LocalSink writes nothing that the source does not stand for", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    await Deno.mkdir(out);
    await Deno.writeTextFile(`${out}/a`, "old");
    const { problems } = await write(out, [entry("file", "a", "new"), entry("file", "b", "new")], ["a", "b"]);
    assertEquals(problems.length, 2);
    assertEquals(await Deno.readTextFile(`${out}/a`), "old");
    assertEquals(await namesIn(out), ["a"]);
    // A large file goes another way.
    const large = new Uint8Array(5 << 20);
    const { problems: more } = await write(out, [
      entry("file", "a", { size: large.length, content: { open: () => ReadableStream.from([large]) } }),
    ], ["a"]);
    assertEquals(more.length, 1);
    assertEquals(await Deno.readTextFile(`${out}/a`), "old");
    assertEquals(await namesIn(out), ["a"]);
  });
});

Deno.test("LocalSink leaves nothing half when a stream breaks", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    await Deno.writeTextFile(out, "old");
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new Uint8Array(3 << 20));
        controller.error(new Error("it broke"));
      },
    }, { highWaterMark: 0 });
    await assertRejects(
      () => write(out, [entry("file", "", { size: 6 << 20, content: { open: () => broken } })]),
      Error,
      "it broke",
    );
    assertEquals(await Deno.readTextFile(out), "old");
  });
});

/** A file that is written by itself, whose bytes come while `look` looks on. */
function large(path: string, mode: number, look: () => void = () => {}): TreeEntry {
  const size = 5 << 20;
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      look();
      controller.enqueue(new Uint8Array(size).fill(1));
      controller.close();
    },
  }, { highWaterMark: 0 });
  return entry("file", "", { path, mode, size, content: { size, open: () => stream } });
}

function modeOf(path: string): number {
  return Deno.lstatSync(path).mode! & 0o777;
}

Deno.test("LocalSink lets nobody else read a file while it comes", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const modes: number[] = [];
    const look = () => {
      for (const { name } of Deno.readDirSync(out)) {
        if (name.startsWith(".podwire-")) modes.push(modeOf(`${out}/${name}`));
      }
    };
    await write(out, [entry("directory", ""), large("private", 0o600, look), large("public", 0o666, look)]);
    assertEquals(modes, [0o600, 0o600]);
    assertEquals([modeOf(`${out}/private`), modeOf(`${out}/public`)], [0o600, 0o666]);
  });
});

Deno.test("LocalSink gives a large file the mode of a small one without preserve, and keeps no owner", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const small = (path: string, mode: number) => entry("file", "", { path, mode, ...content("x") });
    const odd = entry("file", "", { path: "odd\xff", uid: 12345, gid: 12345, ...content("x") });
    const entries = [small("f", 0o600), small("run", 0o711), large("F", 0o600), large("RUN", 0o711), odd];
    await write(out, [entry("directory", ""), ...entries], [], { preserve: false });
    assertEquals(modeOf(`${out}/F`), modeOf(`${out}/f`));
    assertEquals(modeOf(`${out}/RUN`), modeOf(`${out}/run`));
    assertEquals(modeOf(`${out}/run`) & 0o111, 0o111 & ~Deno.umask());
    assertEquals(await sh(`stat -c %u "$0"/odd*`, out), `${Deno.uid()}\n`);
  });
});

async function sh(script: string, argument: string): Promise<string> {
  const { code, stdout } = await new Deno.Command("sh", { args: ["-c", script, argument] }).output();
  assertEquals(code, 0, script);
  return new TextDecoder().decode(stdout);
}

Deno.test("LocalSink writes a large file into a folder whose name is no UTF-8", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const directory = entry("directory", "", { path: "odd\xff" });
    for (const mode of [0o600, 0o640]) {
      await write(out, [entry("directory", ""), directory, large("odd\xff/large", mode)]);
      assertEquals(
        await sh(`stat -c '%s %a' "$0"/odd*/*; ls -A "$0" | wc -l`, out),
        `${5 << 20} ${mode.toString(8)}\n1\n`,
      );
    }
  });
});

/** Replaces a method as long as it is used. */
function replaced<K extends string, T extends Record<K, unknown>>(object: T, name: K, method: T[K]): Disposable {
  const before = object[name];
  object[name] = method;
  return { [Symbol.dispose]: () => void (object[name] = before) };
}

Deno.test("LocalSink keeps what came if it can neither be written into the file that is there nor put in its stead", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    await Deno.writeTextFile(out, "old");
    let mode = 0;
    // A disk that gets full, and a file that is a mount point.
    using _sync = replaced(Deno.FsFile.prototype, "sync", () => {
      mode = modeOf(out);
      return Promise.reject(new Error("no space left on device"));
    });
    using _rename = replaced(Deno, "rename", () => Promise.reject(new Error("device or resource busy")));
    const error = await assertRejects(
      () => write(out, [entry("file", "", { mode: 0o600, ...content("new") })]),
      PodwireError,
      `${out}: no space left on device, and cannot be replaced: device or resource busy\nWhat is to be there lies in `,
    );
    const [staged = ""] = /[^ ]+$/.exec(error.message) ?? [];
    assertMatch(staged, /\/\.podwire-[0-9a-f]{8}$/);
    assertEquals(await Deno.readTextFile(staged), "new");
    assertEquals(mode, 0o600, "who may not read the new bytes could while they came");
    await Deno.remove(staged);
  });
});

Deno.test("LocalSink ends when nothing is written any more", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const ended = new AbortController();
    const steps: string[] = [];
    const source: TreeSource = {
      name: "source",
      async *entries() {
        yield entry("directory", "");
        for (const name of ["a", "b", "c"]) {
          const bytes = new Uint8Array(3 << 20);
          yield entry("file", name, { size: bytes.length, content: { open: () => ReadableStream.from([bytes]) } });
        }
        ended.abort(new Error("it was ended"));
        steps.push("aborted");
        ended.signal.throwIfAborted();
      },
      async changed() {
        await new Promise((resolve) => ended.signal.addEventListener("abort", resolve));
        await new Promise((resolve) => setTimeout(resolve)); // Later than whatever the abort ends.
        steps.push("compared");
        return [];
      },
    };
    await assertRejects(() => write(out, source, [], { signal: ended.signal }), Error, "it was ended");
    assertEquals(steps, ["aborted", "compared"]);
    assertEquals(await namesIn(out), []);
  });
});

Deno.test("LocalSink keeps the holes of a sparse file", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const bytes = new Uint8Array(16 << 20);
    bytes[5] = 1;
    await write(out, [
      entry("file", "", { size: bytes.length, content: { open: () => ReadableStream.from([bytes]) } }),
    ]);
    const { size, blocks } = await Deno.stat(out);
    assertEquals(size, bytes.length);
    assertEquals((blocks ?? 0) * 512 < 4 << 20, true, `${blocks} blocks`);
  });
});
