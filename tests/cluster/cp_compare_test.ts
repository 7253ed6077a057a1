/**
 * `podwire cp` beside `kubectl cp` 1.36: the same invocations from the same state, then exit code, output and what lies at the
 * destination are compared.
 */
import { assertEquals } from "@std/assert";
import { compare } from "./comparison.ts";
import { CP_DIFFERENCES } from "./cp_differences.ts";
import { CP_INVOCATIONS, type CpInvocation, HERE, THERE } from "./cp_invocations.ts";
import { type Ground, ground, type RunResult } from "./ground.ts";
import { podwire } from "./podwire.ts";

/**
 * What differs from run to run, or by the program's own name; and a word of `tar` on kubectl's stdout in every download, which
 * podwire gives no reason for: it does not pack with the whole path.
 */
function normalize(text: string): string {
  return text.replaceAll(/^tar: removing leading '.*' from member names\n/gm, "").replaceAll(/\bpodwire\b/g, "kubectl")
    .replaceAll(/\b(cp-[0-9a-f]{8})\b/g, "<pod>");
}

/** What one program made of an invocation. */
interface Outcome extends Pick<RunResult, "code" | "stdout" | "stderr"> {
  /** The files here, and those in the container: their names and contents. */
  readonly files: string;
}

/** Names, kinds and contents: modes and times are where podwire keeps more. */
const LIST = `find . ! -name . | sort | while read -r f; do if [ -L "$f" ]; then echo "$f -> $(readlink "$f")"; ` +
  `elif [ -d "$f" ]; then echo "$f/"; else echo "$f: $(cat "$f")"; fi; done`;

async function outcome(
  cluster: Ground,
  program: readonly string[],
  pod: string,
  { args }: CpInvocation,
): Promise<Outcome> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-cp-" });
  try {
    await must(cluster.run(["bash", "-c", HERE], { cwd: folder }));
    await must(cluster.kubectl(["exec", pod, "--", "sh", "-c", `rm -rf /tmp/w; mkdir /tmp/w; cd /tmp/w; ${THERE}`]));
    const words = args.map((word) => word.replace("POD", pod));
    const { code, stdout, stderr } = await cluster.run([...program, "cp", ...words], {
      cwd: folder,
      env: cluster.environment(),
    });
    const here = await must(cluster.run(["bash", "-c", LIST], { cwd: folder }));
    const there = await must(cluster.kubectl(["exec", pod, "--", "sh", "-c", `cd /tmp/w && ${LIST}`]));
    return { code, stdout, stderr, files: `here:\n${here}there:\n${there}` };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function must(result: Promise<RunResult>): Promise<string> {
  const { code, stdout, stderr } = await result;
  assertEquals(code, 0, stderr);
  return stdout;
}

Deno.test("podwire cp does as kubectl cp does", async (t) => {
  const cluster = await ground();
  const kubectl = [cluster.kubectlPath("1.36")];
  const mine = await podwire();
  const used = new Set<string>();
  const sleep = { command: ["sleep", "infinity"] };
  const containers = [{ ...sleep, name: "main" }, { ...sleep, name: "side" }];
  const annotations = { "kubectl.kubernetes.io/default-container": "main" };
  const outcomes = new Map<CpInvocation, readonly [theirs: Outcome, ours: Outcome]>();
  const left = CP_INVOCATIONS.values();
  const work = () =>
    cluster.withPod({ prefix: "cp", containers, annotations }, async ({ name }) => {
      for (const invocation of left) {
        const theirs = await outcome(cluster, kubectl, name, invocation);
        outcomes.set(invocation, [theirs, await outcome(cluster, mine, name, invocation)]);
      }
    });
  await Promise.all([work(), work(), work()]);
  for (const [invocation, [theirs, ours]] of outcomes) {
    const line = invocation.args.join(" ");
    await t.step(line || "(nothing)", () => {
      const difference = CP_DIFFERENCES.find(({ args }) => args.test(line));
      if (difference) used.add(difference.reason);
      compare(theirs, ours, difference, normalize);
    });
  }
  assertEquals(CP_DIFFERENCES.filter(({ reason }) => !used.has(reason)), [], "differences that nothing shows");
});
