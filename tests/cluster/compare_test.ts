/**
 * podwire beside kubectl 1.36: the same command lines on every row of the matrix, and over SPDY alone; stdout, stderr and exit code
 * are compared.
 */
import { BUSYBOX, compare, namespaceWith, noSanitizers } from "./comparison.ts";
import { DIFFERENCES } from "./differences.ts";
import { type Ground, ground, type NodeName, type RunResult, type ServerName } from "./ground.ts";
import { type Invocation, INVOCATIONS } from "./invocations.ts";
import { podwire } from "./podwire.ts";

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

const SLEEP = { ...BUSYBOX, command: ["sleep", "infinity"] };

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
  const setup = { ...BUSYBOX, name: "setup", command: ["true"] };
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
    pod("ended", spec([{ ...BUSYBOX, name: "main", command: ["true"] }], { restartPolicy: "Never" })),
    pod("half", spec([main, { ...BUSYBOX, name: "done", command: ["true"] }], { restartPolicy: "Never" })),
    pod("cat", spec([{ ...BUSYBOX, name: "main", command: ["sh", "-c", "while true; do cat; done"], stdin: true }])),
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

/** A namespace with the fixtures on one node. */
function namespaceOn(cluster: Ground, node: NodeName): ReturnType<typeof namespaceWith> {
  return namespaceWith(cluster, "compare", fixtures(node), [
    ["--for=condition=Ready", "pod/one", "pod/two", "pod/marked", "pod/cat"],
    ["--for=jsonpath={.status.phase}=Succeeded", "pod/ended"],
    ["--for=condition=Available", "deployment/web"],
    ["--for=jsonpath={.status.readyReplicas}=1", "rs/web"],
    ["--for=jsonpath={.status.readyReplicas}=1", "sts/web"],
    ["--for=jsonpath={.status.numberReady}=1", "ds/web"],
    ["--for=jsonpath={.status.ready}=1", "job/web"],
  ]);
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
  { args, stdin, endsAfter, user = "admin" }: Invocation,
  { server, webSockets }: Row,
  namespace: string,
): Promise<RunResult> {
  // Behind the command's own arguments, as `--` ends the flags; a namespace of its own wins as it comes later.
  const [command = "", ...rest] = args;
  return cluster.run([...program, command, "-n", namespace, ...rest], {
    env: { ...cluster.environment(server, user), KUBECTL_REMOTE_COMMAND_WEBSOCKETS: String(webSockets) },
    stdin: stdin ?? "",
    ...(endsAfter !== undefined && { endsAfter }),
    timeout: 60_000,
  });
}

Deno.test({
  name: "podwire does as kubectl does on every row",
  ...noSanitizers,
  async fn(t) {
    const cluster = await ground();
    const kubectl = [cluster.kubectlPath("1.36")];
    const mine = await podwire();
    const both = async (invocation: Invocation, row: Row, namespace: string) => {
      const theirs = await run(cluster, kubectl, invocation, row, namespace);
      const ours = await run(cluster, mine, invocation, row, namespace);
      const difference = DIFFERENCES.find(({ args, user }) =>
        args.test(invocation.args.join(" ")) && (user === undefined || user === invocation.user)
      );
      compare(theirs, ours, difference, normalize);
    };
    const rows = ROWS.map((row) =>
      t.step({
        name: `${row.server}/${row.node}${row.webSockets ? "" : " over SPDY"}`,
        ...noSanitizers,
        async fn(t) {
          await using namespace = await namespaceOn(cluster, row.node);
          for (const invocation of INVOCATIONS) {
            const name = `${invocation.args.join(" ")}${invocation.user ? ` (as ${invocation.user})` : ""}`;
            await t.step({ name, ...noSanitizers, fn: () => both(invocation, row, namespace.name) });
          }
        },
      })
    );
    await Promise.all(rows);
  },
});
