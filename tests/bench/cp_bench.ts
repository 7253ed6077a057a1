/**
 * `podwire cp` beside `kubectl cp` on the test cluster, in the same run. Prints medians and ratios; nothing here passes or
 * fails. Needs `deno task cluster up`.
 *
 * podwire compares SHA-256 on both ends, which kubectl does not: the container's `sha256sum` shares the machine's processors here.
 *
 * @module
 */
import { ground, type NodeName, type ServerName } from "../cluster/ground.ts";
import { denoFlags, ROOT } from "../offline/flags.ts";

const LARGE = 512 << 20;

/** One figure of one workload: seconds, seconds of CPU, MiB at most. */
interface Sample {
  readonly time: number;
  readonly cpu: number;
  readonly memory: number;
}

const [rounds = "3", server = "default", node = "node1"] = Deno.args;
const cluster = await ground();
const deno = [Deno.execPath(), "run", "-A", "--no-check", ...await denoFlags()];
const programs = {
  kubectl: [cluster.kubectlPath("1.36")],
  podwire: [...deno, new URL("cli.ts", ROOT).pathname],
};
const samples: Record<string, Record<keyof typeof programs, Sample[]>> = {};
const folder = await Deno.makeTempDir({ prefix: "podwire-cp-bench-" });

/** Runs a program under GNU time. */
async function measure(command: readonly string[]): Promise<Sample> {
  const report = `${folder}/time`;
  const timed = ["/usr/bin/time", "-o", report, "-f", "%e %U %S %M", ...command];
  const options = { cwd: folder, env: cluster.environment(server as ServerName), timeout: 300_000 };
  const { code, stderr } = await cluster.run(timed, options);
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}: ${stderr}`);
  const [time = NaN, user = NaN, system = NaN, memory = NaN] = (await Deno.readTextFile(report)).split(" ").map(Number);
  return { time, cpu: user + system, memory: memory / 1024 };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

try {
  await Deno.mkdir(`${folder}/tree`);
  const make = `head -c ${LARGE} /dev/urandom >large
for d in {1..100}; do mkdir tree/d$d; for f in {1..100}; do echo "$d $f" >tree/d$d/f$f; done; done`;
  await new Deno.Command("bash", { args: ["-c", make], cwd: folder }).output();
  await cluster.withPod({ node: node as NodeName, prefix: "cp" }, async ({ name }) => {
    for (let round = 0; round < Number(rounds); round++) {
      for (const key of ["kubectl", "podwire"] as const) {
        const workloads = {
          "512 MiB up": ["large", `${name}:/tmp/large`],
          "512 MiB down": [`${name}:/tmp/large`, "large-down"],
          "10,000 files up": ["tree", `${name}:/tmp/tree`],
          "10,000 files down": [`${name}:/tmp/tree`, "tree-down"],
        };
        for (const [workload, args] of Object.entries(workloads)) {
          const row = samples[workload] ??= { kubectl: [], podwire: [] };
          row[key].push(await measure([...programs[key], "cp", ...args]));
        }
        await cluster.kubectl(["exec", name, "--", "rm", "-rf", "/tmp/large", "/tmp/tree"]);
        await new Deno.Command("rm", { args: ["-rf", "large-down", "tree-down"], cwd: folder }).output();
      }
    }
  });
} finally {
  await Deno.remove(folder, { recursive: true });
}
console.log(`medians of ${rounds} rounds on ${server}/${node}, podwire / kubectl (ratio)\n`);
console.log("| workload | seconds | CPU s | peak memory MiB |\n|---|---|---|---|");
for (const [workload, row] of Object.entries(samples)) {
  const cell = (figure: keyof Sample, digits: number) => {
    const [ours, theirs] = [median(row.podwire.map((s) => s[figure])), median(row.kubectl.map((s) => s[figure]))];
    return `${ours.toFixed(digits)} / ${theirs.toFixed(digits)} (${(ours / theirs).toFixed(2)})`;
  };
  console.log(`| ${workload} | ${cell("time", 1)} | ${cell("cpu", 2)} | ${cell("memory", 0)} |`);
}
