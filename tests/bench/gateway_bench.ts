/**
 * kubectl 1.36 through `podwire gateway` beside kubectl directly, in the same run on the test cluster: how fast one stream is, and what
 * translating costs the gateway and the API server for the same bytes. Prints medians and ratios; nothing here passes or fails. Needs
 * `deno task cluster up` and Debian's `time`. It takes less than three minutes.
 *
 *     deno run -A tests/bench/gateway_bench.ts [ROUNDS]
 *
 * @module
 */
import { GatewayProcess } from "../cluster/gateway_ground.ts";
import { ground, type ServerName, type TestPod } from "../cluster/ground.ts";
import { processes } from "../cluster/process.ts";
import { SERVERS } from "../cluster/shape.ts";
import { denoFlags } from "../offline/flags.ts";
import { median } from "./median.ts";

const MIB = 1 << 20;
const SIZE = 256 * MIB;
const ROUNDS = Number(Deno.args[0] ?? 3);

/** The arguments after `exec`, with `POD` for the pod's name; the first reads and the second writes {@linkcode SIZE} bytes. */
const COMMANDS = {
  "exec, from the command": `POD -- dd if=/dev/zero bs=1M count=${SIZE / MIB}`,
  "exec, to the command": "-i POD -- wc -c",
} as const;

const cluster = await ground();

/** Runs kubectl exec, and returns MiB a second. */
async function exec(kubeconfig: string, args: string, input: string): Promise<number> {
  const line = `exec time -f %e ${cluster.kubectlPath()} exec ${args} < ${input} > /dev/null`;
  const env = { ...cluster.environment(), KUBECONFIG: kubeconfig };
  const { code, stderr } = await cluster.run(["bash", "-c", line], { env, timeout: 120_000 });
  if (code !== 0) throw new Error(`${line} ended with ${code}: ${stderr}`);
  return SIZE / MIB / Number(stderr.trim().split("\n").at(-1));
}

/** Runs the workloads of `port_forward_bench.ts`, and returns the rates of those with one stream. */
async function forward(kubeconfig: string, { namespace, name }: TestPod): Promise<Record<string, number>> {
  const script = new URL("port_forward_bench.ts", import.meta.url).pathname;
  const command = [Deno.execPath(), "run", "-A", "--no-check", ...await denoFlags(), script, "inside", namespace, name];
  const env = { ...cluster.environment(), KUBECONFIG: kubeconfig };
  const { code, stdout, stderr } = await cluster.run([...command, cluster.kubectlPath()], { env, timeout: 120_000 });
  if (code !== 0) throw new Error(`the port-forward ended with ${code}: ${stderr}`);
  const samples: Record<string, { readonly rate: number }> = JSON.parse(stdout);
  const streams = Object.entries(samples).filter(([workload]) => workload.includes("MiB"));
  return Object.fromEntries(streams.map(([workload, { rate }]) => [`port-forward, ${workload}`, rate]));
}

/** CPU of a process so far, in seconds; Linux counts in hundredths. */
function cpuOf(pid: number): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The process of an API server. */
function processOf(server: ServerName): number {
  const port = `--secure-port=${SERVERS[server].port}`;
  for (const { pid, args } of processes()) {
    if (args[0]?.endsWith("/kube-apiserver") && args.includes(port)) return pid;
  }
  throw new Error(`the API server ${server} does not run`);
}

/** CPU that a process takes for `work`, in seconds, without what it takes when nothing is asked of it. */
async function cost(pid: number, idle: number, work: () => Promise<unknown>): Promise<number> {
  const [cpu, began] = [cpuOf(pid), performance.now()];
  await work();
  return cpuOf(pid) - cpu - idle * (performance.now() - began) / 1000;
}

/** CPU seconds a second of a process that is left alone. */
async function idleOf(pid: number): Promise<number> {
  const before = cpuOf(pid);
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  return (cpuOf(pid) - before) / 5;
}

/** What two ways came to, by workload. */
class Samples {
  readonly #samples = new Map<string, { readonly through: number[]; readonly direct: number[] }>();

  add(workload: string, way: "through" | "direct", value: number): void {
    const both = this.#samples.get(workload) ?? { through: [], direct: [] };
    both[way].push(value);
    this.#samples.set(workload, both);
  }

  print(): void {
    for (const [workload, { through, direct }] of this.#samples) {
      const [ours, theirs] = [median(through), median(direct)];
      console.log(`| ${workload} | ${ours.toFixed(2)} | ${theirs.toFixed(2)} | ${(ours / theirs).toFixed(2)} |`);
    }
  }
}

const zeros = await Deno.makeTempFile({ prefix: "podwire-bench-" });
await Deno.truncate(zeros, SIZE);
try {
  await cluster.withPod({ node: "node1", spec: { hostNetwork: true } }, async (pod) => {
    const inputOf = (workload: string) => workload.includes("to the") ? zeros : "/dev/null";
    const commands = Object.entries(COMMANDS).map(([name, args]) => [name, args.replace("POD", pod.name)] as const);

    await using gateway = await GatewayProcess.start(cluster);
    const ways = { through: gateway.kubeconfig, direct: cluster.kubeconfig() };
    const speeds = new Samples();
    for (let round = 0; round < ROUNDS; round++) {
      for (const [way, kubeconfig] of Object.entries(ways) as ["through" | "direct", string][]) {
        for (const [name, args] of commands) speeds.add(name, way, await exec(kubeconfig, args, inputOf(name)));
        const rates = await forward(kubeconfig, pod);
        for (const [name, rate] of Object.entries(rates)) speeds.add(name, way, rate);
      }
    }
    console.log(`medians of ${ROUNDS} rounds on default/node1\n`);
    console.log("| one stream | MiB/s through the gateway | MiB/s directly | ratio |\n|---|---|---|---|");
    speeds.print();

    // The API server `mid` translates to SPDY whatever the node takes. Behind the gateway it gets SPDY, and passes that on.
    await using translator = await GatewayProcess.start(cluster, { server: "mid", args: ["--wire", "spdy"] });
    const translating = { through: translator.pid, direct: processOf("mid") };
    const kubeconfigs = { through: translator.kubeconfig, direct: cluster.kubeconfig("mid") };
    const costs = new Samples();
    for (const way of ["through", "direct"] as const) {
      await exec(kubeconfigs[way], commands[0]![1], "/dev/null"); // Until its code is compiled.
      const idle = await idleOf(translating[way]);
      for (let round = 0; round < ROUNDS; round++) {
        for (const [name, args] of commands) {
          const work = () => exec(kubeconfigs[way], args, inputOf(name));
          costs.add(name, way, await cost(translating[way], idle, work));
        }
      }
    }
    console.log("\n| WebSocket to SPDY | CPU s of the gateway | CPU s of the API server | ratio |\n|---|---|---|---|");
    costs.print();
  });
} finally {
  await Deno.remove(zeros);
}
