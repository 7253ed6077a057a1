/**
 * `podwire port-forward` beside `kubectl port-forward` on the test cluster, in the same run. Prints medians and ratios; nothing
 * here passes or fails. Needs `deno task cluster up`.
 *
 * The pod shares the cluster's network namespace, so that the servers behind its ports can be part of this program, which
 * runs itself once more in there.
 *
 * @module
 */
import { ground, type NodeName, type ServerName } from "../cluster/ground.ts";
import { denoFlags, ROOT } from "../offline/flags.ts";

const MIB = 1 << 20;
const STREAM = 512 * MIB;

/** One figure of one workload. */
interface Sample {
  /** MiB/s or connections/s. */
  readonly rate: number;
  /** CPU of the forwarder in seconds, user and system. */
  readonly cpu: number;
  /** The most memory that the forwarder has had so far, in MiB. */
  readonly memory: number;
}

type Workload = (port: (of: keyof typeof SERVERS) => number) => Promise<number>;

/** What is behind the pod's ports. */
const SERVERS = {
  async down(conn: Deno.Conn) {
    for (let sent = 0; sent < STREAM;) sent += await conn.write(ZEROS.subarray(0, STREAM - sent));
    await conn.closeWrite();
    while (await conn.read(new Uint8Array(1024)) !== null);
  },
  async up(conn: Deno.Conn) {
    const buffer = new Uint8Array(256 * 1024);
    for (let received = 0; received < STREAM;) {
      const n = await conn.read(buffer);
      if (n === null) return;
      received += n;
    }
    await conn.write(new TextEncoder().encode("all of it\n"));
  },
  async echo(conn: Deno.Conn) {
    const buffer = new Uint8Array(64);
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
      await conn.write(buffer.subarray(0, n));
    }
  },
};

const ZEROS = new Uint8Array(64 * 1024);

async function echoOnce(port: number): Promise<void> {
  using conn = await Deno.connect({ port });
  const buffer = new Uint8Array(64);
  await conn.write(buffer);
  for (let received = 0; received < buffer.length;) received += await conn.read(buffer) ?? Infinity;
}

async function many(port: number, count: number, atOnce: number): Promise<number> {
  let left = count;
  const work = async () => {
    while (left-- > 0) await echoOnce(port);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return count;
}

const WORKLOADS: Readonly<Record<string, Workload>> = {
  "512 MiB down": async (port) => {
    using conn = await Deno.connect({ port: port("down") });
    const buffer = new Uint8Array(256 * 1024);
    let received = 0;
    while (received < STREAM) received += await conn.read(buffer) ?? Infinity;
    return received / MIB;
  },
  "512 MiB up": async (port) => {
    using conn = await Deno.connect({ port: port("up") });
    for (let sent = 0; sent < STREAM;) sent += await conn.write(ZEROS.subarray(0, STREAM - sent));
    await conn.read(new Uint8Array(16));
    return STREAM / MIB;
  },
  "200 connections, one at a time": (port) => many(port("echo"), 200, 1),
  "1,000 connections, 50 at once": (port) => many(port("echo"), 1000, 50),
  "1,000 connections at once": (port) => many(port("echo"), 1000, 1000),
};

/** Inside the network namespace: starts the servers and one forwarder, runs every workload once, prints the samples. */
async function inside(namespace: string, pod: string, command: readonly string[]): Promise<void> {
  const listeners = Object.entries(SERVERS).map(([name, serve]) => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    void (async () => {
      for await (const conn of listener) void serve(conn).catch(() => {}).finally(() => conn.close()); // Who goes, goes.
    })();
    return { name, listener };
  });
  const [program = "", ...args] = command;
  const ports = listeners.map(({ listener }) => `:${listener.addr.port}`);
  const forwarder = new Deno.Command(program, {
    args: [...args, "port-forward", "-n", namespace, "--address", "127.0.0.1", pod, ...ports],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  try {
    const local = new Map<string, number>();
    const lines = forwarder.stdout.pipeThrough(new TextDecoderStream());
    const reader = lines.getReader();
    for (let text = ""; local.size < listeners.length;) {
      const { done, value } = await reader.read();
      if (done) throw new Error(`${program} has ended: ${text}`);
      text += value;
      for (const { name, listener } of listeners) {
        const found = new RegExp(`:(\\d+) -> ${listener.addr.port}\n`).exec(text)?.[1];
        if (found) local.set(name, Number(found));
      }
    }
    void (async () => {
      while (!(await reader.read()).done); // `Handling connection for …`
    })();
    const samples: Record<string, Sample> = {};
    for (const [name, work] of Object.entries(WORKLOADS)) {
      const [cpu, start] = [cpuOf(forwarder.pid), performance.now()];
      const amount = await work((of) => local.get(of)!);
      const rate = amount / (performance.now() - start) * 1000;
      samples[name] = { rate, cpu: cpuOf(forwarder.pid) - cpu, memory: peakOf(forwarder.pid) };
    }
    console.log(JSON.stringify(samples));
  } finally {
    forwarder.kill("SIGTERM");
    await forwarder.status;
  }
  Deno.exit(); // Its servers listen on.
}

/** In seconds; Linux counts in hundredths. */
function cpuOf(pid: number): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** In MiB. */
function peakOf(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1]) / 1024;
}

async function outside(rounds: number, server: ServerName, node: NodeName): Promise<void> {
  const cluster = await ground();
  const deno = [Deno.execPath(), "run", "-A", "--no-check", ...await denoFlags()];
  const programs = {
    kubectl: [cluster.kubectlPath("1.36")],
    podwire: [...deno, new URL("cli.ts", ROOT).pathname],
  };
  const samples: Record<keyof typeof programs, Record<string, Sample>[]> = { kubectl: [], podwire: [] };
  await cluster.withPod({ node, spec: { hostNetwork: true } }, async ({ name, namespace }) => {
    for (let round = 0; round < rounds; round++) {
      for (const key of ["kubectl", "podwire"] as const) {
        const self = new URL(import.meta.url).pathname;
        const { code, stdout, stderr } = await cluster.run(
          [...deno, self, "inside", namespace, name, ...programs[key]],
          {
            env: cluster.environment(server),
            timeout: 180_000,
          },
        );
        if (code !== 0) throw new Error(`${key} ended with ${code}: ${stderr}`);
        samples[key].push(JSON.parse(stdout));
      }
    }
  });
  console.log(`medians of ${rounds} rounds on ${server}/${node}, podwire / kubectl (ratio)\n`);
  console.log("| workload | MiB/s or connections/s | CPU s | peak memory MiB so far |\n|---|---|---|---|");
  for (const name of Object.keys(WORKLOADS)) {
    const cell = (figure: keyof Sample, digits: number) => {
      const [ours = NaN, theirs = NaN] = (["podwire", "kubectl"] as const).map((key) => {
        const sorted = samples[key].map((sample) => sample[name]?.[figure] ?? NaN).sort((a, b) => a - b);
        return sorted[Math.floor(sorted.length / 2)];
      });
      return `${ours.toFixed(digits)} / ${theirs.toFixed(digits)} (${(ours / theirs).toFixed(2)})`;
    };
    console.log(`| ${name} | ${cell("rate", 0)} | ${cell("cpu", 2)} | ${cell("memory", 0)} |`);
  }
}

const [first = "5", second = "default", third = "node1", ...command] = Deno.args;
if (first === "inside") await inside(second, third, command);
else await outside(Number(first), second as ServerName, third as NodeName);
