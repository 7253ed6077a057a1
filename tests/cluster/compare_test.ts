/**
 * podwire beside kubectl 1.36: the same command lines on every row of the matrix, and over SPDY alone; stdout, stderr and exit code
 * are compared.
 */
import { assert, assertEquals } from "@std/assert";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { DIFFERENCES } from "./differences.ts";
import { type Ground, ground, type NodeName, type RunResult, type ServerName } from "./ground.ts";
import { type Invocation, INVOCATIONS } from "./invocations.ts";

/** A row, and whether WebSocket is tried there. */
interface Row {
  readonly server: ServerName;
  readonly node: NodeName;
  readonly webSockets: boolean;
}

/** The last two go over SPDY: where v5 is refused, and where nobody asks for it. */
const ROWS: readonly Row[] = [
  { server: "default", node: "node1", webSockets: true },
  { server: "default", node: "node2", webSockets: true },
  { server: "mid", node: "node1", webSockets: true },
  { server: "old", node: "node1", webSockets: true },
  { server: "old", node: "node2", webSockets: true },
  { server: "default", node: "node1", webSockets: false },
];

const IMAGE = { image: "localhost/busybox:1", imagePullPolicy: "Never" };
const SLEEP = { ...IMAGE, command: ["sleep", "infinity"] };

function fixtures(node: NodeName): unknown[] {
  const spec = (containers: unknown[], more: Record<string, unknown> = {}) => ({
    nodeName: node,
    terminationGracePeriodSeconds: 0,
    containers,
    ...more,
  });
  const pod = (name: string, podSpec: unknown, annotations = {}) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, annotations },
    spec: podSpec,
  });
  const main = { ...SLEEP, name: "main" };
  const side = { ...SLEEP, name: "side" };
  const setup = { ...IMAGE, name: "setup", command: ["true"] };
  const two = spec([main, side], { initContainers: [setup] });
  const workload = (apiVersion: string, kind: string, label: string, more: Record<string, unknown> = {}) => ({
    apiVersion,
    kind,
    metadata: { name: "web" },
    spec: {
      selector: { matchLabels: { app: label } },
      template: { metadata: { labels: { app: label } }, spec: spec([main]) },
      ...more,
    },
  });
  const service = (name: string, selector?: Record<string, string>) => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { ports: [{ port: 80 }], ...(selector && { selector }) },
  });
  return [
    pod("one", spec([main])),
    pod("two", two),
    pod("marked", two, { "kubectl.kubernetes.io/default-container": "side" }),
    pod("ended", spec([{ ...IMAGE, name: "main", command: ["true"] }], { restartPolicy: "Never" })),
    pod("half", spec([main, { ...IMAGE, name: "done", command: ["true"] }], { restartPolicy: "Never" })),
    pod("cat", spec([{ ...IMAGE, name: "main", command: ["sh", "-c", "while true; do cat; done"], stdin: true }])),
    workload("apps/v1", "Deployment", "web"),
    workload("apps/v1", "ReplicaSet", "web-rs"),
    workload("apps/v1", "StatefulSet", "web-sts", { serviceName: "web" }),
    workload("apps/v1", "DaemonSet", "web-ds"),
    {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "web" },
      spec: { template: { spec: spec([main], { restartPolicy: "Never" }) } },
    },
    service("web", { app: "web" }),
    service("bare"),
    service("empty", { app: "nobody" }),
  ];
}

async function must(cluster: Ground, args: string[], stdin?: string): Promise<void> {
  const { code, stderr } = await cluster.kubectl(args, { timeout: 120_000, ...(stdin && { stdin }) });
  assertEquals(code, 0, `kubectl ${args.join(" ")}: ${stderr}`);
}

/** Makes a namespace with the fixtures for one row, and removes it. */
async function withFixtures(
  cluster: Ground,
  node: NodeName,
  work: (namespace: string) => Promise<void>,
): Promise<void> {
  const namespace = `compare-${crypto.randomUUID().slice(0, 8)}`;
  await must(cluster, ["create", "namespace", namespace]);
  try {
    const list = { apiVersion: "v1", kind: "List", items: fixtures(node) };
    await must(cluster, ["wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=30s"]);
    await must(cluster, ["apply", "-n", namespace, "-f", "-"], JSON.stringify(list));
    const n = ["-n", namespace, "--timeout=60s"];
    await must(cluster, ["wait", "--for=condition=Ready", "pod/one", "pod/two", "pod/marked", "pod/cat", ...n]);
    await must(cluster, ["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/ended", ...n]);
    await must(cluster, ["wait", "--for=condition=Available", "deployment/web", ...n]);
    for (
      const [kind, path] of [["rs", "readyReplicas"], ["sts", "readyReplicas"], ["ds", "numberReady"], ["job", "ready"]]
    ) {
      await must(cluster, ["wait", `--for=jsonpath={.status.${path}}=1`, `${kind}/web`, ...n]);
    }
    await work(namespace);
  } finally {
    await must(cluster, ["delete", "namespace", namespace, "--wait=false"]);
  }
}

/** What differs from run to run: ids of containers and processes, ages, the program's own name. */
function normalize(text: string): string {
  return text
    .replaceAll(/\b[0-9a-f]{64}\b/g, "<id>")
    .replaceAll(/\b(\d+[smhdy])+\b/g, "<age>")
    .replaceAll(/\bweb-[a-z0-9]+(-[a-z0-9]+)?\b/g, "web-<id>")
    .replaceAll(/\bpodwire\b/g, "kubectl");
}

function run(
  cluster: Ground,
  program: readonly string[],
  { args, stdin, user = "admin" }: Invocation,
  { server, webSockets }: Row,
  namespace: string,
): Promise<RunResult> {
  // Behind the command's own arguments, as `--` ends the flags; a namespace of its own wins as it comes later.
  const [command = "", ...rest] = args;
  return cluster.run([...program, command, "-n", namespace, ...rest], {
    env: { ...cluster.environment(server, user), KUBECTL_REMOTE_COMMAND_WEBSOCKETS: String(webSockets) },
    stdin: stdin ?? "",
    timeout: 60_000,
  });
}

const sanitizers = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false }; // Steps that run at once cannot have them.

Deno.test({
  name: "podwire does as kubectl does on every row",
  ...sanitizers,
  async fn(t) {
    const cluster = await ground();
    const kubectl = [cluster.kubectlPath("1.36")];
    const cli = new URL("cli.ts", ROOT).pathname;
    const podwire = [Deno.execPath(), "run", "-A", "--no-check", ...await denoFlags(), cli];
    const both = async (invocation: Invocation, row: Row, namespace: string) => {
      const theirs = await run(cluster, kubectl, invocation, row, namespace);
      const ours = await run(cluster, podwire, invocation, row, namespace);
      compare(invocation, theirs, ours);
    };
    const rows = ROWS.map((row) =>
      t.step({
        name: `${row.server}/${row.node}${row.webSockets ? "" : " over SPDY"}`,
        ...sanitizers,
        fn: (t) =>
          withFixtures(cluster, row.node, async (namespace) => {
            for (const invocation of INVOCATIONS) {
              const name = `${invocation.args.join(" ")}${invocation.user ? ` (as ${invocation.user})` : ""}`;
              await t.step({ name, ...sanitizers, fn: () => both(invocation, row, namespace) });
            }
          }),
      })
    );
    await Promise.all(rows);
  },
});

function compare(invocation: Invocation, theirs: RunResult, ours: RunResult): void {
  const difference = DIFFERENCES.find(({ args, user }) =>
    args.test(invocation.args.join(" ")) && (user === undefined || user === invocation.user)
  );
  for (const stream of ["stdout", "stderr"] as const) {
    const expected = difference?.[stream];
    if (expected) {
      assert(expected.kubectl.test(theirs[stream]), `kubectl's ${stream} has changed: ${theirs[stream]}`);
      assert(expected.podwire.test(ours[stream]), `${stream}: ${ours[stream]}`);
    } else {
      assertEquals(normalize(ours[stream]), normalize(theirs[stream]), stream);
    }
  }
  const codes = { kubectl: theirs.code, podwire: ours.code };
  assertEquals(codes, difference?.code ?? { kubectl: theirs.code, podwire: theirs.code }, "exit codes");
}
