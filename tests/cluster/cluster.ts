/**
 * The cluster as a whole: up, down, and how it is.
 *
 * @module
 */

import { build, Programs, programs } from "./build.ts";
import * as component from "./components.ts";
import { writeConfiguration } from "./config.ts";
import { GroundError } from "./errors.ts";
import { requireMachine } from "./machine.ts";
import { must, readOrUndefined, run, until } from "./process.ts";
import { RIGHTS } from "./rights.ts";
import {
  components,
  enterAll,
  sandboxPid,
  startComponent,
  startSandbox,
  stopComponent,
  stopSandbox,
} from "./sandbox.ts";
import { type Layout, NODE_NAMES, type NodeName, SERVER_NAMES, type ServerName } from "./shape.ts";

const READY_WITHIN = 120_000;

/** How one part of the cluster is. */
export interface PartStatus {
  readonly name: string;
  readonly ok: boolean;
}

/** How every part of the cluster is; empty when there is none. */
export async function status(layout: Layout): Promise<PartStatus[]> {
  if (sandboxPid(layout) === undefined) return [];
  const built = await runningOrOwn(layout);
  const running = components(layout).map(({ name, running }) => ({ name: `process ${name}`, ok: running }));
  const asked = await Promise.all([
    ...SERVER_NAMES.map(async (server) => ({
      name: `API server ${server}`,
      ok: await serverReady(layout, built, server),
    })),
    ...NODE_NAMES.map(async (node) => ({ name: `node ${node}`, ok: await nodeReady(layout, built, node) })),
  ]);
  return [...running, ...asked, { name: "start-up", ok: readOrUndefined(layout.ready) !== undefined }];
}

/** Brings the cluster up; does nothing if it is up and well. The caller holds the lock. */
export async function up(layout: Layout, say: (line: string) => void): Promise<void> {
  await requireMachine("run");
  const built = await build(say);
  const parts = await status(layout);
  if (parts.length > 0 && parts.every(({ ok }) => ok) && readOrUndefined(layout.ready) === await identity(built)) {
    await giveRights(layout, built);
    return say(`up and well in ${layout.dir}`);
  }
  await down(layout);
  const began = Date.now();
  await prepareFolder(layout);
  try {
    await start(layout, built);
  } catch (error) {
    throw new GroundError(`The cluster did not come up; the logs are in ${layout.dir}/log`, { cause: error });
  }
  await Deno.writeTextFile(layout.ready, await identity(built));
  say(`up in ${((Date.now() - began) / 1000).toFixed(1)} s, in ${layout.dir}`);
}

/** Takes the cluster down; nothing of it is left. The caller holds the lock. */
export async function down(layout: Layout): Promise<void> {
  await stopSandbox(layout);
  if (readOrUndefined(layout.marker) !== undefined) await Deno.remove(layout.dir, { recursive: true });
}

/** The programs of the running cluster. */
export async function runningPrograms(layout: Layout): Promise<Programs> {
  const built = await programs();
  if (runningDir(layout) === built.dir && sandboxPid(layout) !== undefined) return built;
  throw new GroundError("The test cluster is not up, or of other sources. Do: deno task cluster up");
}

/** The folder of the running cluster's programs, once it came up. */
function runningDir(layout: Layout): string | undefined {
  return readOrUndefined(layout.ready)?.split("\n")[0];
}

async function runningOrOwn(layout: Layout): Promise<Programs> {
  const dir = runningDir(layout);
  return dir === undefined ? await programs() : new Programs(dir);
}

/** The programs, and the sources here that decide what the cluster is: with others of either, `up` begins anew. */
async function identity(built: Programs): Promise<string> {
  const sources = ["bridge", "cluster", "components", "config", "image", "sandbox", "shape"];
  const texts = await Promise.all(sources.map((name) => Deno.readTextFile(new URL(`${name}.ts`, import.meta.url))));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(texts.join("\0")));
  return `${built.dir}\n${new Uint8Array(digest).toHex()}\n`;
}

async function prepareFolder(layout: Layout): Promise<void> {
  await Deno.mkdir(layout.dir, { recursive: true });
  if ([...Deno.readDirSync(layout.dir)].length > 0) {
    throw new GroundError(`${layout.dir} holds files that are not the cluster's; see PODWIRE_CLUSTER_DIR`);
  }
  await Deno.writeTextFile(
    layout.marker,
    "The state of podwire's test cluster. `deno task cluster down` removes it.\n",
  );
}

async function start(layout: Layout, built: Programs): Promise<void> {
  await writeConfiguration(layout);
  await startSandbox(layout);
  const begin = (one: component.Component) => startComponent(layout, one, programPath(built));

  await begin(component.etcd(layout, built));
  const servers = Object.fromEntries(SERVER_NAMES.map((server) => [server, startServer(server)]));
  await Promise.all([
    ...Object.values(servers),
    begin(component.bridge(layout)),
    ...NODE_NAMES.map(startNode),
    servers["default"]?.then(() =>
      Promise.all([
        begin(component.proxy(layout, built)),
        ...component.controllers(layout, built).map(begin),
        giveRights(layout, built),
      ])
    ),
  ]);
  // Pods are refused until there is this account.
  await untilUp("the service account default", async () => {
    const { code } = await kubectl(layout, built, ["get", "serviceaccount", "default"]);
    return code === 0 ? true : undefined;
  });

  /** Waits, but not when a program has ended: none of them should. */
  function untilUp(what: string, ask: () => Promise<true | undefined>): Promise<true> {
    return until(what, READY_WITHIN, () => {
      const ended = components(layout).find(({ running }) => !running)?.name;
      if (ended === undefined) return ask();
      const said = (readOrUndefined(layout.log(ended)) ?? "").trimEnd().split("\n").slice(-5).join("\n");
      throw new GroundError(`${ended} has ended:\n${said}`);
    });
  }

  async function startServer(server: ServerName): Promise<void> {
    await begin(component.apiServer(layout, built, server));
    await untilUp(`API server ${server}`, async () => await serverReady(layout, built, server) || undefined);
  }

  async function startNode(node: NodeName): Promise<void> {
    await begin(component.containerd(layout, built, node));
    const ctr = [`${built.containerd}/ctr`, "--address", layout.containerd(node), "--namespace", "k8s.io"];
    await untilUp(`containerd of ${node}`, async () => {
      const { code } = await run([...ctr, "version"]);
      return code === 0 ? true : undefined;
    });
    for (const image of ["busybox", "pause"] as const) {
      await must([...enterAll(layout), ...ctr, "images", "import", layout.image(image)]);
    }
    await servers["default"];
    await begin(component.kubelet(layout, built, node));
    await untilUp(`node ${node}`, async () => await nodeReady(layout, built, node) || undefined);
  }
}

/** Ends an API server, calls `meanwhile` when it is gone, starts it anew and waits until it is ready. */
export async function restartServer(
  layout: Layout,
  server: ServerName,
  meanwhile: () => Promise<void>,
): Promise<void> {
  const built = await runningPrograms(layout);
  const one = component.apiServer(layout, built, server);
  await stopComponent(layout, one.name);
  try {
    await meanwhile();
  } finally {
    await startComponent(layout, one, programPath(built));
  }
  await until(`API server ${server}`, READY_WITHIN, async () => await serverReady(layout, built, server) || undefined);
}

/** Ends a node's kubelet and starts it anew, which makes the node known again, and waits until it is ready. */
export async function restartKubelet(layout: Layout, node: NodeName): Promise<void> {
  const built = await runningPrograms(layout);
  const one = component.kubelet(layout, built, node);
  await stopComponent(layout, one.name);
  await startComponent(layout, one, programPath(built));
  await until(`node ${node}`, READY_WITHIN, async () => await nodeReady(layout, built, node) || undefined);
}

/** Where the cluster's programs find others. */
function programPath(built: Programs): string {
  return `${built.containerd}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
}

async function giveRights(layout: Layout, built: Programs): Promise<void> {
  const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: RIGHTS });
  const { code, stderr } = await kubectl(layout, built, ["apply", "--server-side", "--force-conflicts", "-f", "-"], {
    stdin: list,
  });
  if (code !== 0) throw new GroundError(`The users' rights cannot be given: ${stderr}`);
}

async function serverReady(layout: Layout, built: Programs, server: ServerName): Promise<boolean> {
  const { stdout } = await kubectl(layout, built, ["get", "--raw", "/readyz"], { server });
  return stdout === "ok";
}

async function nodeReady(layout: Layout, built: Programs, node: NodeName): Promise<boolean> {
  const condition = '{.status.conditions[?(@.type=="Ready")].status}';
  const { stdout } = await kubectl(layout, built, ["get", "node", node, "-o", `jsonpath=${condition}`]);
  return stdout === "True";
}

function kubectl(
  layout: Layout,
  built: Programs,
  args: readonly string[],
  options: { readonly server?: ServerName; readonly stdin?: string } = {},
) {
  const { server = "default", ...rest } = options;
  const config = `--kubeconfig=${layout.kubeconfig(server, "admin")}`;
  const env = { KUBECACHEDIR: layout.kubectlCache };
  return run([...layout.enter, built.kubectl("1.36"), config, "--request-timeout=5s", ...args], { ...rest, env });
}
