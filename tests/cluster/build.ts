/**
 * Builds the cluster's programs from Go modules, once, into a cache outside the checkout.
 *
 * @module
 */

import { must } from "./process.ts";
import { requireMachine } from "./machine.ts";

const SOURCES = new URL("./go/", import.meta.url);
const KUBERNETES = "1.36.3";
const CONTAINERD = "2.2.1";

/** The names that `go/kube` answers to. */
const KUBE_PROGRAMS = [
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubelet",
  "kube-proxy",
  "kubectl",
] as const;

interface Part {
  /** The folder under `go/`, which is a Go module, and the folder in the cache. */
  readonly name: string;
  /** What to build. */
  readonly packages: readonly string[];
  readonly flags: readonly string[];
}

const CONTAINERD_MODULE = "github.com/containerd/containerd/v2";

const PARTS: readonly Part[] = [
  { name: "kube", packages: ["."], flags: kubernetesFlags(KUBERNETES) },
  {
    name: "containerd",
    packages: ["containerd", "containerd-shim-runc-v2", "ctr"].map((name) => `${CONTAINERD_MODULE}/cmd/${name}`),
    flags: [
      "-tags=no_btrfs,no_devmapper,no_zfs",
      `-ldflags=-s -w -X ${CONTAINERD_MODULE}/version.Version=${CONTAINERD}`,
    ],
  },
  { name: "kubectl-1.32", packages: ["."], flags: kubernetesFlags("1.32.13") },
  { name: "kubectl-1.28", packages: ["."], flags: kubernetesFlags("1.28.15") },
];

const COMMON_FLAGS = ["-mod=readonly", "-trimpath", "-buildvcs=false"] as const;

/** Where the built programs lie. */
export class Programs {
  /** The folder of this build; its last part names the build. */
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
  }

  /** A program of Kubernetes 1.36, etcd among them. */
  kube(name: typeof KUBE_PROGRAMS[number]): string {
    return `${this.dir}/kube/${name}`;
  }

  /** The folder of `containerd`, its shim and `ctr`. */
  get containerd(): string {
    return `${this.dir}/containerd`;
  }

  /** kubectl, of 1.36 (the cluster's own), 1.32 (WebSocket first) or 1.28 (SPDY only). */
  kubectl(version: "1.36" | "1.32" | "1.28"): string {
    return version === "1.36" ? this.kube("kubectl") : `${this.dir}/kubectl-${version}/kubectl`;
  }
}

/** The folder of everything that is kept from one run to the next. */
export function cacheDir(): string {
  const base = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? "/root"}/.cache`;
  return `${base}/podwire/cluster`;
}

/** Where the programs of these sources are, or will be once {@linkcode build} ran. */
export async function programs(): Promise<Programs> {
  return new Programs(`${cacheDir()}/${await fingerprint()}`);
}

/** Builds what is not there yet. The caller holds the lock. */
export async function build(say: (line: string) => void): Promise<Programs> {
  const result = await programs();
  if (await isFolder(result.dir)) return result;
  await requireMachine("build");
  await Deno.mkdir(cacheDir(), { recursive: true });
  for await (const { name } of Deno.readDir(cacheDir())) { // What a build that was killed left.
    if (name.startsWith("unfinished-")) await Deno.remove(`${cacheDir()}/${name}`, { recursive: true });
  }
  const unfinished = await Deno.makeTempDir({ dir: cacheDir(), prefix: "unfinished-" });
  for (const part of PARTS) {
    say(`building ${part.name} (the first time takes minutes)`);
    const began = Date.now();
    await Deno.mkdir(`${unfinished}/${part.name}`);
    await must(["go", "build", ...COMMON_FLAGS, ...part.flags, "-o", `${unfinished}/${part.name}/`, ...part.packages], {
      cwd: new URL(part.name, SOURCES).pathname,
      env: { CGO_ENABLED: "0", GOFLAGS: "" },
      timeout: 3_600_000,
    });
    say(`built ${part.name} in ${Math.round((Date.now() - began) / 1000)} s`);
  }
  for (const name of KUBE_PROGRAMS) await Deno.symlink("kube", `${unfinished}/kube/${name}`);
  await Deno.rename(unfinished, result.dir);
  return result;
}

/** Runs `work` while no other process builds, starts or stops a cluster; the lock dies with the process. */
export async function exclusively<T>(say: (line: string) => void, work: () => Promise<T>): Promise<T> {
  await Deno.mkdir(cacheDir(), { recursive: true });
  using lock = await Deno.open(`${cacheDir()}/lock`, { write: true, create: true });
  const notice = setTimeout(() => say("waiting for another build, up or down to end"), 500);
  await lock.lock(true);
  clearTimeout(notice);
  return await work();
}

function kubernetesFlags(version: string): string[] {
  const variable = "k8s.io/component-base/version";
  const [major, minor] = version.split(".");
  return [
    `-ldflags=-s -w -X ${variable}.gitVersion=v${version} -X ${variable}.gitMajor=${major} -X ${variable}.gitMinor=${minor}`,
  ];
}

/** A name for exactly these sources and flags. */
async function fingerprint(): Promise<string> {
  const parts: string[] = [JSON.stringify([PARTS, COMMON_FLAGS, KUBE_PROGRAMS])];
  for (const { name } of PARTS) {
    const files = [...Deno.readDirSync(new URL(`${name}/`, SOURCES))].map((entry) => entry.name).sort();
    for (const file of files) parts.push(file, await Deno.readTextFile(new URL(`${name}/${file}`, SOURCES)));
  }
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(parts)));
  return new Uint8Array(digest).toHex().slice(0, 16);
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch {
    return false; // Not there.
  }
}
