/** Redis in a pod, through `podwire port-forward`: no query fails, whatever becomes of other connections. */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { connect as dial } from "node:net";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { type Ground, ground, type NodeName, type ServerName } from "./ground.ts";
import { PORTS } from "./port_forward_bytes.ts";
import { mounted, VOLUMES } from "./port_forward_ground.ts";
import { must, until } from "./process.ts";

const REDIS = 6379;
const QUERIES = 20_000;

/** How long a connection that comes to nothing is there, in milliseconds: more of them would need the machine for themselves. */
const PACE = 100;

/** A command that forwards ports of a pod, outside of the cluster's network namespace. */
interface Command extends AsyncDisposable {
  /** The local ports, by those of the pod. */
  readonly local: ReadonlyMap<number, number>;
  /** Ends it by SIGINT; returns how, and what it said on stderr. */
  end(): Promise<{ code: number; stderr: string }>;
}

async function forward(cluster: Ground, server: ServerName, pod: string, ports: readonly number[]): Promise<Command> {
  const cli = new URL("cli.ts", ROOT).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", ...await denoFlags(), cli, "port-forward", pod, ...ports.map((port) => `:${port}`)],
      ...["--address", "127.0.0.1", "--stats", "--via-unix-socket", cluster.socket(server)],
    ],
    env: { KUBECONFIG: cluster.kubeconfig(server) },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stderr = new Response(child.stderr).text();
  const local = new Map<number, number>();
  let output = "";
  const reading = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      output += text;
      for (const [, here, there] of output.matchAll(/^Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)$/gm)) {
        local.set(Number(there), Number(here));
      }
      if (output.length > 100_000) output = ""; // A line for every connection.
    }
  })();
  let ended: Promise<{ code: number; stderr: string }> | undefined;
  const end = () => {
    return ended ??= (async () => {
      child.kill("SIGINT");
      await reading;
      return { code: (await child.status).code, stderr: await stderr };
    })();
  };
  const command = { local, end, [Symbol.asyncDispose]: () => end().then(() => {}) };
  try {
    await Promise.race([
      until("the local ports", 20_000, () => Promise.resolve(local.size === ports.length || undefined)),
      child.status.then(async ({ code }) => {
        throw new Error(`podwire port-forward ended with ${code}: ${await stderr}`);
      }),
    ]);
  } catch (error) {
    await child.status.catch(() => {});
    throw error;
  }
  return command;
}

/** Connections that are refused, reset in the middle, left half-open, or open without a word; until `stop`. */
async function churn(local: Command["local"], stop: AbortSignal): Promise<Record<string, number>> {
  const kinds = {
    refused: { port: PORTS.refused, say: "anybody?", end: "wait" },
    reset: { port: REDIS, say: "*3\r\n$3\r\nSET\r\n$5\r\nother\r\n$100\r\nabc", end: "reset" },
    halfOpen: { port: REDIS, say: "PING\r\n", end: "half" },
    silent: { port: REDIS, say: "", end: "reset" },
  } as const;
  const counts = { refused: 0, reset: 0, halfOpen: 0, silent: 0 };
  const one = async (kind: keyof typeof kinds) => {
    const { port, say, end } = kinds[kind];
    const { promise, resolve } = Promise.withResolvers<void>();
    const socket = dial({ port: local.get(port)!, host: "127.0.0.1", allowHalfOpen: true });
    socket.on("error", () => {}).on("close", () => resolve()).on("end", () => socket.end());
    const timer = setTimeout(() => socket.resetAndDestroy(), PACE);
    socket.write(say, () => {
      if (end === "half") socket.end();
      if (end !== "reset") clearTimeout(timer);
    });
    socket.resume();
    await promise;
    counts[kind]++;
  };
  await Promise.all(
    (["refused", "reset", "halfOpen", "silent"] as const).flatMap((kind) =>
      [1, 2, 3, 4].map(async () => {
        while (!stop.aborted) await Promise.all([one(kind), new Promise((resolve) => setTimeout(resolve, PACE))]);
      })
    ),
  );
  return counts;
}

for (
  const [server, node] of [["default", "node1"], ["old", "node2"]] as const satisfies Array<[ServerName, NodeName]>
) {
  Deno.test(`no query to Redis fails through podwire port-forward on ${server}/${node}, with churn and without`, async () => {
    const cluster = await ground();
    const redis = ["/usr/bin/redis-server", "--save", "", "--protected-mode", "no", "--port", String(REDIS)];
    const options = { prefix: "redis", node, containers: [mounted(redis, REDIS)], spec: VOLUMES };
    await cluster.withPod(options, async (pod) => {
      await using command = await forward(cluster, server, pod.name, [REDIS, PORTS.refused]);
      const port = String(command.local.get(REDIS));
      const query = async (counter: string): Promise<number> => {
        const queries = ["-c", "20", "-n", String(QUERIES), "incr", counter];
        await must(["redis-benchmark", "-p", port, "-q", ...queries], { timeout: 60_000 });
        return Number(await must(["redis-cli", "-p", port, "get", counter]));
      };
      // Each was done, once.
      assertEquals(await query("calm"), QUERIES);

      const stop = new AbortController();
      const churning = churn(command.local, stop.signal);
      const counted = await query("churned").finally(() => stop.abort());
      const churned = await churning;
      assertEquals(counted, QUERIES);
      for (const [kind, count] of Object.entries(churned)) assertGreater(count, 2, kind);

      const { code, stderr } = await command.end();
      assertEquals(code, 0, stderr);
      const lines = stderr.trimEnd().split("\n");
      assert(lines.at(-1)?.endsWith("re-dials: 0"), lines.at(-1));
    });
  });
}
