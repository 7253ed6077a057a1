// What podwire cp makes of places, paths and patterns.
import { assertEquals, assertThrows } from "@std/assert";
import { expandGlob } from "../../lib/cli/cp_glob.ts";
import { baseName, cleanPath, joinClean, parseFileSpec } from "../../lib/cli/cp_spec.ts";
import { UsageError } from "../../lib/cli/flags.ts";

Deno.test("parseFileSpec() reads places as kubectl does", () => {
  // kubectl pkg/cmd/cp/cp_test.go, TestExtractFileSpec, and filespec.go.
  assertEquals(parseFileSpec("namespace/pod:/some/file"), { namespace: "namespace", pod: "pod", path: "/some/file" });
  assertEquals(parseFileSpec("pod:/some/file"), { pod: "pod", path: "/some/file" });
  assertEquals(parseFileSpec("/some/file"), { path: "/some/file" });
  assertEquals(parseFileSpec("pod:C:\\some\\file"), { pod: "pod", path: "C:/some/file" });
  assertEquals(parseFileSpec("dir/"), { path: "dir" });
  assertEquals(parseFileSpec("pod:/"), { pod: "pod", path: "/" });
  assertEquals(parseFileSpec("pod:"), { pod: "pod", path: "" });
  for (const wrong of [":file:not:exist", ":file:exist", "some/bad/pod:/some/file", "a/b/c:/x"]) {
    assertThrows(() => parseFileSpec(wrong), UsageError, "filespec must match the canonical format");
  }
});

Deno.test("parseFileSpec() takes what begins as a path for one, whatever colons are in it", () => {
  // kubectl takes "." for a namespace, and refuses paths with more folders.
  for (const path of ["./co:lon", "../a:b", "/a:b", "/tmp/a:b", "./d/co:lon", "../../d/a:b:c", "./:"]) {
    assertEquals(parseFileSpec(path), { path });
  }
  assertEquals(parseFileSpec("./co:lon/"), { path: "./co:lon" });
});

Deno.test("parseFileSpec() refuses names that no pod or namespace can have", () => {
  const hint = "; for a local file with a colon in its name write ./NAME";
  const rows: Array<[text: string, why: string]> = [
    ["C:\\file", 'no pod can be called "C"'],
    ["my file:1", 'no pod can be called "my file"'],
    ["web_0:/x", 'no pod can be called "web_0"'],
    ["-web:/x", 'no pod can be called "-web"'],
    ["web..0:/x", 'no pod can be called "web..0"'],
    [".:x", 'no pod can be called "."'],
    [`${"a".repeat(254)}:/x`, `no pod can be called "${"a".repeat(254)}"`],
    ["Shop/web-0:/x", 'no namespace can be called "Shop"'],
    ["a.b/web-0:/x", 'no namespace can be called "a.b"'],
    [`${"a".repeat(64)}/web-0:/x`, `no namespace can be called "${"a".repeat(64)}"`],
  ];
  for (const [text, why] of rows) {
    assertEquals(assertThrows(() => parseFileSpec(text), UsageError).message, `${text}: ${why}${hint}`);
  }
  assertEquals(parseFileSpec("shop/web-0.a:/x"), { namespace: "shop", pod: "web-0.a", path: "/x" });
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
      ["[\\a\\-\\q].txt", ["a.txt"]],
      ["[b-a].txt", []],
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
