/** Runs `cli.ts` as a process, against an embedded host in this one. */
import { type HostPod, type HostServer, serveHost } from "../../lib/server/mod.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** What Deno is told to run podwire. */
export const PODWIRE: readonly string[] = [
  "run",
  "-A",
  "--no-check",
  `--config=${ROOT}deno.offline.json`,
  "--no-lock",
  `${ROOT}cli.ts`,
];

const sleep = ["sh", "-c", "while :; do sleep 1000; done"];

/** Pods for every sort of container. */
export const PODS: readonly HostPod[] = [
  { name: "one", labels: { app: "web", tier: "a" }, containers: [{ name: "main", command: sleep }] },
  {
    name: "two",
    labels: { app: "web" },
    containers: [{ name: "main", command: sleep }, { name: "side", command: sleep, env: { WHO: "side" } }],
  },
  {
    name: "marked",
    annotations: { "kubectl.kubernetes.io/default-container": "side" },
    containers: [{ name: "main", command: sleep }, { name: "side", command: sleep, env: { WHO: "side" } }],
  },
  { name: "cat", containers: [{ name: "main", command: ["cat"], stdin: true }] },
  { name: "shell", containers: [{ name: "main", command: ["sh"], stdin: true, tty: true }] },
  { name: "ended", containers: [{ name: "main", command: ["true"] }] },
];

/** How a process ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A host on a unix socket, and podwire going there. */
export class Ground implements AsyncDisposable {
  readonly host: HostServer;
  readonly folder: string;

  private constructor(host: HostServer, folder: string) {
    this.host = host;
    this.folder = folder;
  }

  static async start(pods: readonly HostPod[] = PODS): Promise<Ground> {
    const folder = await Deno.makeTempDir({ prefix: "podwire-cli-" });
    await Deno.writeTextFile(`${folder}/kubeconfig`, "");
    const host = await serveHost({ listen: { path: `${folder}/host.sock` }, pods });
    return new Ground(host, folder);
  }

  /** The flags that lead to the host. */
  get flags(): string[] {
    return ["--via-unix-socket", `${this.folder}/host.sock`, "--server", "mykubecluster.com"];
  }

  /** Starts podwire; what is not piped is nothing. */
  spawn(args: readonly string[], options: Partial<Deno.CommandOptions> = {}): Deno.ChildProcess {
    return new Deno.Command(Deno.execPath(), {
      args: [...PODWIRE, ...this.flags, ...args],
      env: { KUBECONFIG: `${this.folder}/kubeconfig`, NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      ...options,
    }).spawn();
  }

  /** Runs podwire to its end. */
  async run(args: readonly string[], input?: string | Uint8Array): Promise<Ended> {
    const child = this.spawn(args, input === undefined ? {} : { stdin: "piped" });
    const output = child.output();
    if (input !== undefined) {
      const writer = child.stdin.getWriter();
      const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
      // podwire may end before it has read everything: that is what some tests are about.
      await writer.write(bytes).then(() => writer.close()).catch(() => {});
    }
    const { code, stdout, stderr } = await output;
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host.close();
    await this.host.finished;
    await Deno.remove(this.folder, { recursive: true });
  }
}
