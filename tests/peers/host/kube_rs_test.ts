/** kube-rs against the host. Needs cargo. */
import { assertEquals, assertMatch } from "@std/assert";
import { withGround } from "./ground.ts";
import { buildKubeRs, type Ended, run } from "./programs.ts";

Deno.test("kube-rs does with the host what it does with a cluster", async (t) => {
  const program = await buildKubeRs();
  await withGround(async ({ env }) => {
    const failed = "Failure command terminated with non-zero exit code: command terminated with exit code 7\n";
    const rows: Array<[args: string[], ended: Partial<Ended>]> = [
      [["list"], { stdout: "web\ntalk\ncrash\n" }],
      [["watch"], { stdout: "added web\nadded talk\nadded crash\n" }],
      [["exec", "web", "side", "sh", "-c", "echo out; echo err >&2"], { stdout: "out\nSuccess \n", stderr: "err\n" }],
      [["exec", "web", "side", "sh", "-c", "exit 7"], { stdout: failed }],
      [["exec-stdin", "web", "side", "input", "cat"], { stdout: "inputSuccess \n" }],
      [["attach", "web", "main", "a line\n"], { stdout: "a line\n" }],
      [["forward", "web", "80", "question"], { stdout: "question" }],
      [["log", "talk"], { stdout: "one\ntwo\nthree\n" }],
      [["delete", "talk"], {}],
    ];
    for (const [args, ended] of rows) {
      await t.step(args.slice(0, 2).join(" "), async () => {
        assertEquals(await run(program, args, { env }), { code: 0, stdout: "", stderr: "", ...ended });
      });
    }
    await t.step("forward-error", async () => {
      const { stdout } = await run(program, ["forward-error", "web", "81"], { env });
      assertMatch(stdout, /^error forwarding port 81 to pod web, uid \S+: .*connection refused/);
    });
  });
});
