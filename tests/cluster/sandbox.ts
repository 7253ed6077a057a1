/**
 * Where the cluster runs: a process 1 with mount, network and process namespaces of its own. When it is killed, the
 * kernel ends every program inside and undoes every mount and network device, whatever state they were in. So stopping
 * is certain, also after a crash.
 *
 * @module
 */

import { GroundError } from "./errors.ts";
import { must, processes, readOrUndefined, startTime, until } from "./process.ts";
import { type Component, SERVICE_ADDRESSES } from "./components.ts";
import { type Layout, NODE_NAMES, NODES } from "./shape.ts";

/** What process 1 does: hide the folders that containerd, kubelets and CNI write to, set up the network, reap. */
function initScript(layout: Layout): string {
  // Nodes reach Services as well: kube-proxy turns such a packet around once it has a route.
  const addresses = Object.values(NODES).map(({ address }) => `ip address add ${address}/32 dev lo`).join("\n");
  return `set -e
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs "$folder"; done
ip link set lo up
${addresses}
ip route add ${SERVICE_ADDRESSES} dev lo src ${NODES.node1.address}
echo 1 > /proc/sys/net/ipv4/ip_forward
: > ${layout.initReady}
while :; do sleep 2147483647 & wait $!; done
`;
}

/** Starts process 1. */
export async function startSandbox(layout: Layout): Promise<void> {
  await Deno.writeTextFile(layout.init, initScript(layout));
  await Deno.writeTextFile(layout.netns, "");
  const unshare = ["unshare", "--mount", "--propagation=private", `--net=${layout.netns}`, "--pid", "--mount-proc"];
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", `exec ${unshare.join(" ")} --fork --kill-child /bin/sh ${layout.init} >${layout.log("init")} 2>&1`],
    stdin: "null",
    stdout: "null",
    stderr: "null",
    detached: true,
  }).spawn();
  child.unref();
  let failed = false;
  void child.status.then(() => failed = true);
  await until("the cluster's process 1", 10_000, () => {
    if (failed) throw new GroundError(`The namespaces cannot be made:\n${readOrUndefined(layout.log("init"))}`);
    return Promise.resolve(readOrUndefined(layout.initReady));
  });
}

/** The processes that hold the cluster: process 1 (first) and its parent. No other process has these arguments. */
function holders(layout: Layout): number[] {
  const [inner, outer]: [number[], number[]] = [[], []];
  for (const { pid, args } of processes()) {
    if (args.at(-1) !== layout.init || args.at(-2) !== "/bin/sh") continue;
    if (args.length === 2) inner.push(pid);
    else if (args[0] === "unshare") outer.push(pid);
  }
  return [...inner, ...outer];
}

/** The process id of the cluster's process 1 as seen from outside, if it runs. */
export function sandboxPid(layout: Layout): number | undefined {
  return holders(layout)[0];
}

/** Ends process 1, and with it everything inside; takes the network namespace and the cgroups away. */
export async function stopSandbox(layout: Layout): Promise<void> {
  await until(`the processes of ${layout.dir} to end`, 30_000, () => {
    const left = holders(layout);
    for (const pid of left) kill(pid);
    return Promise.resolve(left.length === 0 ? true : undefined);
  });
  // One file can have been bound more than once, when an `up` was killed and another followed.
  while ((readOrUndefined("/proc/self/mounts") ?? "").includes(` ${layout.netns} nsfs `)) {
    await must(["umount", layout.netns]);
  }
  await removeCgroups(layout);
}

/** Starts a program inside, with an environment of its own, and records its process id and start time. */
export async function startComponent(layout: Layout, { name, command }: Component, path: string): Promise<void> {
  const detach = 'log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!';
  const environment = ["env", "-i", `PATH=${path}`, `HOME=${Deno.env.get("HOME") ?? "/root"}`];
  const pid = (await must([
    ...enterAll(layout),
    ...["/bin/sh", "-c", detach, "sh", layout.log(name), ...environment, ...command],
  ])).trim();
  const record = `${layout.dir}/${name}.pid`;
  await Deno.writeTextFile(record, `${pid} ${startTime(Number(pid), innerProc(layout))}`);
  await Deno.rename(record, layout.pid(name)); // A reader sees all of it or none.
}

/** Ends one of the programs inside at once, and waits for its end. Asked nicely, an API server takes a minute to end its streams. */
export async function stopComponent(layout: Layout, name: string): Promise<void> {
  const [pid = ""] = (readOrUndefined(layout.pid(name)) ?? "").split(" ");
  await must([...enterAll(layout), "kill", "-KILL", pid]);
  await until(`${name} to end`, 10_000, () => {
    const running = components(layout).find((one) => one.name === name)?.running;
    return Promise.resolve(running ? undefined : true);
  });
}

/** The recorded components, and whether each still runs. */
export function components(layout: Layout): { readonly name: string; readonly running: boolean }[] {
  return [...Deno.readDirSync(`${layout.dir}/pid`)].map(({ name }) => {
    const [pid, started] = (readOrUndefined(layout.pid(name)) ?? "").split(" ");
    return { name, running: started !== undefined && startTime(Number(pid), innerProc(layout)) === started };
  }).sort((a, b) => a.name.localeCompare(b.name));
}

/** The words in front of a command that run it in all namespaces of process 1. */
export function enterAll(layout: Layout): string[] {
  return ["nsenter", `--target=${pidOfOne(layout)}`, "--mount", "--net", "--pid", "--"];
}

/** The process file system as process 1 sees it. */
function innerProc(layout: Layout): string {
  const root = `/proc/${pidOfOne(layout)}/root`;
  return `${root}/proc`;
}

function pidOfOne(layout: Layout): number {
  const pid = sandboxPid(layout);
  if (pid === undefined) throw new GroundError("The cluster's process 1 has ended. Do: deno task cluster up");
  return pid;
}

function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error; // It has just ended.
  }
}

/** Removes the containers' cgroups from the only hierarchy (cgroup v2) or from all of them (v1). */
async function removeCgroups(layout: Layout): Promise<void> {
  const containers = NODE_NAMES.flatMap((node) =>
    folders(`${layout.node(node)}/containerd-state/io.containerd.runtime.v2.task/k8s.io`)
  );
  for (const hierarchy of ["", ...folders("/sys/fs/cgroup").map((name) => `/${name}`)]) {
    const parent = `/sys/fs/cgroup${hierarchy}/k8s.io`;
    for (const container of containers) {
      const cgroup = `${parent}/${container}`;
      await until(`the cgroup ${cgroup} to be empty`, 10_000, () => Promise.resolve(removeCgroup(cgroup) || undefined));
    }
    removeCgroup(parent); // Stays if it has children: those of another containerd.
  }
}

/** Removes a cgroup and says whether it is gone. The kernel's files in it go with the folder. */
function removeCgroup(folder: string): boolean {
  try {
    Deno.removeSync(folder);
    return true;
  } catch (error) {
    return error instanceof Deno.errors.NotFound; // Else busy: its last process is still on its way out.
  }
}

function folders(parent: string): string[] {
  try {
    return [...Deno.readDirSync(parent)].filter((entry) => entry.isDirectory).map((entry) => entry.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
