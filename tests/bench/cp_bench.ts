/**
 * `podwire cp` beside `kubectl cp` on the test cluster, in the same run. Prints medians and ratios; nothing here passes or
 * fails. Needs `deno task cluster up` and Debian's `time`.
 *
 *     deno run -A tests/bench/cp_bench.ts [ROUNDS [SERVER [NODE [WIRE]]]]
 *
 * WIRE is what podwire goes over (`--wire`); kubectl takes its own choice.
 * podwire compares SHA-256 on both ends, which kubectl does not: the container's `sha256sum` shares the machine's processors here.
 * Everything lies in memory on both sides. On ext4 a program that makes files soon after others were removed pays for a search of
 * free inodes, several times what the copy itself costs, so that the figures would tell who went second.
 *
 * @module
 */
import { ground, type NodeName, type ServerName } from "../cluster/ground.ts";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { median } from "./median.ts";

const LARGE = 512 << 20;

/** One figure of one workload: seconds, seconds of CPU, MiB at most. */
interface Sample {
  readonly time: number;
  readonly cpu: number;
  readonly memory: number;
}

type Program = "kubectl" | "podwire";

/** Prints a table of all workloads. */
export async function benchCp(
  rounds = 3,
  server: ServerName = "default",
  node: NodeName = "node1",
  wire = "auto",
): Promise<void> {
  const cluster = await ground();
  const deno = [Deno.execPath(), "run", "-A", "--no-check", ...await denoFlags()];
  const programs: Readonly<Record<Program, readonly string[]>> = {
    kubectl: [cluster.kubectlPath("1.36")],
    podwire: [...deno, new URL("cli.ts", ROOT).pathname, `--wire=${wire}`],
  };
  const samples: Record<string, Record<Program, Sample[]>> = {};
  const folder = await Deno.makeTempDir({ dir: "/dev/shm", prefix: "podwire-cp-bench-" });

  /** Runs a program under GNU time. */
  const measure = async (command: readonly string[]): Promise<Sample> => {
    const report = `${folder}/time`;
    const timed = ["/usr/bin/time", "-o", report, "-f", "%e %U %S %M", ...command];
    const { code, stderr } = await cluster.run(timed, {
      cwd: folder,
      env: cluster.environment(server),
      timeout: 300_000,
    });
    if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}: ${stderr}`);
    const figures = (await Deno.readTextFile(report)).split(" ").map(Number);
    const [time = NaN, user = NaN, system = NaN, memory = NaN] = figures;
    return { time, cpu: user + system, memory: memory / 1024 };
  };

  const before = Deno.loadavg();
  try {
    await Deno.mkdir(`${folder}/tree`);
    const make = `head -c ${LARGE} /dev/urandom >large
for d in {1..100}; do mkdir tree/d$d; for f in {1..100}; do echo "$d $f" >tree/d$d/f$f; done; done`;
    await new Deno.Command("bash", { args: ["-c", make], cwd: folder }).output();
    const mount = { volumeMounts: [{ name: "memory", mountPath: "/m" }] };
    await cluster.withPod({
      node,
      prefix: "cp",
      containers: [{ name: "main", command: ["sleep", "infinity"], ...mount }],
      spec: { volumes: [{ name: "memory", emptyDir: { medium: "Memory" } }] },
    }, async ({ name }) => {
      const workloads = {
        "512 MiB up": ["large", `${name}:/m/large`],
        "512 MiB down": [`${name}:/m/large`, "large-down"],
        "10,000 files up": ["tree", `${name}:/m/tree`],
        "10,000 files down": [`${name}:/m/tree`, "tree-down"],
      };
      for (let round = 0; round < rounds; round++) {
        const order: readonly Program[] = round % 2 === 0 ? ["kubectl", "podwire"] : ["podwire", "kubectl"];
        for (const program of order) {
          for (const [workload, args] of Object.entries(workloads)) {
            const row = samples[workload] ??= { kubectl: [], podwire: [] };
            row[program].push(await measure([...programs[program], "cp", ...args]));
          }
          await cluster.kubectl(["exec", name, "--", "rm", "-rf", "/m/large", "/m/tree"]);
          await new Deno.Command("rm", { args: ["-rf", "large-down", "tree-down"], cwd: folder }).output();
        }
      }
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const load = [before, Deno.loadavg()].map(([minute = NaN]) => minute.toFixed(1)).join(" and ");
  console.log(`cp: medians of ${rounds} rounds on ${server}/${node}, --wire=${wire}, podwire / kubectl (ratio)`);
  console.log(`load before and after, on ${navigator.hardwareConcurrency} processors: ${load}\n`);
  console.log("| workload | seconds | CPU s | peak memory MiB |\n|---|---|---|---|");
  for (const [workload, row] of Object.entries(samples)) {
    const cell = (figure: keyof Sample, digits: number) => {
      const [ours, theirs] = [median(row.podwire.map((s) => s[figure])), median(row.kubectl.map((s) => s[figure]))];
      return `${ours.toFixed(digits)} / ${theirs.toFixed(digits)} (${(ours / theirs).toFixed(2)})`;
    };
    console.log(`| ${workload} | ${cell("time", 1)} | ${cell("cpu", 2)} | ${cell("memory", 0)} |`);
  }
}

if (import.meta.main) {
  const [rounds = "3", server = "default", node = "node1", wire] = Deno.args;
  await benchCp(Number(rounds), server as ServerName, node as NodeName, wire);
}
