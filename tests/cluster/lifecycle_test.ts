/**
 * Starting and stopping a cluster of its own, beside the one that other tests use.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { must, processes, readOrUndefined, run, type RunResult, until } from "./process.ts";
import { components, sandboxPid } from "./sandbox.ts";
import { Layout } from "./shape.ts";

const CLI = new URL("./cli.ts", import.meta.url).pathname;

/** Folders outside the state folder that Kubernetes' programs would write to. */
const ELSEWHERE = [
  "/etc/cni",
  "/opt/cni",
  "/opt/containerd",
  "/run/containerd",
  "/run/netns",
  "/run/xtables.lock",
  "/usr/libexec/kubernetes",
  "/var/lib/cni",
  "/var/lib/kubelet",
  "/var/log/containers",
  "/var/log/pods",
];

function cluster(layout: Layout, ...args: string[]): Promise<RunResult> {
  const command = [Deno.execPath(), "run", "-A", "--no-config", CLI, ...args];
  return run(command, { env: { PODWIRE_CLUSTER_DIR: layout.dir }, timeout: 300_000 });
}

/** Runs a test on a cluster of its own, and takes it down. */
async function withLayout(work: (layout: Layout) => Promise<void>): Promise<void> {
  const parent = await Deno.makeTempDir({ prefix: "podwire-lifecycle-" });
  const layout = new Layout(`${parent}/state`);
  try {
    await work(layout);
  } finally {
    const { code, stderr } = await cluster(layout, "down");
    assertEquals(code, 0, stderr);
    await Deno.remove(parent); // Throws if anything is left in it.
  }
}

/** What of a cluster is left on the machine, in words. */
function traces(layout: Layout): string[] {
  const found: string[] = [];
  for (const { pid, args } of processes()) {
    if (args.some((arg) => arg.includes(layout.dir))) found.push(`process ${pid}: ${args.join(" ")}`);
  }
  for (const line of (readOrUndefined("/proc/self/mounts") ?? "").split("\n")) {
    if (line.includes(layout.dir)) found.push(`mount ${line}`);
  }
  if (readOrUndefined(layout.marker) !== undefined) found.push(`folder ${layout.dir}`);
  return found;
}

/** The processes of this machine that are in a namespace (`net` or `pid`), given as the link in `/proc` shows it. */
function members(kind: "net" | "pid", namespace: string): number[] {
  return [...processes()].map(({ pid }) => pid).filter((pid) => link(`/proc/${pid}/ns/${kind}`) === namespace);
}

function link(path: string): string | undefined {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return undefined; // That process has ended.
  }
}

/** The cgroups of a node's containers, in all hierarchies. */
async function cgroupsOf(containers: readonly string[]): Promise<string[]> {
  const all = (await must(["find", "/sys/fs/cgroup", "-type", "d"])).split("\n");
  return all.filter((folder) => containers.some((id) => folder.endsWith(id)));
}

async function createPods(layout: Layout): Promise<string[]> {
  for (const node of ["node1", "node2"]) {
    const overrides = JSON.stringify({ spec: { nodeName: node } });
    const image = ["--image=localhost/busybox:1", "--image-pull-policy=Never"];
    const { code, stderr } = await cluster(
      layout,
      "kubectl",
      "run",
      `on-${node}`,
      ...image,
      `--overrides=${overrides}`,
    );
    assertEquals(code, 0, stderr);
  }
  const wait = ["wait", "--for=condition=Ready", "pod/on-node1", "pod/on-node2", "--timeout=60s"];
  assertEquals((await cluster(layout, "kubectl", ...wait)).code, 0);
  const ids = "jsonpath={.items[*].status.containerStatuses[*].containerID}";
  const { stdout } = await cluster(layout, "kubectl", "get", "pods", "-o", ids);
  return stdout.split(" ").map((id) => id.replace("containerd://", ""));
}

Deno.test("up again does nothing, and down leaves no process, mount, namespace, cgroup or file", async () => {
  const before = ELSEWHERE.map((path) => link(path) ?? exists(path));
  await withLayout(async (layout) => {
    const first = await cluster(layout, "up");
    assertEquals(first.code, 0, first.stderr);
    const pid = sandboxPid(layout);
    assert(pid !== undefined);
    const containers = await createPods(layout);
    assertEquals(containers.length, 2);
    assert((await cgroupsOf(containers)).length >= 2, "the test would not see cgroups");
    const namespaces = [["net", link(`/proc/${pid}/ns/net`)!], ["pid", link(`/proc/${pid}/ns/pid`)!]] as const;
    for (const [kind, namespace] of namespaces) assert(members(kind, namespace).length > 10);
    assert(traces(layout).length > 10);

    const again = await cluster(layout, "up");
    assertEquals(again.code, 0);
    assertStringIncludes(again.stderr, "up and well");
    assertEquals(sandboxPid(layout), pid);

    const down = await cluster(layout, "down");
    assertEquals(down.code, 0, down.stderr);
    assertEquals(traces(layout), []);
    for (const [kind, namespace] of namespaces) assertEquals(members(kind, namespace), []);
    assertEquals(await cgroupsOf(containers), []);
    assertEquals((await cluster(layout, "status")).stdout, "down\n");
    assertEquals((await cluster(layout, "down")).code, 0);
  });
  assertEquals(ELSEWHERE.map((path) => link(path) ?? exists(path)), before);
});

Deno.test("up repairs a cluster that lost a program, and one whose process 1 was killed", async () => {
  await withLayout(async (layout) => {
    assertEquals((await cluster(layout, "up")).code, 0);
    const scheduler = [...processes()].find(({ args }) =>
      args[0]?.endsWith("/kube-scheduler") && args.some((arg) => arg.includes(layout.dir))
    );
    assert(scheduler !== undefined);
    Deno.kill(scheduler.pid, "SIGKILL");
    await until("the scheduler to end", 10_000, () => {
      const running = components(layout).find(({ name }) => name === "kube-scheduler")?.running;
      return Promise.resolve(running === false ? true : undefined);
    });
    const status = await cluster(layout, "status");
    assertEquals(status.code, 1);
    assertStringIncludes(status.stdout, "FAIL  process kube-scheduler\n");
    assertEquals((await cluster(layout, "up")).code, 0);
    assertEquals((await cluster(layout, "status")).code, 0);

    Deno.kill(sandboxPid(layout)!, "SIGKILL");
    await until("process 1 to end", 10_000, () => Promise.resolve(sandboxPid(layout) === undefined ? true : undefined));
    const repaired = await cluster(layout, "up");
    assertEquals(repaired.code, 0, repaired.stderr);
    assertEquals((await cluster(layout, "status")).code, 0);
  });
});

Deno.test("down cleans up after an up that was killed half-way, and up starts anew", async () => {
  await withLayout(async (layout) => {
    for (const moment of ["etcd", "kube-apiserver-default", "kubelet-node1"]) {
      const up = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-config", CLI, "up"],
        env: { PODWIRE_CLUSTER_DIR: layout.dir },
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      await until(`${moment} to start`, 60_000, () => Promise.resolve(readOrUndefined(layout.log(moment))));
      up.kill("SIGKILL");
      await up.status;
      assert(traces(layout).length > 2);
      // Not `down` every time: `up` itself has to cope as well.
      if (moment === "etcd") assertEquals((await cluster(layout, "down")).code, 0);
      if (moment === "etcd") assertEquals(traces(layout), []);
    }
    const { code, stderr } = await cluster(layout, "up");
    assertEquals(code, 0, stderr);
  });
});

Deno.test("up and down keep their hands off a folder that is not theirs", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-lifecycle-" });
  try {
    await Deno.writeTextFile(`${folder}/precious`, "");
    const layout = new Layout(folder);
    const up = await cluster(layout, "up");
    assertEquals(up.code, 1);
    assertStringIncludes(up.stderr, "holds files that are not the cluster's");
    assertEquals((await cluster(layout, "down")).code, 0);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["precious"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false; // Not there, which is the answer.
  }
}
