/**
 * podwire port-forward beside kubectl 1.36: the same command lines where the tunnel goes to the kubelet, where it ends in the API server,
 * and where SPDY has to do; stdout, stderr and exit code are compared.
 */
import { assert, assertEquals } from "@std/assert";
import { BUSYBOX, compare, namespaceWith, noSanitizers } from "./comparison.ts";
import { type Ground, ground, type NodeName, type ServerName } from "./ground.ts";
import { podwire } from "./podwire.ts";
import { type Forward, FORWARD_DIFFERENCES, FORWARDS } from "./port_forward_compare.ts";
import { until } from "./process.ts";

const ROWS: ReadonlyArray<{ readonly server: ServerName; readonly node: NodeName }> = [
  { server: "default", node: "node1" },
  { server: "mid", node: "node1" },
  { server: "old", node: "node2" },
];

function fixtures(node: NodeName): unknown[] {
  const serve = "mkdir -p /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www";
  const main = {
    ...BUSYBOX,
    name: "main",
    command: ["sh", "-c", serve],
    ports: [
      { name: "http", containerPort: 8080 },
      { name: "dns", containerPort: 53, protocol: "UDP" },
      { name: "both", containerPort: 54 },
      { name: "both-udp", containerPort: 54, protocol: "UDP" },
    ],
  };
  const spec = (container: unknown, more: Record<string, unknown> = {}) => ({
    nodeName: node,
    terminationGracePeriodSeconds: 0,
    containers: [container],
    ...more,
  });
  const setup = { ...BUSYBOX, name: "setup", command: ["true"], ports: [{ name: "setup", containerPort: 7777 }] };
  const pod = (name: string, podSpec: unknown) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: podSpec,
  });
  const workload = (kind: string, label: string, more: Record<string, unknown> = {}) => ({
    apiVersion: "apps/v1",
    kind,
    metadata: { name: "web" },
    spec: {
      selector: { matchLabels: { app: label } },
      template: { metadata: { labels: { app: label } }, spec: spec(main) },
      ...more,
    },
  });
  const service = (name: string, serviceSpec: unknown) => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: serviceSpec,
  });
  return [
    pod("one", spec(main, { initContainers: [setup] })),
    pod("plain", spec({ ...BUSYBOX, name: "main", command: ["sleep", "infinity"] })),
    pod("pending", { ...spec(main), nodeName: undefined, nodeSelector: { "no-such": "node" } }),
    pod("ended", spec({ ...BUSYBOX, name: "main", command: ["true"] }, { restartPolicy: "Never" })),
    workload("Deployment", "web"),
    workload("StatefulSet", "web-sts", { serviceName: "web" }),
    service("web", {
      selector: { app: "web" },
      ports: [
        { name: "named", port: 80, targetPort: "http" },
        { name: "number", port: 81, targetPort: 8080 },
        { name: "same", port: 8080 },
        { name: "dns", port: 53, protocol: "UDP" },
        { name: "both", port: 54 },
        { name: "both-udp", port: 54, protocol: "UDP" },
        { name: "lost", port: 90, targetPort: "nowhere" },
      ],
    }),
    service("headless", {
      selector: { app: "web" },
      clusterIP: "None",
      ports: [{ name: "http", port: 80, targetPort: 8080 }],
    }),
    service("bare", { ports: [{ port: 80 }] }),
    service("empty", { selector: { app: "nobody" }, ports: [{ port: 80 }] }),
  ];
}

/** A namespace with the fixtures on one node. */
function namespaceOn(cluster: Ground, node: NodeName): ReturnType<typeof namespaceWith> {
  return namespaceWith(cluster, "forward", fixtures(node), [
    ["--for=condition=Ready", "pod/one", "pod/plain"],
    ["--for=jsonpath={.status.phase}=Succeeded", "pod/ended"],
    ["--for=jsonpath={.status.readyReplicas}=1", "deployment/web", "sts/web"],
  ]);
}

/** Serves a page on a port of 127.0.0.1 among the cluster's programs. */
async function occupy(cluster: Ground, port: number): Promise<AsyncDisposable> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-taken-" });
  await Deno.writeTextFile(`${folder}/index.html`, "taken\n");
  const [program = "", ...args] = [...cluster.enter, "busybox", "httpd", "-f", "-p", `127.0.0.1:${port}`, "-h", folder];
  const child = new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  const stop = async () => {
    child.kill("SIGTERM");
    await child.status;
    await Deno.remove(folder, { recursive: true });
  };
  await until(`port ${port}`, 10_000, async () => {
    const { stdout } = await cluster.run(["busybox", "wget", "-qO-", `http://127.0.0.1:${port}/`]);
    return stdout === "taken\n" ? true : undefined;
  });
  return { [Symbol.asyncDispose]: stop };
}

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Signals a child; one that has ended by itself tells by its output and exit code why. */
function kill(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

/** Runs one port-forward: waits for its ports, fetches, ends it. */
async function run(
  cluster: Ground,
  program: readonly string[],
  { args, opens, visit = [], ends, user = "admin", webSockets = "true", signal = "SIGINT" }: Forward,
  server: ServerName,
  namespace: string,
  isKubectl: boolean,
): Promise<Ended> {
  const [file = "", ...before] = [...cluster.enter, ...program];
  const child = new Deno.Command(file, {
    args: [...before, "port-forward", "-n", namespace, ...args],
    env: { ...cluster.environment(server, user), KUBECTL_PORT_FORWARD_WEBSOCKETS: webSockets },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill(child, "SIGKILL");
  }, 60_000);
  const stderr = new Response(child.stderr).text();
  let stdout = "";
  const lines = (start: string) => stdout.split("\n").filter((line) => line.startsWith(start)).length;
  const reading = child.stdout.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  let over = false;
  const readUntil = async (enough: () => boolean) => {
    while (!over && !enough()) {
      const { done, value } = await reading.next();
      if (done) over = true;
      else stdout += value;
    }
  };
  try {
    if (opens !== undefined) {
      await readUntil(() => lines("Forwarding from") >= opens);
      for (const url of visit) {
        const { stdout: page } = await cluster.run(["busybox", "wget", "-qO-", url]);
        assertEquals(page, ends ? "" : "hello\n", `${url}, ${stdout}`);
      }
      await readUntil(() => lines("Handling connection") >= visit.length);
      if (!over && (!ends || !isKubectl)) kill(child, signal);
    }
    await readUntil(() => false);
    const { code } = await child.status;
    assert(!late, `${program.join(" ")} has not ended within a minute: ${stdout}`);
    return { code, stdout, stderr: await stderr };
  } finally {
    clearTimeout(timer);
  }
}

/** What differs from run to run: ids, times, free ports, the program's own name. */
function normalize(text: string): string {
  const ports: string[] = [];
  return text
    .replaceAll(/:([3-6]\d{4})\b/g, (_, port) => {
      if (!ports.includes(port)) ports.push(port);
      return `:<port ${ports.indexOf(port)}>`;
    })
    .replaceAll(/\b[0-9a-f]{62,64}\b/g, "<id>")
    .replaceAll(/\bpodwire\b/g, "kubectl");
}

/** A command line with the local ports of its row: 18080 is 18180 on the second, so that the rows can run at the same time. */
function onRow(row: number, forward: Forward): Forward {
  const shift = (text: string) => text.replaceAll(/\b180(?=\d\d\b)/g, `18${row}`);
  return { ...forward, args: forward.args.map(shift), ...(forward.visit && { visit: forward.visit.map(shift) }) };
}

/** What {@linkcode onRow} would have left alone. */
function offRow(row: number, { code, stdout, stderr }: Ended): Ended {
  const shift = (text: string) => text.replaceAll(new RegExp(`\\b18${row}(?=\\d\\d\\b)`, "g"), "180");
  return { code, stdout: shift(stdout), stderr: shift(stderr) };
}

/** Whether a command line listens on a port that other rows listen on too: not on one of its own or on any free one. */
function sharesPorts({ args, opens }: Forward): boolean {
  return opens !== undefined && !args.some((text) => /^(180|0?:)/.test(text));
}

Deno.test({
  name: "podwire port-forward does as kubectl does on every row",
  ...noSanitizers,
  async fn(t) {
    const cluster = await ground();
    const kubectl = [cluster.kubectlPath("1.36")];
    const mine = await podwire();
    let lastShared: Promise<unknown> = Promise.resolve();
    /** Runs one command line with both programs, alone among those that share its ports. */
    const both = async (forward: Forward, row: number, server: ServerName, namespace: string) => {
      const work = async () => {
        const here = onRow(row, forward);
        const theirs = await run(cluster, kubectl, here, server, namespace, true);
        return { theirs, ours: await run(cluster, mine, here, server, namespace, false) };
      };
      if (!sharesPorts(forward)) return await work();
      const result = lastShared.then(work);
      lastShared = result.catch(() => {});
      return await result;
    };
    const rows = ROWS.map(({ server, node }, row) =>
      t.step({
        name: `${server}/${node}`,
        ...noSanitizers,
        async fn(t) {
          await using namespace = await namespaceOn(cluster, node);
          await using _taken = await occupy(cluster, Number(`18${row}70`));
          for (const forward of FORWARDS) {
            const { args, user, webSockets, signal } = forward;
            const more = [user, webSockets, signal].filter((text) => text !== undefined);
            const line = `${args.join(" ")}${more.map((text) => ` (${text})`).join("")}`;
            await t.step({
              name: line || "(no arguments)",
              ...noSanitizers,
              async fn() {
                const { theirs, ours } = await both(forward, row, server, namespace.name);
                const difference = FORWARD_DIFFERENCES.find((difference) => difference.args.test(line));
                compare(offRow(row, theirs), offRow(row, ours), difference, normalize);
              },
            });
          }
        },
      })
    );
    await Promise.all(rows);
  },
});
