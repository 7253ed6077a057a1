/**
 * `deno task bench`: podwire beside kubectl 1.36 on the test cluster, in the same run. Prints medians and ratios; nothing here
 * passes or fails. Needs `deno task cluster up` and Debian's `time`.
 *
 * @module
 */
import { ground } from "../cluster/ground.ts";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { benchCp } from "./cp_bench.ts";
import { median } from "./median.ts";

interface Workload {
  readonly name: string;
  /** The arguments after `exec`, with `POD` for the pod's name. */
  readonly args: string;
  /** Bytes that pass, for the rate. */
  readonly bytes?: number;
  /** Whether the bytes go in. */
  readonly input?: boolean;
}

const MIB = 1 << 20;
const WORKLOADS: readonly Workload[] = [
  { name: "dd bs=1M count=512", args: "POD -- dd if=/dev/zero bs=1M count=512", bytes: 512 * MIB },
  { name: "head -c 256M (4 KiB writes)", args: `POD -- head -c ${256 * MIB} /dev/zero`, bytes: 256 * MIB },
  { name: "512 MiB to stdin", args: "-i POD -- wc -c", bytes: 512 * MIB, input: true },
  { name: "true", args: "POD -- true" },
];

interface Sample {
  readonly wall: number;
  readonly cpu: number;
  readonly rss: number;
}

const ROUNDS = Number(Deno.args[0] ?? 5);

const cluster = await ground();
const programs = {
  kubectl: cluster.kubectlPath("1.36"),
  podwire: [Deno.execPath(), "run", "-A", "--no-check", ...await denoFlags(), new URL("cli.ts", ROOT).pathname].join(
    " ",
  ),
};

async function measure(program: string, args: string, input: string): Promise<Sample> {
  const line = `exec time -f '%e %U %S %M' ${program} exec ${args} < ${input} > /dev/null`;
  const { code, stderr } = await cluster.run(["bash", "-c", line], {
    env: cluster.environment(),
    timeout: 120_000,
  });
  const figures = stderr.trim().split("\n").at(-1)?.split(" ").map(Number) ?? [];
  if (code !== 0 || figures.length !== 4) throw new Error(`${line} ended with ${code}: ${stderr}`);
  const [wall = 0, user = 0, sys = 0, rss = 0] = figures;
  return { wall, cpu: user + sys, rss: rss / 1024 };
}

function medianOf(samples: readonly Sample[], figure: keyof Sample): number {
  return median(samples.map((sample) => sample[figure]));
}

const zeros = await Deno.makeTempFile({ prefix: "podwire-bench-" });
await Deno.truncate(zeros, 512 * MIB);
console.log(`medians of ${ROUNDS} rounds, podwire / kubectl (ratio)\n`);
console.log("| workload | rate MiB/s | wall s | CPU s | peak memory MiB |\n|---|---|---|---|---|");
try {
  await cluster.withPod({ node: "node1" }, async (pod) => {
    for (const { name, args, bytes, input } of WORKLOADS) {
      const samples: Record<keyof typeof programs, Sample[]> = { kubectl: [], podwire: [] };
      for (let round = 0; round < ROUNDS; round++) {
        for (const key of ["kubectl", "podwire"] as const) {
          samples[key].push(await measure(programs[key], args.replace("POD", pod.name), input ? zeros : "/dev/null"));
        }
      }
      const cell = (figure: keyof Sample, digits: number) => {
        const [ours, theirs] = [medianOf(samples.podwire, figure), medianOf(samples.kubectl, figure)];
        return `${ours.toFixed(digits)} / ${theirs.toFixed(digits)} (${(ours / theirs).toFixed(2)})`;
      };
      const rate = (key: keyof typeof programs) => (bytes ?? 0) / MIB / medianOf(samples[key], "wall");
      const rates = bytes === undefined
        ? "–"
        : `${rate("podwire").toFixed(0)} / ${rate("kubectl").toFixed(0)} (${
          (rate("podwire") / rate("kubectl")).toFixed(2)
        })`;
      console.log(`| ${name} | ${rates} | ${cell("wall", 2)} | ${cell("cpu", 2)} | ${cell("rss", 0)} |`);
    }
  });
} finally {
  await Deno.remove(zeros);
}
console.log();
await benchCp();
