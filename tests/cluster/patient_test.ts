/** A container that does not read its input for two minutes: kubectl gives up after one (its Pings go unanswered). */
import { assertEquals, assertMatch } from "@std/assert";
import { Cluster } from "../../lib/client/mod.ts";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { type Ground, ground, type ServerName, type TestPod } from "./ground.ts";

/** Twice the patience of kubectl, in seconds. */
const UNREAD = 125;
/** More by 8 MiB than all buffers on the way hold, in bytes. */
const SIZE = 48 * 1024 * 1024;
const COMMAND = ["sh", "-c", `sleep ${UNREAD}; sha256sum`];

async function input(): Promise<{ bytes: Uint8Array<ArrayBuffer>; sum: string }> {
  const bytes = new Uint8Array(SIZE);
  for (let i = 0; i < SIZE; i += 65536) crypto.getRandomValues(bytes.subarray(i, i + 65536));
  return { bytes, sum: new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex() };
}

/** By the module. */
async function byModule(cluster: Ground, server: ServerName, pod: TestPod): Promise<void> {
  const { bytes, sum } = await input();
  const notices: string[] = [];
  await using api = await Cluster.fromKubeconfig({
    kubeconfig: cluster.kubeconfig(server),
    viaUnixSocket: cluster.socket(server),
  });
  const command = api.pod(pod.name).exec(COMMAND, { stdin: "piped", onNotice: (text) => notices.push(text) });
  await using process = await command.spawn();
  const [, output, { code }] = await Promise.all([
    ReadableStream.from([bytes]).pipeTo(process.stdin),
    new Response(process.stdout).text(),
    process.status,
  ]);
  assertEquals([output, code], [`${sum}  -\n`, 0]);
  assertMatch(notices[0] ?? "no notice", /input is waiting/);
}

/** By the command line. */
async function byCommand(cluster: Ground, server: ServerName, pod: TestPod): Promise<void> {
  const { bytes, sum } = await input();
  const cli = new URL("cli.ts", ROOT).pathname;
  const { code, stdout, stderr } = await cluster.run(
    [Deno.execPath(), "run", "-A", ...await denoFlags(), cli, "exec", "-i", pod.name, "--", ...COMMAND],
    { stdin: bytes, env: cluster.environment(server), timeout: (UNREAD + 60) * 1000 },
  );
  assertEquals([stdout, code], [`${sum}  -\n`, 0], stderr);
  assertMatch(stderr, /input is waiting/);
}

Deno.test("exec outlives a container that does not read its input for two minutes, says so, and delivers all of it", async () => {
  const cluster = await ground();
  await cluster.withPod({ node: "node1" }, async (pod) => {
    const sessions = [byModule, byCommand].flatMap((run) =>
      // Passed through to the node, and translated by the API server.
      (["default", "mid"] as const).map(async (server) => {
        try {
          await run(cluster, server, pod);
        } catch (cause) {
          throw new Error(`${run.name} on ${server}/node1`, { cause });
        }
      })
    );
    const outcomes = await Promise.allSettled(sessions);
    assertEquals(outcomes.filter((outcome) => outcome.status === "rejected"), []);
  });
});
