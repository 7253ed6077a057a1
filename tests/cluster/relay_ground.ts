/**
 * What the tests of relays share: a namespace, the image, something on the node's localhost to relay, and the command line.
 *
 * @module
 */
import { denoFlags, ROOT } from "../offline/flags.ts";
import { type Ground, ground } from "./ground.ts";
import { must, until } from "./process.ts";
import { relayImage } from "./relay_image.ts";

/** How long a change may take until it is there, in milliseconds. */
export const WITHIN = 10_000;

/** Runs `podwire relay ARGS…` of this checkout, which must succeed, and gives what it printed. */
export async function podwireRelay(args: readonly string[]): Promise<string> {
  const deno = [Deno.execPath(), "run", "--allow-all", ...await denoFlags(), "cli.ts", "relay"];
  return await must([...deno, ...args], { cwd: ROOT.pathname });
}

/** A program in the cluster's network namespace that runs until its input ends. */
export class Inside implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor(cluster: Ground, script: string, args: readonly string[]) {
    const [program = "", ...before] = cluster.enter;
    const path = new URL(script, import.meta.url).pathname;
    this.#child = new Deno.Command(program, {
      args: [...before, Deno.execPath(), "run", "--allow-all", "--no-config", path, ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** The next line that it prints; throws if it has ended. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return line;
      }
      const { done, value } = await this.#lines.read();
      if (done) throw new Error("the program has ended; what it said is above");
      this.#rest += value;
    }
  }

  /** Ends its input, waits for its end, and gives its exit code and last words. */
  async end(): Promise<{ readonly code: number; readonly last: string }> {
    await this.#child.stdin.close().catch(() => {}); // It may have ended already.
    let last = this.#rest;
    for (let part = await this.#lines.read(); !part.done; part = await this.#lines.read()) last += part.value;
    return { code: (await this.#child.status).code, last: last.trim() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stdin.close().catch(() => {});
    await this.#lines.cancel().catch(() => {});
    await this.#child.status;
  }
}

/** A server on the nodes' localhost. */
export interface LocalServer extends AsyncDisposable {
  /** HTTP: `/metrics`, and secrets at every other path. */
  readonly http: number;
  /** A TCP echo. */
  readonly echo: number;
  /** A UDP echo. */
  readonly udp: number;
  /** HTTP on a unix socket, which everybody may open. */
  readonly unix: string;
}

/** Starts a {@linkcode LocalServer}. */
export async function localServer(cluster: Ground): Promise<LocalServer> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-relay-" });
  await Deno.chmod(folder, 0o755);
  const unix = `${folder}/http.sock`;
  const server = new Inside(cluster, "relay_server.ts", [unix]);
  const ports = JSON.parse(await server.line());
  return {
    ...ports,
    unix,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** A connection that is held open through a relay to the TCP echo. */
export async function hold(cluster: Ground, host: string, port: number): Promise<Inside> {
  const held = new Inside(cluster, "relay_hold.ts", [host, String(port)]);
  await held.line();
  return held;
}

/** A namespace for relays. */
export class RelayGround implements AsyncDisposable {
  readonly cluster: Ground;
  readonly namespace: string;
  readonly image: string;
  #withOperator = false;

  private constructor(cluster: Ground, namespace: string, image: string) {
    this.cluster = cluster;
    this.namespace = namespace;
    this.image = image;
  }

  /** A namespace with nothing in it. */
  static async create(): Promise<RelayGround> {
    const cluster = await ground();
    const relays = new RelayGround(cluster, `relay-${crypto.randomUUID().slice(0, 8)}`, await relayImage());
    await relays.apply([{
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: relays.namespace, labels: { "pod-security.kubernetes.io/enforce": "privileged" } },
    }]);
    return relays;
  }

  /** A namespace with the custom resource, and an operator that lets relays go to `allow`. */
  static async withOperator(allow: readonly string[]): Promise<RelayGround> {
    const relays = await RelayGround.create();
    relays.#withOperator = true;
    await relays.apply(await relays.#operatorManifest(allow));
    await relays.kubectl(["rollout", "status", "deployment/podwire-relay-operator", "--timeout=60s"]);
    return relays;
  }

  async #operatorManifest(allow: readonly string[]): Promise<string> {
    const image = [`--image=${this.image}`, "--image-pull-policy=Never"];
    return await podwireRelay(["crd", "-n", this.namespace, ...image, ...allow.map((entry) => `--allow=${entry}`)]);
  }

  /** Runs kubectl in the namespace; it must succeed. */
  async kubectl(args: readonly string[], stdin?: string): Promise<string> {
    const all = ["--namespace", this.namespace, ...args];
    const { code, stdout, stderr } = await this.cluster.kubectl(all, stdin === undefined ? {} : { stdin });
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Applies a manifest, or objects. */
  async apply(manifest: string | readonly unknown[]): Promise<void> {
    const text = typeof manifest === "string"
      ? manifest
      : JSON.stringify({ apiVersion: "v1", kind: "List", items: manifest });
    await this.kubectl(["apply", "--validate=strict", "-f", "-"], text);
  }

  /** Creates or changes a relay. */
  async relay(name: string, spec: unknown): Promise<void> {
    await this.apply([{
      apiVersion: "podwire.dev/v1alpha1",
      kind: "Relay",
      metadata: { name, namespace: this.namespace },
      spec,
    }]);
  }

  /** A relay's conditions, as `STATUS REASON` by type; and its nodes that are ready. */
  async status(
    name: string,
  ): Promise<
    { readonly accepted: string; readonly ready: string; readonly nodes: string[]; readonly generation: boolean }
  > {
    const { metadata, status = {} } = JSON.parse(await this.kubectl(["get", "relay", name, "-o", "json"]));
    const of = (conditions: Condition[] = [], type: string) => {
      const found = conditions.find((condition) => condition.type === type);
      return `${found?.status} ${found?.reason}`;
    };
    const nodes = (status.nodes ?? []) as { name: string; conditions: Condition[] }[];
    return {
      accepted: of(status.conditions, "Accepted"),
      ready: of(status.conditions, "Ready"),
      nodes: nodes.filter(({ conditions }) => of(conditions, "Ready").startsWith("True")).map(({ name }) => name)
        .sort(),
      generation: status.observedGeneration === metadata.generation,
    };
  }

  /** Waits until a relay works, and on which nodes. */
  async ready(name: string, nodes: readonly string[], within: number = WITHIN): Promise<void> {
    let last: unknown;
    await until(`the relay ${name} on ${nodes}`, within, async () => {
      const status = last = await this.status(name).catch(() => undefined);
      return status?.generation && status.ready === "True NodesReady" && status.nodes.join() === nodes.join() ||
        undefined;
    }).catch(async (cause) => {
      const pods = await this.kubectl(["get", "pods", "-o", "wide"]);
      throw new Error(`${JSON.stringify(last)}\n${pods}`, { cause });
    });
  }

  /** The address of a Service. */
  async address(service: string): Promise<string> {
    return await this.kubectl(["get", "service", service, "-o", "jsonpath={.spec.clusterIP}"]);
  }

  /** GETs `http://HOST:PORT/PATH` from inside the cluster's network: the status (0 without an answer) and the body. */
  async get(
    host: string,
    port: number,
    path: string,
    headers: readonly string[] = [],
  ): Promise<{ status: number; body: string }> {
    const { stdout } = await this.cluster.run([
      ...["curl", "--silent", "--path-as-is", "--max-time", "5", "--write-out", "\n%{http_code}"],
      ...headers.flatMap((header) => ["--header", header]),
      `http://${host}:${port}${path}`,
    ]);
    const end = stdout.lastIndexOf("\n");
    return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
  }

  /** What there is of the operator's children: `KIND/NAME`. */
  async children(): Promise<string[]> {
    const kinds = "daemonsets,configmaps,services,pods";
    const text = await this.kubectl([
      "get",
      kinds,
      "-l",
      "app.kubernetes.io/managed-by=podwire-relay-operator",
      "-o",
      "name",
    ]);
    return text.split("\n").filter((line) => line !== "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#withOperator) {
      const manifest = await this.#operatorManifest([]);
      // The custom resource itself stays: another test may be using it.
      const own = manifest.split("---\n").filter((part) => /^kind: Cluster/m.test(part)).join("---\n");
      await this.kubectl(["delete", "--ignore-not-found", "-f", "-"], own);
    }
    await this.kubectl(["delete", "namespace", this.namespace, "--wait=false"]);
  }
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
}
