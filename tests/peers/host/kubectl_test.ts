/**
 * kubectl of three ages against the host: 1.28 speaks SPDY only, 1.32 WebSockets first, 1.36 too. Needs Go, and kubectl 1.36 on the PATH
 * or in PODWIRE_KUBECTL.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { readUntil } from "../../support/read_until.ts";
import { type Ground, withGround } from "./ground.ts";
import { buildKubectl, type Ended, KUBECTL, run } from "./programs.ts";

const KUBECTLS = {
  "1.36": () => Promise.resolve(KUBECTL),
  "1.32": () => buildKubectl("1.32"),
  "1.28": () => buildKubectl("1.28"),
};

for (const [version, find] of Object.entries(KUBECTLS)) {
  Deno.test(`kubectl ${version} does with the host what it does with a cluster`, async (t) => {
    const program = await find();
    await withGround(async ({ env }) => {
      const kubectl = (args: readonly string[], stdin?: string) =>
        run(program, args, { env, ...(stdin !== undefined && { stdin }) });
      const ok = (stdout: string, stderr = ""): Ended => ({ code: 0, stdout, stderr });

      await t.step("get, describe", async () => {
        assertMatch(
          (await kubectl(["get", "pods"])).stdout,
          /^NAME +READY +STATUS +RESTARTS +AGE\nweb +2\/2 +Running +0 +\d+s\n/,
        );
        const { stdout } = await kubectl(["describe", "pod", "crash"]);
        assertMatch(stdout, /Last State: +Terminated\n +Reason: +Error\n +Exit Code: +3\n/);
        assertMatch(stdout, /Restart Count: +[12]\n/);
      });
      await t.step("exec", async () => {
        const exec = (...command: string[]) => kubectl(["exec", "web", "-c", "side", "--", ...command]);
        assertEquals(await exec("sh", "-c", "echo out; echo err >&2"), ok("out\n", "err\n"));
        assertEquals(await exec("sh", "-c", "exit 7"), {
          code: 7,
          stdout: "",
          stderr: "command terminated with exit code 7\n",
        });
        assertEquals(await kubectl(["exec", "-i", "web", "-c", "side", "--", "cat"], "input\n"), ok("input\n"));
        const large = "0123456789abcdef".repeat(64 * 1024);
        assertEquals(
          (await kubectl(["exec", "-i", "web", "-c", "side", "--", "wc", "-c"], large)).stdout.trim(),
          "1048576",
        );
      });
      await t.step("logs", async () => {
        assertEquals(await kubectl(["logs", "-f", "talk"]), ok("one\ntwo\nthree\n"));
        assertEquals(await kubectl(["logs", "talk", "--tail", "2"]), ok("two\nthree\n"));
        assertEquals(await kubectl(["logs", "talk", "--limit-bytes", "5"]), ok("one\nt"));
        assertMatch((await kubectl(["logs", "talk", "--timestamps", "--tail=1"])).stdout, /^\d{4}-\S+Z three\n$/);
        assertEquals(await kubectl(["logs", "crash", "--previous"]), ok("oh\n"));
        assertEquals(await kubectl(["logs", "talk", "--previous"]), {
          code: 1,
          stdout: "",
          stderr: 'Error from server (BadRequest): previous terminated container "main" in pod "talk" not found\n',
        });
      });
      await t.step("port-forward", () => forward(program, env));
      await t.step("port-forward to a pod that has ended", async () => {
        assertEquals(await kubectl(["port-forward", "talk", ":80"]), {
          code: 1,
          stdout: "",
          stderr: "error: unable to forward port because pod is not running. Current status=Succeeded\n",
        });
      });
      await t.step("wait", async () => {
        const wait = (what: string, pod: string) => kubectl(["wait", `--for=${what}`, `pod/${pod}`, "--timeout=20s"]);
        assertEquals(await wait("condition=Ready", "web"), ok("pod/web condition met\n"));
        assertEquals(await wait("jsonpath={.status.phase}=Succeeded", "talk"), ok("pod/talk condition met\n"));
      });
      await t.step("delete, and a watch that sees it", async () => {
        const child = new Deno.Command(program, {
          args: ["get", "pods", "web", "-w", "--output-watch-events"],
          env,
          stdin: "null",
          stdout: "piped",
          stderr: "inherit",
        }).spawn();
        await readUntil(child.stdout, (text) => /^ADDED +web/m.test(text));
        const { stdout } = await kubectl(["delete", "pod", "web"]);
        const text = await readUntil(child.stdout, (text) => /^DELETED +web/m.test(text));
        child.kill();
        await Promise.all([child.stdout.cancel(), child.status]);
        assertMatch(text, /^MODIFIED +web +2\/2 +Terminating/m);
        assertMatch(stdout, /^pod "web" deleted/);
        assertEquals(
          (await kubectl(["get", "pod", "web"])).stderr,
          'Error from server (NotFound): pods "web" not found\n',
        );
      });
    });
  });
}

/** Two connections through one port-forward, to the port that the pod calls `http`. */
async function forward(program: string, env: Ground["env"]): Promise<void> {
  const child = new Deno.Command(program, {
    args: ["port-forward", "web", ":http"],
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  try {
    const text = await readUntil(child.stdout, (text) => text.includes("\n"));
    const [, port] = /^Forwarding from 127\.0\.0\.1:(\d+) -> 80$/m.exec(text) ?? [];
    for (const question of ["one", "two"]) {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
      await connection.write(new TextEncoder().encode(question));
      const buffer = new Uint8Array(16);
      const n = await connection.read(buffer);
      assertEquals(new TextDecoder().decode(buffer.subarray(0, n ?? 0)), question);
    }
  } finally {
    child.kill();
    await Promise.all([child.stdout.cancel(), child.status]);
  }
}
