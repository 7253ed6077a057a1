// podwire cp as a user runs it, against the embedded host. Trees are compared by this machine's GNU tar.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { packArchive } from "../../lib/client/mod.ts";
import { type Program, TOOLS } from "../client/copy_ground.ts";
import { CpGround } from "./cp_ground.ts";

const without = (...names: string[]): Program[] => TOOLS.filter((name) => !names.includes(name));

/** Names of every sort, links, modes, times, empty and hidden things, something large and something with holes. */
const TREE = String.raw`
mkdir -p here/d/empty here/d/.hidden here/d/sub/$'\376dir' "here/d/  blanks  "
cd here/d
echo a >a; ln a hard; ln -s a link; ln -s nowhere dangling; ln -s ../a sub/up; ln -s $'t\377' odd-link
printf b >$'new\nline'; printf c >-dash; printf d >--; printf e >"quo'te\"s"; printf f >'back\slash'; printf g >$'bad\377name'
printf h >sub/$'\376dir'/in; printf i >'ümläut 日本'; printf j >'*'; printf k >'$(touch evil)'; printf '' >nothing; printf l >.hidden/.l
n=$(printf 'n%.0s' {1..200}); mkdir -p $n/$n; echo deep >$n/$n/$n
head -c 6000000 /dev/urandom >sub/large; truncate -s 20M holes; printf x | dd of=holes seek=9M bs=1 conv=notrunc 2>/dev/null
chmod 755 a; chmod 600 sub/large; chmod 4711 nothing; chmod 700 empty
find . -exec touch -h -d '2001-02-03 04:05:06' {} +
`;

Deno.test("podwire cp copies a tree both ways, with tar and without", async () => {
  await using ground = await CpGround.start({ one: TOOLS, bare: without("tar") });
  await ground.sh(TREE);
  for (const pod of ["one", "bare"]) {
    await ground.must(["@/here/d", `${pod}:@/there/${pod}`]);
    await ground.same("here/d", `there/${pod}`);
  }
  // The owner's bit comes back from no container; without tar neither names that are no UTF-8 nor hard links are known.
  await ground.sh("chmod 711 here/d/nothing; touch -d '2001-02-03 04:05:06' here/d/nothing; cp -a here/d here/back");
  await ground.must(["one:@/here/back", "@/more/one"]);
  await ground.same("here/d", "more/one");
  const odd = await ground.cp(["bare:@/here/back", "@/more/bare"]);
  assertEquals(odd.code, 1);
  assertStringIncludes(odd.stderr, "is no UTF-8: without tar in the container it cannot be copied");
  await ground.sh(
    String
      .raw`rm -r here/d/$'bad\377name' here/d/sub/$'\376dir' more/bare/sub/$'\376dir'; rm here/d/hard more/bare/hard; touch -d '2001-02-03 04:05:06' here/d here/d/sub more/bare more/bare/sub`,
  );
  await ground.same("here/d", "more/bare");
});

Deno.test("podwire cp copies from pod to pod", async () => {
  await using ground = await CpGround.start({ one: TOOLS, other: without("sha256sum"), bare: without("tar") });
  await ground.sh(TREE);
  for (const [from, to] of [["one", "other"], ["other", "one"], ["one", "bare"]]) {
    await ground.must([`${from}:@/here/d`, `${to}:@/there/${from}-${to}`]);
    await ground.same("here/d", `there/${from}-${to}`);
  }
});

Deno.test("podwire cp puts things where kubectl does", async () => {
  await using ground = await CpGround.start();
  await ground.sh("mkdir -p here/d/e there/d; echo x >here/f; echo y >here/d/g; echo z >here/d/e/h");
  const rows: Array<[args: string[], file: string]> = [
    [["@/here/f", "one:@/there/new"], "there/new"], // A name of its own.
    [["@/here/f", "one:@/there/d"], "there/d/f"], // Into a folder that is there.
    [["@/here/f", "one:@/there/d/"], "there/d/f"],
    [["@/here/d", "one:@/there/d"], "there/d/d/e/h"],
    [["@/here/d", "one:@/there/x"], "there/x/e/h"],
    [["@/here/d/.", "one:@/there/d"], "there/d/e/h"], // What is in it.
    [["one:@/here/f", "@/more/new"], "more/new"],
    [["one:@/here/f", "@/more/no/such/folder"], "more/no/such/folder"],
    [["one:@/here/d", "@/more/d"], "more/d/e/h"],
    [["one:@/here/d", "@/more/no"], "more/no/e/h"], // Into a folder that is there, without its own name.
    [["one:here/f", "@/more/relative"], "more/relative"],
    [["@/here/d", "one:-up"], "-up/e/h"], // No flag.
    [["one:-up", "@/more/up"], "more/up/e/h"],
    [["@/here/f", "one:-up/-f"], "-up/-f"],
    [["one:-up/-f", "one:-up/-g"], "-up/-g"],
    [["default/one:@/here/f", "@/more/namespace"], "more/namespace"],
    [["@/here/f", "@/here/d", "one:@/there"], "there/f"], // Several.
    [["one:@/here/f", "one:@/here/d", "@/more"], "more/d/g"],
    [["@/here/*", "one:@/there/x"], "there/x/d/e/h"], // Not expanded by a shell.
    [["--", "@/here/f", "one:@/there/dashes"], "there/dashes"],
  ];
  for (const [args, file] of rows) {
    await ground.must(args);
    assert(await ground.sh(`cat -- ${file}`), args.join(" "));
  }
});

Deno.test("podwire cp writes into the file that is there, on both sides", async () => {
  await using ground = await CpGround.start();
  for (const size of [5, 6_000_000]) {
    await ground.sh(`head -c ${size} /dev/urandom >here/f; echo old >there/f; echo old >more/f`);
    const before = await ground.sh("ls -i there/f more/f");
    await ground.must(["@/here/f", "one:@/there/f"]);
    await ground.must(["one:@/here/f", "@/more/f"]);
    assertEquals(await ground.sh("ls -i there/f more/f"), before);
    await ground.sh('cmp here/f there/f && cmp here/f more/f && [ -z "$(ls -A there more | grep podwire)" ]');
  }
});

Deno.test("podwire cp merges folders, and leaves what is not in the source", async () => {
  await using ground = await CpGround.start();
  await ground.sh(
    "mkdir -p here/d/e there/d/e; echo new >here/d/a; echo new >here/d/e/b; echo old >there/d/a; echo mine >there/d/e/c",
  );
  await ground.sh("ln -s /nowhere there/d/.l; echo new >here/d/.l; echo new >here/d/.new; chmod 700 there/d/e");
  await ground.must(["@/here/d", "one:@/there"]);
  assertEquals(
    await ground.sh("cat there/d/a there/d/e/b there/d/e/c there/d/.l there/d/.new"),
    "new\nnew\nmine\nnew\nnew\n",
  );
  assertEquals(await ground.sh("stat -c %a there/d/e"), "700\n");
});

Deno.test("podwire cp reads stdin and writes stdout", async () => {
  await using ground = await CpGround.start();
  await ground.must(["-", "one:@/there/f"], "from stdin");
  assertEquals(await ground.cp(["one:@/there/f", "-"]), { code: 0, stdout: "from stdin", stderr: "" });
  assertEquals(await ground.cp(["one:@/there/f", "/dev/null"]), { code: 0, stdout: "", stderr: "" });
  assertEquals((await Deno.stat("/dev/null")).isCharDevice, true);
  for (const place of ["-", "/dev/null"]) {
    const { stderr } = await ground.cp(["-v=6", "one:@/there/f", place]);
    assertEquals(stderr.match(/\/exec\?/g)?.length, 2, `a shell, and tar:\n${stderr}`);
  }
});

Deno.test("podwire cp --no-preserve keeps neither mode nor owner", async () => {
  await using ground = await CpGround.start();
  await ground.sh("umask 022; printf x >here/f; chmod 600 here/f; printf x >here/run; chmod 711 here/run");
  for (const [name, mode] of [["f", "644"], ["run", "755"]]) {
    await ground.must(["--no-preserve", `one:@/here/${name}`, `@/more/${name}`]);
    assertEquals(await ground.sh(`stat -c %a more/${name}`), `${mode}\n`);
  }
});

Deno.test("podwire cp says why it cannot, in kubectl's words", async () => {
  await using ground = await CpGround.start({ one: TOOLS, nosh: without("sh"), two: TOOLS });
  await ground.sh("echo x >here/f; mkdir more/folder; mkfifo here/fifo; ln -s f here/link; ln -s ../here more/back");
  const rows: Array<[args: string[], stderr: string | RegExp]> = [
    [[], "error: source and destination are required\n"],
    [["@/here/f"], "error: source and destination are required\n"],
    [["@/here/f", "@/there/f"], "error: one of src or dest must be a remote file specification\n"],
    [["@/here/f", "one:"], "error: filepath can not be empty\n"],
    [
      ["a/b/c:/f", "@/x"],
      "error: filespec must match the canonical format: [[namespace/]pod:]file/path\n",
    ],
    [["@/here/no", "one:@/there/f"], "error: @/here/no doesn't exist in local filesystem\n"],
    [["@/here/f", "nopod:/f"], 'Error from server (NotFound): pods "nopod" not found\n'],
    [["one:@/here/f", "@/more/folder"], "error: open @/more/folder: is a directory\n"],
    [["one:@/here/f", "@/more/folder", "-c", "x"], "error: container x is not valid for pod one out of: main\n"],
    [["--jobs=0", "@/here/f", "one:/f"], "error: --jobs must be at least 1, not 0\n"],
    [["@/here/f", "@/here/f", "one:@/there/f"], "error: @/there/f must be a directory to copy 2 files into it\n"],
    [["@/here/f", "one:@/no/such"], /No such file or directory\ncommand terminated with exit code 1\n$/],
    [["one:@/here", "one:@/here/f"], "error: cannot copy @/here into itself, @/here/f\n"],
    [["one:@/here", "default/one:@/more/back/x"], "error: cannot copy @/here into itself, @/more/back/x\n"],
    [["@/here/fifo", "one:@/there/f"], "error: @/here/fifo: not a file, a folder or a link: not copied\n"],
    [["one:@/here/fifo", "@/more/f"], "error: @/here/fifo: not a file, a folder or a link: not copied\n"],
    [["one:@/here/fifo", "-"], "error: @/here/fifo is no file, but a device, socket or pipe\n"],
    [
      ["one:@/here/link", "@/more/f"],
      /^warning: skipping symlink: .*\nerror: @\/here\/link: a link to f: not copied\n$/,
    ],
    [["@/here/f", "nosh:@/there/f"], /^error: cannot copy without a shell .* kubectl debug /],
  ];
  for (const [args, stderr] of rows) {
    const ended = await ground.cp(args);
    assertEquals([ended.code, ended.stdout], [1, ""], args.join(" "));
    if (typeof stderr === "string") assertEquals(ended.stderr, stderr, args.join(" "));
    else assertMatch(ended.stderr, stderr);
  }
  assertEquals((await ground.cp(["one:@/nosuch", "@/more/f"])).code, 2, "tar's own");
  assertEquals(await ground.cp(["@/here/f", "two:@/there/f"]), {
    code: 0,
    stdout: "",
    stderr: 'Defaulted container "main" out of: main, side\n',
  });
});

Deno.test("podwire cp tells of each file with -v, and of everything with --progress json", async () => {
  await using ground = await CpGround.start();
  await ground.sh("mkdir here/d; printf abc >here/d/a; printf de >here/d/b");
  const lines = await ground.cp(["-v=1", "@/here/d", "one:@/there/d"]);
  assertEquals(lines.stderr.trim().split("\n").sort(), ["a (3 B)", "b (2 B)"]);
  const { stderr } = await ground.cp(["--progress=json", "one:@/here/d", "@/more/d"]);
  const events = stderr.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(events.filter(({ done }) => done).map(({ path }) => path).sort(), ["a", "b"]);
  const { seconds, ...total } = events.at(-1);
  assertEquals([total, typeof seconds], [{ files: 2, bytes: 5 }, "number"]);
});

Deno.test("podwire cp takes no harm from a container that lies", async () => {
  // A tar that sends what it likes, as in the CVEs that kubectl cp had.
  const folder = await Deno.makeTempDir({ prefix: "podwire-evil-" });
  try {
    const header = { mode: 0o644, mtime: 0, uid: 0, gid: 0, size: 0 };
    const evil = { ...header, size: 4, type: "file" } as const;
    const content = new TextEncoder().encode("evil");
    const archive = await packArchive([
      { header: { ...header, name: "d", type: "directory", mode: 0o755 } },
      { header: { ...header, name: "d/link", type: "symlink", target: ".." } },
      { header: { ...header, name: "d/abs", type: "symlink", target: "/tmp" } },
      { header: { ...evil, name: "d/link/escaped" }, content },
      { header: { ...evil, name: "d/../../escaped" }, content },
      { header: { ...evil, name: "d/ok" }, content },
    ], false);
    await Deno.writeFile(`${folder}/evil.tar`, new Uint8Array(await new Response(archive).arrayBuffer()));
    const tar = { name: "tar", script: `case $* in *--version*) ;; *) exec /bin/cat ${folder}/evil.tar;; esac` };
    const sums = {
      name: "sha256sum",
      script: `h=$(printf evil | /usr/bin/sha256sum | /usr/bin/cut -c1-64); for f; do echo "$h  $f"; done`,
    };
    await using ground = await CpGround.start({ one: [...without("tar", "sha256sum"), tar, sums] });
    const { stderr } = await ground.cp(["one:@/here/d", "@/more/out"]);
    assertStringIncludes(stderr, "outside target destination, skipping");
    assertStringIncludes(stderr, "skipping symlink");
    assertEquals(await ground.sh("find . -name 'escaped' | wc -l; cat more/out/ok"), "1\nevil");
    assertEquals(
      await ground.sh("find more/out/link -name escaped"),
      "more/out/link/escaped\n",
      "a folder, not a link",
    );
    // A name that does not begin with what was asked for.
    assertMatch((await ground.cp(["one:@/here/other", "@/more/x"])).stderr, /tar contents corrupted/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("podwire cp copies what it may read, and fails for the rest, with tar and without", async () => {
  // Root may read everything.
  const sh = { name: "sh", script: 'exec /usr/bin/setpriv --reuid=65534 --clear-groups /bin/sh "$@"' };
  const root = Deno.uid() === 0;
  const tools: Program[] = [...without("sh"), root ? sh : "sh"];
  await using ground = await CpGround.start({ one: tools, bare: tools.filter((name) => name !== "tar") });
  await ground.sh(
    "chmod 711 .; mkdir -p here/d/locked here/d/ok; echo x >here/d/locked/f; echo y >here/d/ok/f; echo z >here/d/f",
  );
  await ground.sh("chmod 600 here/d/f; chmod 000 here/d/locked" + (root ? "" : " here/d/f"));
  for (const [pod, what] of [["one", "tar: d/locked: Cannot open: "], ["bare", "@/here/d/locked: "]]) {
    const { code, stderr } = await ground.cp([`${pod}:@/here/d`, `@/there/${pod}`]);
    assertStringIncludes(stderr, `${what}Permission denied\n`);
    assertEquals(code === 0, false, pod);
    assertEquals(await ground.sh(`cat there/${pod}/ok/f; ls there/${pod}/f 2>&1 | grep -c such`), "y\n1\n");
  }
  await ground.sh("chmod -R u+rwX .");
});
