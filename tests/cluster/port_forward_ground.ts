/**
 * Pods with the server of `port_forward_server.ts`, and clients of them in processes of their own: a process ends by itself only if
 * nothing is left in it, knows its memory, and can be inside the cluster's network namespace.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { realpathSync } from "node:fs";
import { dirname } from "node:path";
import type { ClientOptions } from "../../lib/client/mod.ts";
import type { AccessOptions } from "../../lib/kubeconfig/mod.ts";
import { denoFlags } from "../offline/flags.ts";
import { PORTS } from "./port_forward_bytes.ts";
import type { ContainerSpec, Ground, PodOptions } from "./ground.ts";
import { run } from "./process.ts";

/** How a client reaches the cluster. */
export type Access = AccessOptions & ClientOptions;

/** Folders of this machine, read only: its libraries, its Deno and these files. */
const FOLDERS: Readonly<Record<string, string>> = {
  usr: "/usr",
  lib: "/lib",
  lib64: "/lib64",
  deno: dirname(realpathSync(Deno.execPath())),
  tests: new URL(".", import.meta.url).pathname.replace(/\/$/, ""),
};

/** What a pod's spec must have for containers that {@linkcode mounted} makes. */
export const VOLUMES: Readonly<Record<string, unknown>> = {
  volumes: Object.entries(FOLDERS).map(([name, path]) => ({ name, hostPath: { path } })),
};

/** A container that has this machine's programs, and is ready when `port` is open. */
export function mounted(command: readonly string[], port: number): ContainerSpec {
  return {
    name: "main",
    command,
    env: [{ name: "PATH", value: "/bin:/usr/bin" }, { name: "DENO_DIR", value: "/tmp/deno" }],
    volumeMounts: Object.keys(FOLDERS).map((name) => ({ name, mountPath: `/${name}`, readOnly: true })),
    readinessProbe: { tcpSocket: { port }, periodSeconds: 1 },
  };
}

/** A pod with the server. */
export const SERVER_POD: PodOptions = {
  prefix: "forward",
  containers: [
    mounted(["/deno/deno", "run", "--no-config", "--allow-net", "/tests/port_forward_server.ts"], PORTS.reset),
  ],
  spec: VOLUMES,
};

/** Runs one of the clients in this folder to its end, and returns the JSON that it prints. */
export async function runClient<T>(
  cluster: Ground,
  client: string,
  access: Access,
  pod: string,
  options: { readonly args?: readonly string[]; readonly timeout?: number } = {},
): Promise<T> {
  const path = new URL(client, import.meta.url).pathname;
  const flags = ["run", "-A", "--v8-flags=--expose-gc", ...await denoFlags()];
  const enter = access.viaUnixSocket || access.proxyUrl ? [] : cluster.enter; // Those lead inside.
  const { code, stdout, stderr } = await run(
    [...enter, Deno.execPath(), ...flags, path, JSON.stringify(access), pod, ...options.args ?? []],
    { timeout: options.timeout ?? 60_000 },
  );
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout);
}
