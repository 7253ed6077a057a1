/** The custom resource against Kubernetes' own validation: needs Go (Debian's `golang-go`). */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CRD } from "../../../lib/relay/mod.ts";
import { parseRange } from "../../../lib/relay/source_ranges.ts";
import { buildGo } from "../build.ts";

const peer = await buildGo("crd-peer", new URL("./go/", import.meta.url));

/** What Kubernetes says of the definition, then of a Relay with each of `specs`. */
async function validate(specs: readonly object[]): Promise<string[]> {
  const child = new Deno.Command(peer, { stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
  const relays = specs.map((spec) => ({
    apiVersion: "podwire.dev/v1alpha1",
    kind: "Relay",
    metadata: { name: "web" },
    spec: { nodeSelector: {}, port: 80, target: { address: "tcp:127.0.0.1:80" }, ...spec },
  }));
  const input = [CRD, ...relays].map((object) => `${JSON.stringify(object)}\n`).join("");
  const [{ success, stdout }] = await Promise.all([
    child.output(),
    new Blob([input]).stream().pipeTo(child.stdin),
  ]);
  assert(success);
  const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
  assertEquals(lines.length, 1 + specs.length);
  return lines;
}

function isRange(text: string): boolean {
  try {
    parseRange(text);
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

const RANGES = [
  "",
  "web",
  "10.0.0.1",
  "10.0.0.0/8",
  "10.0.0.1/8",
  "10.0.0.0/08",
  "10.0.0.0/33",
  "10.0.0.0/",
  "10.0.0.0/8/8",
  "010.0.0.0/8",
  "0.0.0.0/0",
  "fd00::/8",
  "FD00::/8",
  "fd00::1/8",
  "::/0",
  "::/129",
  "::1/128",
  "fe80::1%eth0",
  "::ffff:10.0.0.1",
  "::ffff:10.0.0.0/104",
  "::ffff:10.0.0.0/8",
  "::10.0.0.1",
  "64:ff9b::192.0.2.0/120",
  "64:ff9b::192.0.2.1/120",
  "1:2:3:4:5:6:7::",
  "1:2:3:4:5:6:7::8",
  "1::2::3/64",
];

/** `text` with one character more, less or changed; `at` is from 0 to 1. */
function mutate(text: string, at: number, change: number, character: number): string {
  const i = Math.floor(at * (text.length + 1));
  const other = "0123456789afF:./"[Math.floor(character * 16)]!;
  return text.slice(0, i) + (change < 2 / 3 ? other : "") + text.slice(change < 1 / 3 ? i : i + 1);
}

Deno.test("Kubernetes takes the custom resource, and of source ranges just what the relay takes", async () => {
  const mutated = RANGES.flatMap((text) =>
    Array.from({ length: 100 }, () => mutate(text, Math.random(), Math.random(), Math.random()))
  );
  const texts = [...new Set([...RANGES, ...mutated])];
  const [definition, ...answers] = await validate(texts.map((text) => ({ allowFrom: [text] })));
  assertEquals(definition, "ok");
  assertEquals(
    texts.map((text, i) => [text, answers[i] === "ok"]),
    texts.map((text) => [text, isRange(text)]),
  );
  const accepted = answers.filter((answer) => answer === "ok").length;
  assert(accepted > 50 && accepted < texts.length - 50, `${accepted} of ${texts.length} are ranges`);
  assertMatch(answers[texts.indexOf("10.0.0.1/8")]!, /^spec\.allowFrom\[0\]: .*without bits beyond its prefix/);
});

Deno.test("Kubernetes refuses by the custom resource labels' keys that no node has", async () => {
  const good = ["a", "A_b.c-1", "zone.example/a", "a.b-c.example/X.y", "a".repeat(63)];
  const bad = ["", "-a", "a-", "a b", "/a", "a/", "a/b/c", "A.example/a", "a..example/a", "-a/b", "a".repeat(64)];
  const [, ...answers] = await validate([...good, ...bad].map((key) => ({ nodeSelector: { [key]: "x" } })));
  assertEquals(answers.slice(0, good.length), good.map(() => "ok"));
  for (const answer of answers.slice(good.length)) {
    assertMatch(answer, /^spec\.nodeSelector: .*must be \[DOMAIN\/\]NAME/);
  }
});
