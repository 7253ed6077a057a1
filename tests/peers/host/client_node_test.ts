/** Kubernetes' client for JavaScript, in Node 22, against the host. Needs npm. */
import { assertEquals } from "@std/assert";
import { withGround } from "./ground.ts";
import { installClientNode, run } from "./programs.ts";

Deno.test("client-node does with the host what it does with a cluster", async (t) => {
  const program = await installClientNode();
  const home = Deno.env.get("HOME") ?? "";
  await withGround(async ({ env }) => {
    const rows: Array<[args: string[], result: unknown]> = [
      [["list"], ["web", "talk", "crash"]],
      [["exec", "web", "side", "sh", "-c", "echo out; echo err >&2"], {
        stdout: "out\n",
        stderr: "err\n",
        status: "Success",
      }],
      [["exec", "web", "side", "sh", "-c", "exit 7"], {
        stdout: "",
        stderr: "",
        status: "Failure",
        message: "command terminated with non-zero exit code: command terminated with exit code 7",
      }],
      [["exec", "web", "side", "--stdin", "input", "cat"], { stdout: "input", stderr: "", status: "Success" }],
      [["attach", "web", "main", "a line\n"], "a line\n"],
      [["forward", "web", "80", "question"], "question"],
      [["log", "talk", "main"], "one\ntwo\nthree\n"],
      [["watch", "talk"], ["ADDED", "DELETED"]],
    ];
    for (const [args, result] of rows) {
      await t.step(args.slice(0, 2).join(" "), async () => {
        const { stdout, stderr } = await run("npx", ["--yes", "node@22", program, ...args], {
          // npm has things to say of its own, such as about the configuration of an npx around this test.
          env: { ...env, npm_config_cache: `${home}/.npm`, npm_config_loglevel: "error" },
        });
        assertEquals([stderr, stdout === "" ? undefined : JSON.parse(stdout)], ["", result]);
      });
    }
  });
});
