/**
 * The real kubectl against the embedded host, over TCP. Needs kubectl on the PATH, or its path in PODWIRE_KUBECTL.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type HostPod, serveHost } from "../../../lib/server/mod.ts";

const KUBECTL = Deno.env.get("PODWIRE_KUBECTL") ?? "kubectl";

const PODS: readonly HostPod[] = [
  {
    name: "web",
    labels: { app: "web" },
    containers: [{ name: "main", command: ["cat"], stdin: true }, { name: "side", command: ["sleep", "600"] }],
  },
];

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Hands `work` a kubectl that knows the host and leaves nothing behind. */
async function withKubectl(
  work: (kubectl: (args: readonly string[], stdin?: string) => Promise<Result>) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await using host = await serveHost({ listen: { port: 0 }, pods: PODS });
    await Deno.writeTextFile(`${folder}/kubeconfig`, host.kubeconfig, { mode: 0o600 });
    await work(async (args, stdin) => {
      let child: Deno.ChildProcess;
      try {
        child = new Deno.Command(KUBECTL, {
          args: [...args],
          env: { KUBECONFIG: `${folder}/kubeconfig`, HOME: folder },
          stdin: stdin === undefined ? "null" : "piped",
          stdout: "piped",
          stderr: "piped",
        }).spawn();
      } catch (cause) {
        throw new Error(`this test needs kubectl: ${KUBECTL} (see PODWIRE_KUBECTL)`, { cause });
      }
      if (stdin !== undefined) {
        const writer = child.stdin.getWriter();
        await writer.write(new TextEncoder().encode(stdin)).then(() => writer.close()).catch(() => {}); // It may end first.
      }
      const { code, stdout, stderr } = await child.output();
      return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("kubectl gets pods", async () => {
  await withKubectl(async (kubectl) => {
    const plain = await kubectl(["get", "pods"]);
    assertEquals([plain.code, plain.stderr], [0, ""]);
    assertMatch(plain.stdout, /^NAME +READY +STATUS +RESTARTS +AGE\nweb +2\/2 +Running +0 +\d+s\n$/);
    assertMatch(
      (await kubectl(["get", "pods", "-A", "-o", "wide"])).stdout,
      /default +web .* 127\.0\.0\.1 +podwire-host /,
    );
    assertEquals((await kubectl(["get", "pod", "web", "-o", "name"])).stdout, "pod/web\n");
    assertEquals(
      (await kubectl(["get", "pods", "-l", "app=other"])).stderr,
      "No resources found in default namespace.\n",
    );
    assertEquals(await kubectl(["get", "pod", "none"]), {
      code: 1,
      stdout: "",
      stderr: 'Error from server (NotFound): pods "none" not found\n',
    });
    assertMatch((await kubectl(["get", "ns"])).stdout, /^default +Active/m);
    assertMatch((await kubectl(["version"])).stdout, /^Server Version: v1\.36\.\d+\+podwire$/m);
  });
});

Deno.test("kubectl executes commands", async () => {
  await withKubectl(async (kubectl) => {
    const exec = (args: readonly string[], stdin?: string) => kubectl(["exec", "web", "-c", "side", ...args], stdin);
    assertEquals(await exec(["--", "sh", "-c", "echo out; echo err >&2"]), {
      code: 0,
      stdout: "out\n",
      stderr: "err\n",
    });
    assertEquals(await exec(["-i", "--", "cat"], "some input\n"), { code: 0, stdout: "some input\n", stderr: "" });
    const large = "0123456789abcdef".repeat(256 * 1024);
    assertEquals((await exec(["-i", "--", "wc", "-c"], large)).stdout.trim(), String(large.length));
    assertEquals((await exec(["--", "head", "-c", "5000000", "/dev/zero"])).stdout.length, 5_000_000);
    assertEquals(await exec(["--", "sh", "-c", "exit 7"]), {
      code: 7,
      stdout: "",
      stderr: "command terminated with exit code 7\n",
    });
    assertEquals((await exec(["--", "sh", "-c", "kill -9 $$"])).code, 137);
    const missing = await exec(["--", "no-such-command"]);
    assertEquals(missing.code, 1);
    assertMatch(
      missing.stderr,
      /^error: Internal error occurred: .*exec: "no-such-command": executable file not found in \$PATH\n$/,
    );
    const defaulted = await kubectl(["exec", "web", "--", "echo", "hi"]);
    assertEquals(defaulted, { code: 0, stdout: "hi\n", stderr: 'Defaulted container "main" out of: main, side\n' });
  });
});

Deno.test("kubectl attaches", async () => {
  await withKubectl(async (kubectl) => {
    const { code, stdout } = await kubectl(["attach", "-i", "web", "-c", "main", "-q"], "a line\n");
    assertEquals(code, 0);
    // Its input ends at once, and with it the attach: the echo may come too late.
    assert(stdout === "a line\n" || stdout === "", stdout);
  });
});
