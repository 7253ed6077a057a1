/**
 * The clients that go to the host: where they come from, and how they are run.
 *
 * @module
 */
import { build, buildGo, CACHE } from "../build.ts";

/** How a program ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** kubectl of the newest Kubernetes: the one on the PATH, or what PODWIRE_KUBECTL names. */
export const KUBECTL = Deno.env.get("PODWIRE_KUBECTL") ?? "kubectl";

/** Builds kubectl of an older Kubernetes from its Go modules and returns its path. The first time takes a minute. */
export function buildKubectl(version: "1.32" | "1.28"): Promise<string> {
  return buildGo(`kubectl-${version}`, new URL(`../../cluster/go/kubectl-${version}/`, import.meta.url), {
    args: ["-mod=readonly", "-trimpath", "-buildvcs=false"],
    env: { CGO_ENABLED: "0", GOFLAGS: "" },
  });
}

/** Builds the program on kube-rs and returns its path. The first time takes some minutes. */
export async function buildKubeRs(): Promise<string> {
  const target = `${CACHE}/kube-rs`;
  const { PATH = "", HOME } = Deno.env.toObject();
  await build("cargo", ["build", "--locked"], {
    cwd: new URL("kube-rs/", import.meta.url),
    env: { CARGO_TARGET_DIR: target, PATH: `${PATH}:${HOME}/.cargo/bin` },
  }, "Rust: install cargo 1.88 or newer, with rustup");
  return `${target}/debug/podwire-kube-rs-peer`;
}

/** Installs client-node and returns the path of the program on it, to be run by Node 22. */
export async function installClientNode(): Promise<string> {
  const folder = `${CACHE}/client-node`;
  await Deno.mkdir(folder, { recursive: true });
  for (const name of ["package.json", "main.mjs"]) {
    await Deno.copyFile(new URL(`client-node/${name}`, import.meta.url), `${folder}/${name}`);
  }
  await build("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: folder }, "Node and npm");
  return `${folder}/main.mjs`;
}

/** Runs a program to its end, which has to come within two minutes. */
export async function run(
  program: string,
  args: readonly string[],
  options: { readonly env: Record<string, string>; readonly stdin?: string },
): Promise<Ended> {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(program, {
      args: [...args],
      env: options.env,
      stdin: options.stdin === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
      signal: AbortSignal.timeout(120_000),
    }).spawn();
  } catch (cause) {
    throw new Error(`this test needs ${program}`, { cause });
  }
  if (options.stdin !== undefined) {
    await new Blob([options.stdin]).stream().pipeTo(child.stdin).catch(() => {}); // It may end first.
  }
  const { code, stdout, stderr } = await child.output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}
