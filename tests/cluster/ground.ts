/**
 * The test cluster as tests see it. Tests run outside the cluster's network namespace; programs that they start with
 * {@linkcode Ground.run} run inside, where the API servers listen on loopback. From outside an API server is reached
 * through its unix socket.
 *
 * ```ts
 * import { ground } from "./ground.ts";
 *
 * const cluster = await ground();
 * await cluster.withPod({ node: "node1" }, async (pod) => {
 *   const { code, stdout } = await cluster.kubectl(["exec", pod.name, "--", "echo", "hello"]);
 * });
 * ```
 *
 * @module
 */

import type { Programs } from "./build.ts";
import { restartServer, runningPrograms } from "./cluster.ts";
import { GroundError } from "./errors.ts";
import { run, type RunOptions, type RunResult } from "./process.ts";
import { IMAGE, Layout, type NodeName, type ServerName, serverUrl, stateDir, type UserName } from "./shape.ts";

export { GroundError } from "./errors.ts";
export type { RunOptions, RunResult } from "./process.ts";
export {
  NODE_NAMES,
  type NodeName,
  type Row,
  ROWS,
  SERVER_NAMES,
  type ServerName,
  TOKENS,
  USER_NAMES,
  type UserName,
  type Way,
} from "./shape.ts";

/** Which kubectl, as whom, and where; on top of how to run it. */
export interface KubectlOptions extends RunOptions {
  /** 1.36 when left out; 1.32 tries WebSocket first as well, 1.28 speaks SPDY only. */
  readonly version?: "1.36" | "1.32" | "1.28";
  /** `default` when left out. */
  readonly server?: ServerName;
  /** `admin` when left out. */
  readonly user?: UserName;
}

/** A container of a pod, as the Kubernetes API has it; image and pull policy are filled in. */
export interface ContainerSpec {
  readonly name: string;
  readonly command?: readonly string[];
  readonly [field: string]: unknown;
}

/** A pod to be created. */
export interface PodOptions {
  /** `node1` when left out. */
  readonly node?: NodeName;
  /** What the name starts with; the rest makes it unique. `pod` when left out. */
  readonly prefix?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** One container `main` that sleeps for ever when left out. */
  readonly containers?: readonly ContainerSpec[];
  /** More fields of the pod's spec, such as `initContainers`, `restartPolicy` or `volumes`. */
  readonly spec?: Readonly<Record<string, unknown>>;
  /** What to wait for: containers that are ready, or a pod that has ended. `Ready` when left out. */
  readonly until?: "Ready" | "Succeeded" | "Failed";
}

/** A pod that was created. */
export interface TestPod {
  readonly name: string;
  readonly namespace: string;
  readonly node: NodeName;
}

const NAMESPACE = "default";
const POD_READY_WITHIN = 60_000;

/** The running test cluster; throws {@linkcode GroundError} when it is not up. */
export async function ground(): Promise<Ground> {
  const layout = new Layout(stateDir());
  return new Ground(layout, await runningPrograms(layout));
}

/** The running test cluster. {@linkcode ground} gives one. */
export class Ground {
  /** The state folder. */
  readonly dir: string;
  /** In front of a command, these words run it inside the cluster's network namespace. */
  readonly enter: readonly string[];
  /** The certificate authority of all servers. */
  readonly certificateAuthority: string;
  /** The certificate and the key of the user `admin`. */
  readonly adminCertificate: { readonly certificate: string; readonly key: string };
  readonly #layout: Layout;
  readonly #programs: Programs;

  constructor(layout: Layout, programs: Programs) {
    this.#layout = layout;
    this.#programs = programs;
    this.dir = layout.dir;
    this.enter = layout.enter;
    this.certificateAuthority = layout.certificate("ca");
    this.adminCertificate = { certificate: layout.certificate("admin"), key: layout.key("admin") };
  }

  /** The path of a kubectl. */
  kubectlPath(version: "1.36" | "1.32" | "1.28" = "1.36"): string {
    return this.#programs.kubectl(version);
  }

  /** The URL of an API server, for programs inside the network namespace. */
  url(server: ServerName = "default"): string {
    return serverUrl(server);
  }

  /** A unix socket, in reach from inside and outside, whose other end is an API server; TLS goes inside of it. */
  socket(server: ServerName = "default"): string {
    return this.#layout.socket(server);
  }

  /** The kubeconfig file of a user at an API server. */
  kubeconfig(server: ServerName = "default", user: UserName = "admin"): string {
    return this.#layout.kubeconfig(server, user);
  }

  /** The variables for a kubectl, or the like, that a test starts by itself behind {@linkcode enter}. */
  environment(server: ServerName = "default", user: UserName = "admin"): Record<string, string> {
    return { KUBECONFIG: this.kubeconfig(server, user), KUBECACHEDIR: this.#layout.kubectlCache };
  }

  /** Runs a program inside the cluster's network namespace, to its end. */
  run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run([...this.enter, ...command], options);
  }

  /** Runs kubectl against the cluster. */
  kubectl(args: readonly string[], options: KubectlOptions = {}): Promise<RunResult> {
    const { version, server, user, ...rest } = options;
    const env = { ...this.environment(server, user), ...rest.env };
    return this.run([this.kubectlPath(version), ...args], { ...rest, env });
  }

  /**
   * Restarts an API server; `meanwhile` runs between its end and its start. The cluster itself lives on `default`.
   */
  async restartServer(server: ServerName, meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    await restartServer(this.#layout, server, meanwhile);
  }

  /** Creates what a manifest describes, does `work`, and deletes it, whatever happens. */
  async withObjects<T>(objects: readonly unknown[], work: () => Promise<T>): Promise<T> {
    const manifest = { stdin: JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }) };
    await this.#must(["create", "-f", "-"], manifest);
    try {
      return await work();
    } finally {
      await this.#must(["delete", "-f", "-", "--ignore-not-found", "--wait=false"], manifest);
    }
  }

  /** Creates a pod and waits until it runs. Prefer {@linkcode withPod}, which also deletes it. */
  async createPod(options: PodOptions = {}): Promise<TestPod> {
    const { node = "node1", prefix = "pod", containers = [{ name: "main", command: ["sleep", "infinity"] }] } = options;
    const name = `${prefix}-${crypto.randomUUID().slice(0, 8)}`;
    const complete = (container: ContainerSpec) => ({ image: IMAGE, imagePullPolicy: "Never", ...container });
    const manifest = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: NAMESPACE, labels: options.labels ?? {}, annotations: options.annotations ?? {} },
      spec: {
        nodeName: node,
        terminationGracePeriodSeconds: 1,
        ...options.spec,
        containers: containers.map(complete),
      },
    };
    const pod = { name, namespace: NAMESPACE, node };
    await this.#must(["create", "-f", "-"], { stdin: JSON.stringify(manifest) });
    const wanted = options.until ?? "Ready";
    const condition = wanted === "Ready" ? "condition=Ready" : `jsonpath={.status.phase}=${wanted}`;
    try {
      const limit = POD_READY_WITHIN;
      await this.#must(["wait", `--for=${condition}`, `pod/${name}`, `--timeout=${limit}ms`], { timeout: 2 * limit });
      return pod;
    } catch (error) {
      const { stdout } = await this.kubectl(["describe", "pod", name]);
      await this.deletePod(pod);
      throw new GroundError(`The pod ${name} did not become ${wanted}:\n${stdout}`, { cause: error });
    }
  }

  /** Asks for a pod's deletion; its containers end within about two seconds after that. */
  async deletePod(pod: TestPod): Promise<void> {
    await this.#must(["delete", "pod", pod.name, "-n", pod.namespace, "--ignore-not-found", "--wait=false"]);
  }

  /** Creates a pod, does `work` with it, and deletes it, whatever happens. */
  async withPod<T>(options: PodOptions, work: (pod: TestPod) => Promise<T>): Promise<T> {
    const pod = await this.createPod(options);
    try {
      return await work(pod);
    } finally {
      await this.deletePod(pod);
    }
  }

  async #must(args: readonly string[], options: RunOptions = {}): Promise<void> {
    const { code, stderr } = await this.kubectl(args, options);
    if (code !== 0) throw new GroundError(`kubectl ${args.join(" ")} failed: ${stderr}`);
  }
}
