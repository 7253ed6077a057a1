// The cases of kubectl's pkg/util/term/term_test.go and moby/term's ascii_test.go, in our words.
import { assertEquals, assertThrows } from "@std/assert";
import { DetachKeys, parseDetachKeys } from "../../lib/cli/detach_keys.ts";
import { UsageError } from "../../lib/cli/flags.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("parseDetachKeys() reads characters, control keys and DEL", () => {
  assertEquals([...parseDetachKeys("ctrl-p,ctrl-q")], [16, 17]);
  assertEquals([...parseDetachKeys("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_")], [0, 27, 28, 29, 30, 31]);
  assertEquals([...parseDetachKeys("a,B,~,DEL")], [97, 66, 126, 127]);
});

Deno.test("parseDetachKeys() refuses what is no key", () => {
  for (const text of ["ctrl-", "ctrl-A", "ctrl-ab", "shift-a", "a,,b", "ü"]) {
    assertThrows(() => parseDetachKeys(text), UsageError, "could not bind detach keys: Unknown character: '");
  }
});

/** What comes through of `chunks`, and after which of them the keys were complete. */
function run(keys: string, chunks: string[]): [passed: string, detachedAt: number] {
  const filter = new DetachKeys(parseDetachKeys(keys));
  let passed = "";
  for (const [i, chunk] of chunks.entries()) {
    const result = filter.filter(bytes(chunk));
    passed += new TextDecoder().decode(result.passed);
    if (result.detached) return [passed, i];
  }
  return [passed, -1];
}

Deno.test("DetachKeys lets everything through but the sequence", () => {
  assertEquals(run("ctrl-p,ctrl-q", ["hello"]), ["hello", -1]);
  assertEquals(run("ctrl-p,ctrl-q", ["ab\x10\x11cd"]), ["ab", 0]);
  assertEquals(run("ctrl-p,ctrl-q", ["\x10\x11"]), ["", 0]);
  assertEquals(run("ctrl-p,ctrl-q", ["\x10x\x11"]), ["\x10x\x11", -1]);
  assertEquals(run("a", ["xay"]), ["x", 0]);
});

Deno.test("DetachKeys holds the beginning of the sequence back, across chunks", () => {
  assertEquals(run("ctrl-p,ctrl-q", ["a\x10", "\x11b"]), ["a", 1]);
  assertEquals(run("ctrl-p,ctrl-q", ["a\x10", "b"]), ["a\x10b", -1]);
  assertEquals(run("ctrl-p,ctrl-q", ["\x10", "\x10", "\x11"]), ["\x10", 2]);
  assertEquals(run("ctrl-p,ctrl-q", ["a\x10"]), ["a", -1]);
});

Deno.test("DetachKeys gives back what it holds at the end of the input", () => {
  const filter = new DetachKeys(parseDetachKeys("a,b,c"));
  assertEquals(filter.filter(bytes("xab")).passed, bytes("x"));
  assertEquals([filter.flush(), filter.flush()], [bytes("ab"), bytes("")]);
  assertEquals(filter.filter(bytes("c")), { passed: bytes("c"), detached: false });
});
