/**
 * kubectl of three ages through `podwire gateway` beside the same kubectl directly, on every row of the matrix; stdout, stderr and
 * exit code are compared. Over TCP all of it; where it matters most also through two gateways in a row, `podwire with` and one on a
 * unix socket.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { BUSYBOX, compare, namespaceWith, noSanitizers } from "./comparison.ts";
import { GATEWAY_DIFFERENCES, type Script, SCRIPTS } from "./gateway_scripts.ts";
import { GatewayProcess } from "./gateway_ground.ts";
import { type Ground, ground, NODE_NAMES, type NodeName, type RunResult, type ServerName } from "./ground.ts";
import { podwire } from "./podwire.ts";

/**
 * Users of few rights take a gateway each: they, and unix sockets, come on two rows only. What opens no stream is the same for all
 * nodes, and for an older kubectl on all servers.
 */
const ROWS: ReadonlyArray<{ readonly server: ServerName; readonly node: NodeName; readonly whole?: true }> = [
  { server: "default", node: "node1", whole: true },
  { server: "default", node: "node2" },
  { server: "mid", node: "node1" },
  { server: "old", node: "node1" },
  { server: "old", node: "node2", whole: true },
];

const VERSIONS = ["1.36", "1.32", "1.28"] as const;
type Version = typeof VERSIONS[number];

function fixtures(node: NodeName): unknown[] {
  const container = (name: string, script: string) => ({ ...BUSYBOX, name, command: ["sh", "-c", script] });
  const sleep = "exec sleep infinity";
  const pod = (name: string, containers: unknown[], more: Record<string, unknown> = {}) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: { nodeName: node, terminationGracePeriodSeconds: 0, containers, ...more },
  });
  const serve = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www";
  return [
    pod("one", [container("main", serve)]),
    pod("two", [container("main", sleep), container("side", sleep)]),
    pod("cat", [{ ...container("main", "echo begin; while true; do cat; done"), stdin: true }]),
    pod("ended", [container("main", "echo 1; sleep 1; echo 2; sleep 1; echo 3")], { restartPolicy: "Never" }),
  ];
}

/** A namespace with the fixtures on one node. */
function namespaceOn(cluster: Ground, node: NodeName): ReturnType<typeof namespaceWith> {
  return namespaceWith(cluster, "gateway", fixtures(node), [
    ["--for=condition=Ready", "pod/one", "pod/two", "pod/cat"],
    ["--for=jsonpath={.status.phase}=Succeeded", "pod/ended"],
  ]);
}

/** A way to an API server. */
interface Way {
  readonly kubeconfig: string;
  /** Words in front of the script's. */
  readonly before?: readonly string[];
}

/** Where a script runs. */
interface Place {
  readonly cluster: Ground;
  readonly namespace: string;
  readonly version: Version;
  readonly row: string;
  readonly lock: string;
}

async function run(place: Place, { run: script }: Script, { kubeconfig, before = [] }: Way): Promise<RunResult> {
  const { cluster, namespace, version, row, lock } = place;
  const folder = await Deno.makeTempDir({ prefix: "podwire-script-" });
  try {
    const env = {
      KUBECONFIG: kubeconfig,
      KUBECACHEDIR: `${cluster.environment().KUBECACHEDIR}`,
      DIR: folder,
      LOCK: lock,
      RUN: `${row}-${version}`.replace("/", "-"),
      k: `${cluster.kubectlPath(version)} -n ${namespace}`,
    };
    const result = await cluster.run([...before, "sh", "-c", script], { env, stdin: "", timeout: 60_000 });
    const text = (value: string) => normalize(value.replaceAll(folder, "<folder>"));
    return { ...result, stdout: text(result.stdout), stderr: text(result.stderr) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * What differs from run to run: ids, times, free ports; two complaints of kubectl's, whose reader may start before its streams, and
 * which may still be copying when a forwarded connection has failed; what the container's tar says when kubectl may have gone.
 */
function normalize(text: string): string {
  return text
    .replaceAll(/^tar: removing leading '\/' from member names\n/gm, "")
    .replaceAll(/^.*Unknown stream id \d, discarding message\n/gm, "")
    .replaceAll(/^E\d{4} .* err="error copying from local connection to remote stream: .*\n/gm, "")
    .replaceAll(/\b[0-9a-f]{64}\b/g, "<id>")
    .replaceAll(/\bE\d{4} [\d:.]+ +\d+ /g, "E<time> ")
    .replaceAll(/\b127\.0\.0\.1:[3-6]\d{4}\b/g, "127.0.0.1:<port>")
    .replaceAll(/\b(forwarding|for) [3-6]\d{4}\b/g, "$1 <port>")
    .replaceAll(/\b(\d+[smhd])+\b/g, "<age>");
}

Deno.test({
  name: "kubectl 1.36, 1.32 and 1.28 do through a gateway as they do directly, on every row",
  ...noSanitizers,
  async fn(t) {
    const cluster = await ground();
    await using stack = new AsyncDisposableStack();
    const keep = async <T extends AsyncDisposable>(made: Promise<T>) => stack.use(await made);
    const folder = await Deno.makeTempDir({ prefix: "podwire-locks-" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const gateways = new Map<string, Promise<GatewayProcess>>();
    /** The gateway of a user at an API server; there is one for all that need it. */
    const gateway = (server: ServerName, user: Script["user"] = "admin", listen?: "unix") => {
      const key = `${server} ${user} ${listen}`;
      const options = { server, user, ...(listen && { listen }) };
      const made = gateways.get(key) ?? keep(GatewayProcess.start(cluster, options));
      gateways.set(key, made);
      return made;
    };
    const throughTcp = async (server: ServerName, { user }: Script): Promise<Way> => ({
      kubeconfig: (await gateway(server, user)).kubeconfig,
    });
    const throughUnix = async (server: ServerName): Promise<Way> => {
      const { kubeconfig } = await gateway(server, "admin", "unix");
      return { kubeconfig, before: [...await podwire(), "with", "--"] };
    };
    const namespaces = await Promise.all(NODE_NAMES.map((node) => keep(namespaceOn(cluster, node))));

    const steps = ROWS.flatMap(({ server, node, whole }) =>
      VERSIONS.map((version) =>
        t.step({
          name: `kubectl ${version} on ${server}/${node}`,
          ...noSanitizers,
          async fn(t) {
            const namespace = namespaces[NODE_NAMES.indexOf(node)]!.name;
            const place = { cluster, namespace, version, row: `${server}/${node}`, lock: `${folder}/${node}` };
            const isPlainHere = node === "node1" && (server === "default" || version === "1.36");
            const isHere = ({ streams, user = "admin" }: Script) =>
              (streams || isPlainHere) && (user === "admin" || whole);
            for (const script of SCRIPTS.filter(isHere)) {
              await t.step({
                name: script.name,
                ...noSanitizers,
                async fn() {
                  const direct = await run(place, script, { kubeconfig: cluster.kubeconfig(server, script.user) });
                  const compareOver = async (what: string, way: Way) => {
                    const invocation = `${script.name} over ${what} by ${version}`;
                    const difference = GATEWAY_DIFFERENCES.find(({ args }) => args.test(invocation));
                    compare(direct, await run(place, script, way), difference);
                  };
                  await compareOver("TCP", await throughTcp(server, script));
                  if (!whole || version !== "1.36" || script.user) return;
                  await compareOver("a unix socket", await throughUnix(server));
                },
              });
            }
          },
        })
      )
    );
    await Promise.all(steps);
    for (const made of gateways.values()) {
      const { code, stderr } = await (await made).end();
      assertEquals(code, 0, stderr);
      assertMatch(stderr, /End it with Ctrl-C\.\nEnding when .*\n$/, "it said nothing more");
    }
  },
});
