/**
 * Pods whose containers are local processes.
 *
 * @module
 */
import { ByteQueue } from "../bytes/mod.ts";
import { HostProcess, StartError } from "./process.ts";
import type { CommandInput, RemoteCommandRequest, ServedCommand } from "./remote_command.ts";

/** A pod of the embedded host. */
export interface HostPod {
  /** The name. */
  readonly name: string;
  /** The namespace. Default `default`. */
  readonly namespace?: string;
  /** The labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The annotations. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** The containers, at least one. */
  readonly containers: readonly HostContainer[];
  /** Ports of this machine that stand for other ports of the pod; those that are not named stand for themselves. */
  readonly ports?: Readonly<Record<number, number>>;
}

/** A container of the embedded host: a local process, and where commands run that are executed in it. */
export interface HostContainer {
  /** The name, unique in its pod. */
  readonly name: string;
  /** Program and arguments of its main process. */
  readonly command: readonly string[];
  /** Environment variables on top of the host's own, for every command. */
  readonly env?: Readonly<Record<string, string>>;
  /** The working directory of every command. Default: the host's. */
  readonly cwd?: string;
  /** Whether the main process has a terminal. */
  readonly tty?: boolean;
  /** Whether the main process has an input to attach to. */
  readonly stdin?: boolean;
}

/** How a container is. */
export type ContainerState =
  | { readonly type: "running"; readonly startedAt: Date }
  | {
    readonly type: "terminated";
    readonly startedAt: Date;
    readonly finishedAt: Date;
    readonly exitCode: number;
    readonly reason: string;
    readonly message?: string;
  };

/** A running {@linkcode HostPod}. */
export class Pod {
  /** What was asked for. */
  readonly spec: HostPod;
  /** The namespace. */
  readonly namespace: string;
  /** The unique id. */
  readonly uid: string = crypto.randomUUID();
  /** When it was made. */
  readonly createdAt: Date = new Date();
  /** The containers, in order. */
  readonly containers: readonly Container[];

  private constructor(spec: HostPod, containers: readonly Container[]) {
    this.spec = spec;
    this.namespace = spec.namespace ?? "default";
    this.containers = containers;
  }

  /** Starts the containers' main processes. One that cannot be started is a container that has ended. */
  static async start(spec: HostPod): Promise<Pod> {
    return new Pod(spec, await Promise.all(spec.containers.map((container) => Container.start(container))));
  }

  /** The pod's phase, as if its containers were never restarted. */
  get phase(): "Running" | "Succeeded" | "Failed" {
    const states = this.containers.map((container) => container.state);
    if (states.some((state) => state.type === "running")) return "Running";
    return states.every((state) => state.type === "terminated" && state.exitCode === 0) ? "Succeeded" : "Failed";
  }

  /** Ends every process. */
  async end(): Promise<void> {
    await Promise.all(this.containers.map((container) => container.end()));
  }
}

/** A running {@linkcode HostContainer}. */
export class Container {
  /** What was asked for. */
  readonly spec: HostContainer;
  readonly #main: HostProcess | undefined;
  readonly #stdout = new Broadcast();
  readonly #stderr = new Broadcast();
  #state: ContainerState;

  private constructor(spec: HostContainer, main: HostProcess | undefined, state: ContainerState) {
    this.spec = spec;
    this.#main = main;
    this.#state = state;
    if (main) void this.#watch(main);
  }

  /** Starts the main process. */
  static async start(spec: HostContainer): Promise<Container> {
    const { tty = false, stdin = false } = spec;
    const startedAt = new Date();
    try {
      const main = await HostProcess.start({ ...spec, tty, stdin, stdout: true, stderr: !tty });
      return new Container(spec, main, { type: "running", startedAt });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const ended = { startedAt, finishedAt: new Date(), exitCode: 128, reason: "StartError", message };
      return new Container(spec, undefined, { type: "terminated", ...ended });
    }
  }

  /** How it is now. */
  get state(): ContainerState {
    return this.#state;
  }

  /**
   * Runs another command beside the main process.
   *
   * @throws {StartError} If it cannot be started.
   * @throws {TerminalError} If a terminal is wanted and there is none to be had.
   */
  async exec(request: RemoteCommandRequest): Promise<ServedCommand> {
    const { env, cwd } = this.spec;
    try {
      return await HostProcess.start({ ...request, ...(env && { env }), ...(cwd !== undefined && { cwd }) });
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      const id = crypto.getRandomValues(new Uint8Array(32)).toHex();
      throw new StartError(
        `failed to exec in container: failed to start exec "${id}": OCI runtime exec failed: exec failed: ${error.message}`,
        { cause: error },
      );
    }
  }

  /**
   * A place at the main process's streams. It hears what is written from now on, and ends when the
   * process does or its client's input does, as Kubernetes' attach; the process goes on.
   */
  attach(request: RemoteCommandRequest): ServedCommand {
    const main = this.#main;
    const stdout = request.stdout ? this.#stdout.join() : undefined;
    const stderr = request.stderr ? this.#stderr.join() : undefined;
    const { promise: detached, resolve: detach } = Promise.withResolvers<void>();
    const leave = () => {
      this.#stdout.leave(stdout);
      this.#stderr.leave(stderr);
      detach();
    };
    const input = main?.stdin;
    const stdin: CommandInput | undefined = request.stdin && input
      ? {
        write: (data) => input.write(data.slice()), // Several clients may write: each gives its bytes away.
        close: () => Promise.resolve(leave()),
      }
      : undefined;
    return {
      ...(stdin && { stdin }),
      ...(stdout && { stdout: stdout.readable() }),
      ...(stderr && { stderr: stderr.readable() }),
      exitCode: Promise.race([detached, main?.exitCode]).then(() => 0),
      resize: (size) => main?.resize(size),
      end: () => {
        leave();
        stdout?.cancel();
        stderr?.cancel();
        return Promise.resolve();
      },
    };
  }

  /** Ends the main process. */
  async end(): Promise<void> {
    await this.#main?.end();
  }

  async #watch(main: HostProcess): Promise<void> {
    const outputs = [this.#stdout.pump(main.stdout), this.#stderr.pump(main.stderr)];
    const exitCode = await main.exitCode;
    this.#state = {
      type: "terminated",
      startedAt: this.#state.startedAt,
      finishedAt: new Date(),
      exitCode,
      reason: exitCode === 0 ? "Completed" : "Error",
    };
    await Promise.all(outputs);
    await main.end();
  }
}

/** One output, for everybody who is there: the slowest holds it up, as in Kubernetes. */
class Broadcast {
  /** With each, its write under way. */
  readonly #members = new Map<ByteQueue, Promise<void> | void>();
  #ended = false;

  /** A queue that gets what comes from now on. */
  join(): ByteQueue {
    const queue = new ByteQueue();
    if (this.#ended) queue.close();
    else this.#members.set(queue, undefined);
    return queue;
  }

  /** Ends the queue, which gets nothing more but what is being written to it. */
  leave(member: ByteQueue | undefined): void {
    if (!member) return;
    const writing = this.#members.get(member);
    if (!this.#members.delete(member)) return;
    if (writing) void writing.then(() => member.close());
    else member.close();
  }

  /** Reads `output` to its end. */
  async pump(output: AsyncIterable<Uint8Array> | undefined): Promise<void> {
    for await (const data of output ?? []) {
      for (const member of this.#members.keys()) this.#members.set(member, member.write(data.slice()));
      await Promise.all(this.#members.values());
      for (const member of this.#members.keys()) this.#members.set(member, undefined);
    }
    this.#ended = true;
    for (const member of this.#members.keys()) this.leave(member);
  }
}
