// The parts of podwire cp that need no container.
import { assertEquals, assertThrows } from "@std/assert";
import { expandGlob } from "../../lib/cli/cp_glob.ts";
import { formatBytes, formatTime, Progress } from "../../lib/cli/cp_progress.ts";
import { baseName, cleanPath, joinClean, parseFileSpec } from "../../lib/cli/cp_spec.ts";
import { UsageError } from "../../lib/cli/flags.ts";

Deno.test("parseFileSpec() reads places as kubectl does", () => {
  // kubectl pkg/cmd/cp/cp_test.go, TestExtractFileSpec, and filespec.go.
  assertEquals(parseFileSpec("namespace/pod:/some/file"), { namespace: "namespace", pod: "pod", path: "/some/file" });
  assertEquals(parseFileSpec("pod:/some/file"), { pod: "pod", path: "/some/file" });
  assertEquals(parseFileSpec("/some/file"), { path: "/some/file" });
  assertEquals(parseFileSpec("pod:C:\\some\\file"), { pod: "pod", path: "C:/some/file" });
  assertEquals(parseFileSpec("C:\\file"), { pod: "C", path: "/file" });
  assertEquals(parseFileSpec("dir/"), { path: "dir" });
  assertEquals(parseFileSpec("pod:/"), { pod: "pod", path: "/" });
  assertEquals(parseFileSpec("pod:"), { pod: "pod", path: "" });
  for (const wrong of [":file:not:exist", ":file:exist", "some/bad/pod:/some/file", "a/b/c:/x"]) {
    assertThrows(() => parseFileSpec(wrong), UsageError, "filespec must match the canonical format");
  }
});

Deno.test("cleanPath(), baseName() and joinClean() do as Go's path does", () => {
  const rows = [["a//b/../c", "a/c"], ["", "."], ["/..", "/"], ["./a/", "a"], ["../a", "../a"], ["/", "/"]];
  for (const [path, clean] of rows) assertEquals(cleanPath(path!), clean);
  assertEquals(["/", "", "a/b", "a/.", ".."].map(baseName), ["/", ".", "b", ".", ".."]);
  assertEquals(joinClean("/srv/", "a"), "/srv/a");
  assertEquals(joinClean("/srv", "."), "/srv");
});

Deno.test("expandGlob() matches as filepath.Glob does", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-glob-" });
  try {
    for (const name of ["a.txt", "b.txt", ".hidden.txt", "c*", "d/a.txt", "ü.txt"]) {
      await Deno.mkdir(`${folder}/d`, { recursive: true });
      await Deno.writeTextFile(`${folder}/${name}`, "");
    }
    const rows: Array<[pattern: string, found: string[]]> = [
      ["*.txt", [".hidden.txt", "a.txt", "b.txt", "ü.txt"]],
      ["?.txt", ["a.txt", "b.txt", "ü.txt"]],
      ["[ab].txt", ["a.txt", "b.txt"]],
      ["[^a].txt", ["b.txt", "ü.txt"]],
      ["c\\*", ["c*"]],
      ["*/a.txt", ["d/a.txt"]],
      ["nothing*", []],
      ["a.txt", []],
    ];
    for (const [pattern, found] of rows) {
      assertEquals(await expandGlob(`${folder}/${pattern}`), found.map((name) => `${folder}/${name}`), pattern);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

function progress(mode: string, options: { lines?: boolean; terminal?: boolean; now?: () => number } = {}) {
  const written: string[] = [];
  let time = 0;
  const shown = new Progress(mode, {
    lines: false,
    terminal: false,
    write: (text) => written.push(text),
    now: () => time += 1000,
    ...options,
  });
  return { shown, text: () => written.join("") };
}

Deno.test("Progress shows bars on a terminal only, and a line a file when it is told to", () => {
  const event = { path: "a", bytes: 512, size: 1024, done: false };
  const quiet = progress("auto");
  quiet.shown.update(event, "a");
  quiet.shown.update({ ...event, bytes: 1024, done: true }, "a");
  quiet.shown[Symbol.dispose]();
  assertEquals(quiet.text(), "");

  const bars = progress("auto", { terminal: true });
  bars.shown.update(event, "a\nb");
  assertEquals(bars.text().includes("a?b"), true, "no name moves the cursor");
  assertEquals(bars.text().includes("[############............] 50% of 1.0 KiB"), true, bars.text());

  const lines = progress("none", { lines: true });
  lines.shown.update({ ...event, bytes: 1024, done: true }, "a");
  assertEquals(lines.text(), "a (1.0 KiB)\n");
});

Deno.test("Progress tells how long all of it takes, if that is known of every source", () => {
  const half = { path: "a", bytes: 1024, size: 1024, done: true };
  let now = 0;
  const bars = progress("bar", { now: () => now });
  bars.shown.expect(1024);
  bars.shown.expect(1024);
  now = 2000;
  bars.shown.update(half, "a");
  assertEquals(bars.text(), "1 file, 1.0 KiB of 2.0 KiB, 512 B/s, 2s left\n");

  const stdin = progress("bar", { now: () => now });
  stdin.shown.expect(1024);
  stdin.shown.expect(undefined);
  now = 4000;
  stdin.shown.update(half, "a");
  assertEquals(stdin.text(), "1 file, 1.0 KiB, 512 B/s, 2s\n");
});

Deno.test("Progress writes JSON for programs", () => {
  const { shown, text } = progress("json");
  shown.update({ path: "a", bytes: 10, size: undefined, done: false }, "a");
  shown.update({ path: "a", bytes: 20, size: 20, done: true }, "a");
  shown[Symbol.dispose]();
  assertEquals(text().trim().split("\n").map((line) => JSON.parse(line)), [
    { path: "a", bytes: 10, done: false },
    { path: "a", bytes: 20, size: 20, done: true },
    { files: 1, bytes: 20, seconds: 2 },
  ]);
  assertThrows(() => progress("loud"), UsageError, "--progress must be one of");
});

Deno.test("formatBytes() and formatTime() are for people", () => {
  assertEquals([0, 1023, 1536, 5 << 20, 3 * 2 ** 40].map(formatBytes), [
    "0 B",
    "1023 B",
    "1.5 KiB",
    "5.0 MiB",
    "3.0 TiB",
  ]);
  assertEquals([0, 59, 65, 3700].map(formatTime), ["0s", "59s", "1m05s", "1h01m"]);
});
