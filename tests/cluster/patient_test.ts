/**
 * Somebody does not read: a container its input, for two minutes (kubectl gives up after one, as its Pings go unanswered), or
 * whoever runs podwire its output.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { Cluster, type Wire } from "../../lib/client/mod.ts";
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

interface Way {
  readonly server: ServerName;
  readonly wire: Wire;
}

/** Passed through to the node, translated by the API server, and over SPDY. */
const WAYS: readonly Way[] = [
  { server: "default", wire: "websocket" },
  { server: "mid", wire: "websocket" },
  { server: "default", wire: "spdy" },
];

function connect(cluster: Ground, { server, wire }: Way): Promise<Cluster> {
  const access = { kubeconfig: cluster.kubeconfig(server), viaUnixSocket: cluster.socket(server) };
  return Cluster.fromKubeconfig({ ...access, wire });
}

/** By the module. */
async function byModule(cluster: Ground, way: Way, pod: TestPod): Promise<void> {
  const { bytes, sum } = await input();
  const notices: string[] = [];
  await using api = await connect(cluster, way);
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
async function byCommand(cluster: Ground, { server, wire }: Way, pod: TestPod): Promise<void> {
  const { bytes, sum } = await input();
  const cli = new URL("cli.ts", ROOT).pathname;
  const { code, stdout, stderr } = await cluster.run(
    [Deno.execPath(), "run", "-A", ...await denoFlags(), cli, "exec", "--wire", wire, "-i", pod.name, "--", ...COMMAND],
    { stdin: bytes, env: cluster.environment(server), timeout: (UNREAD + 60) * 1000 },
  );
  assertEquals([stdout, code], [`${sum}  -\n`, 0], stderr);
  assertMatch(stderr, /input is waiting/);
}

Deno.test("exec outlives a container that does not read its input for two minutes, says so, and delivers all of it", async () => {
  const cluster = await ground();
  await cluster.withPod({ node: "node1" }, async (pod) => {
    const sessions = [byModule, byCommand].flatMap((run) =>
      WAYS.map(async (way) => {
        try {
          await run(cluster, way, pod);
        } catch (cause) {
          throw new Error(`${run.name} on ${way.server}/node1, ${way.wire}`, { cause });
        }
      })
    );
    const outcomes = await Promise.allSettled(sessions);
    assertEquals(outcomes.filter((outcome) => outcome.status === "rejected"), []);
  });
});

/** Longer than a peer may be silent, in milliseconds. */
const STALL = 75_000;

// Over WebSocket too, but not for certain: once in nine times the kubelet lost 136 KiB at the end and called it a success (k/k #60140).
Deno.test("exec over SPDY gives a reader that stops for over a minute everything, and holds little meanwhile", async () => {
  const cluster = await ground();
  await cluster.withPod({ node: "node1" }, async (pod) => {
    const servers: ServerName[] = ["default", "old"];
    const outcomes = await Promise.all(servers.map(async (server) => {
      await using api = await connect(cluster, { server, wire: "spdy" });
      const script = `head -c ${SIZE} /dev/zero; echo end; exit 3`;
      const before = Deno.memoryUsage();
      await using process = await api.pod(pod.name).exec(["sh", "-c", script]).spawn();
      await new Promise((resolve) => setTimeout(resolve, STALL));
      const { heapUsed, external } = Deno.memoryUsage();
      const held = heapUsed + external - before.heapUsed - before.external;
      let size = 0;
      for await (const chunk of process.stdout) size += chunk.length;
      return { size, code: (await process.status).code, isSmall: held < 16 * 1024 * 1024 };
    }));
    assertEquals(outcomes, servers.map(() => ({ size: SIZE + 4, code: 3, isSmall: true })));
  });
});

/** Longer than two Pings are apart, in milliseconds. */
const PAUSE = 11_000;
/** Less than the buffers on the way hold, in bytes: the command ends, and its server closes, before any of it is read. */
const OUTPUT = 3_000_000;

// kubectl loses most of it: its Ping meets a server that has closed, which resets the connection and all that is on its way.
Deno.test("exec keeps the output of a command that ended long ago for a reader that comes late", async () => {
  const cluster = await ground();
  await cluster.withPod({ node: "node1" }, async (pod) => {
    const ways: readonly Way[] = [...WAYS, { server: "old", wire: "spdy" }];
    const outcomes = await Promise.all(ways.map(async (way) => {
      await using api = await connect(cluster, way);
      const script = `head -c ${OUTPUT} /dev/zero; exit 3`;
      await using process = await api.pod(pod.name).exec(["sh", "-c", script]).spawn();
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      let size = 0;
      for await (const chunk of process.stdout) size += chunk.length;
      return { ...way, size, code: (await process.status).code };
    }));
    assertEquals(outcomes, ways.map((way) => ({ ...way, size: OUTPUT, code: 3 })));
  });
});
