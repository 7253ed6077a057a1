/**
 * Gateways in processes of their own, among the cluster's programs.
 *
 * @module
 */
import type { Ground, ServerName, UserName } from "./ground.ts";
import { podwire } from "./podwire.ts";

/** What a {@linkcode GatewayProcess} is to do. */
export interface GatewayProcessOptions {
  /** `default` when left out. */
  readonly server?: ServerName;
  /** As whom it goes there. `admin` when left out. */
  readonly user?: UserName;
  /** `unix` for a socket in {@linkcode GatewayProcess.folder}; TCP with a token when left out. */
  readonly listen?: "unix";
  /** More arguments. */
  readonly args?: readonly string[];
}

/** How a program ended. */
export interface Ended {
  readonly code: number;
  /** All of its standard error. */
  readonly stderr: string;
}

/** A program that runs until it gets a signal, and whose standard error says when it is ready. */
export class Running {
  /** Its process id: nothing stands between it and the test. */
  readonly pid: number;
  readonly #child: Deno.ChildProcess;
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended: Promise<Ended>;

  /** Starts `command`; it is ready when `ready` has appeared. */
  constructor(command: readonly string[], ready: string, env: Readonly<Record<string, string>> = {}) {
    const [program = "", ...args] = command;
    const options = { args, env: { ...env }, stdin: "null", stdout: "null", stderr: "piped" } as const;
    this.#child = new Deno.Command(program, options).spawn();
    this.pid = this.#child.pid;
    this.#ended = this.#read(ready);
    this.#ready.promise.catch(() => {}); // Whoever waits for it hears of it.
  }

  /** Resolves once it is ready; rejects if it ends before. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Sends a signal and waits for its end. */
  async end(signal: Deno.Signal = "SIGTERM"): Promise<Ended> {
    try {
      this.#child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error; // Else it has ended.
    }
    return await this.#ended;
  }

  async #read(ready: string): Promise<Ended> {
    let stderr = "";
    for await (const part of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      stderr += part;
      if (stderr.includes(ready)) this.#ready.resolve();
    }
    const { code } = await this.#child.status;
    this.#ready.reject(new Error(`the program has ended with ${code}: ${stderr}`));
    return { code, stderr };
  }
}

/** `podwire gateway`. */
export class GatewayProcess implements AsyncDisposable {
  /** Leads to it: over TCP for any client, over a unix socket for podwire. */
  readonly kubeconfig: string;
  /** Its socket, if it listens on one. */
  readonly socket: string;
  /** Its files. They go with it. */
  readonly folder: string;
  readonly #running: Running;

  private constructor(folder: string, running: Running) {
    this.folder = folder;
    this.kubeconfig = `${folder}/kubeconfig`;
    this.socket = `${folder}/gateway.sock`;
    this.#running = running;
  }

  /** Starts one, and waits until it can be used. */
  static async start(cluster: Ground, options: GatewayProcessOptions = {}): Promise<GatewayProcess> {
    const { server = "default", user = "admin", listen, args = [] } = options;
    const folder = await Deno.makeTempDir({ prefix: "podwire-gateway-" });
    const address = listen === "unix" ? `unix:${folder}/gateway.sock` : "127.0.0.1:0";
    const flags = ["--listen", address, "--write-kubeconfig", `${folder}/kubeconfig`, ...args];
    const command = [...cluster.enter, ...await podwire(), "gateway", ...flags];
    const running = new Running(command, "End it with Ctrl-C", cluster.environment(server, user));
    const gateway = new GatewayProcess(folder, running);
    try {
      await running.ready;
      return gateway;
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Its process id. */
  get pid(): number {
    return this.#running.pid;
  }

  /** Its URL, with the token if it listens on TCP. */
  get url(): URL {
    return new URL(JSON.parse(Deno.readTextFileSync(this.kubeconfig)).clusters[0].cluster.server);
  }

  /** Sends a signal and waits for its end. */
  async end(signal: Deno.Signal = "SIGTERM"): Promise<Ended> {
    return await this.#running.end(signal);
  }

  /** Ends it at once, and removes its files. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running.end("SIGKILL");
    await Deno.remove(this.folder, { recursive: true });
  }
}
