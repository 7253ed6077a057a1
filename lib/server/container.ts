/**
 * A container of the embedded host: a local process, started again as its pod wishes.
 *
 * @module
 */
import { messageOf, pause, within } from "../bytes/mod.ts";
import { Broadcast } from "./broadcast.ts";
import { ContainerLog } from "./container_log.ts";
import { HostProcess, type ProcessOptions, StartError } from "./process.ts";
import type { CommandInput, RemoteCommandRequest, ServedCommand } from "./remote_command.ts";
import { Mark } from "./strays.ts";

/** A container of the embedded host: a local process, and where commands run that are executed in it. */
export interface HostContainer {
  /** The name, unique in its pod. */
  readonly name: string;
  /** Program and arguments of its main process. */
  readonly command: readonly string[];
  /** Further arguments. */
  readonly args?: readonly string[];
  /** Environment variables on top of the host's own, for every command. */
  readonly env?: Readonly<Record<string, string>>;
  /** The working directory of every command. Default: the host's. */
  readonly cwd?: string;
  /** Whether the main process has a terminal. */
  readonly tty?: boolean;
  /** Whether the main process has an input to attach to. */
  readonly stdin?: boolean;
  /** Ports that clients are told of, so that they can be forwarded by name; all others can be forwarded, too. */
  readonly ports?: readonly ContainerPort[];
}

/** A port that a container declares. */
export interface ContainerPort {
  /** The port. */
  readonly containerPort: number;
  /** Its name, such as `http`. */
  readonly name?: string;
}

/** When containers are started again: whenever they end, unless it was with code 0, or not at all. */
export type RestartPolicy = "Always" | "OnFailure" | "Never";

/** A container that waits to be started again. */
export interface WaitingState {
  /** The kind of state. */
  readonly type: "waiting";
  /** `CrashLoopBackOff`. */
  readonly reason: string;
  /** Until when, and what. */
  readonly message: string;
}

/** A container that runs. */
export interface RunningState {
  /** The kind of state. */
  readonly type: "running";
  /** Since when. */
  readonly startedAt: Date;
}

/** A container that has ended. */
export interface TerminatedState {
  /** The kind of state. */
  readonly type: "terminated";
  /** When it was started. */
  readonly startedAt: Date;
  /** When it ended. */
  readonly finishedAt: Date;
  /** The exit code; after a signal 128 and its number. */
  readonly exitCode: number;
  /** `Completed`, `Error` or `StartError`. */
  readonly reason: string;
  /** More about it. */
  readonly message?: string;
}

/** How a container is. */
export type ContainerState = WaitingState | RunningState | TerminatedState;

/** What a container has from its pod. */
export interface ContainerOptions {
  /** When it is started again. */
  readonly restartPolicy: RestartPolicy;
  /** Its pod, for texts: `web_default(UID)`. */
  readonly pod: string;
  /** How long the second start again waits, in milliseconds; each further one twice as long. */
  readonly backOff: number;
  /** Is told that its state has changed. */
  readonly onChange: () => void;
}

/** A {@linkcode HostContainer} that was started. */
export class Container {
  /** What was asked for. */
  readonly spec: HostContainer;
  readonly #options: ContainerOptions;
  readonly #ended = new AbortController();
  #run: Run | undefined;
  #starting: Promise<void> = Promise.resolve();
  #log = new ContainerLog();
  #previousLog: ContainerLog | undefined;
  #state: ContainerState;
  #lastState: TerminatedState | undefined;
  #restartCount = 0;

  private constructor(spec: HostContainer, options: ContainerOptions) {
    this.spec = spec;
    this.#options = options;
    this.#state = { type: "waiting", reason: "ContainerCreating", message: "" };
  }

  /** Starts the main process. One that cannot be started is a container that has ended. */
  static async start(spec: HostContainer, options: ContainerOptions): Promise<Container> {
    const container = new Container(spec, options);
    await container.#start();
    void container.#keepRunning();
    return container;
  }

  /** How it is now. */
  get state(): ContainerState {
    return this.#state;
  }

  /** How it ended the time before. */
  get lastState(): TerminatedState | undefined {
    return this.#lastState;
  }

  /** How often it was started again. */
  get restartCount(): number {
    return this.#restartCount;
  }

  /** What it has written since it was started last. */
  get log(): ContainerLog {
    return this.#log;
  }

  /** What it had written the time before. */
  get previousLog(): ContainerLog | undefined {
    return this.#previousLog;
  }

  /**
   * Runs another command beside the main process, with which it ends.
   *
   * @throws {StartError} If it cannot be started.
   * @throws {TerminalError} If a terminal is wanted and there is none to be had.
   */
  async exec(request: RemoteCommandRequest): Promise<ServedCommand> {
    try {
      if (!this.#run) throw new StartError("cannot exec in a stopped container");
      return await this.#run.exec(this.spec, request);
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
    const run = this.#run;
    const stdout = request.stdout ? run?.stdout.join() : undefined;
    const stderr = request.stderr ? run?.stderr.join() : undefined;
    const { promise: detached, resolve: detach } = Promise.withResolvers<void>();
    const leave = () => {
      run?.stdout.leave(stdout);
      run?.stderr.leave(stderr);
      detach();
    };
    const input = run?.process.stdin;
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
      exitCode: Promise.race([detached, run?.process.exitCode]).then(() => 0),
      resize: (size) => run?.process.resize(size),
      end: () => {
        leave();
        stdout?.cancel();
        stderr?.cancel();
        return Promise.resolve();
      },
    };
  }

  /** Ends the main process, which is killed after `grace` milliseconds, for good. */
  async end(grace?: number): Promise<void> {
    this.#ended.abort();
    await this.#starting;
    await this.#run?.process.end(grace);
    await this.#outputTaken();
    this.#run?.process.close();
  }

  #start(): Promise<void> {
    return this.#starting = this.#startProcess();
  }

  async #startProcess(): Promise<void> {
    const { tty = false, stdin = false, command, args = [] } = this.spec;
    const startedAt = new Date();
    try {
      const options = { ...this.spec, command: [...command, ...args], tty, stdin, stdout: true, stderr: !tty };
      this.#run = await Run.start(options, this.#log);
      this.#change({ type: "running", startedAt });
    } catch (error) {
      this.#run = undefined;
      this.#log.end();
      const message = messageOf(error);
      const ended = { startedAt, finishedAt: new Date(), exitCode: 128, reason: "StartError", message };
      this.#change({ type: "terminated", ...ended });
    }
  }

  /** Starts it again and again, as its pod wishes (kubernetes `pkg/kubelet/kuberuntime`, `doBackOff`). */
  async #keepRunning(): Promise<void> {
    for (let delay = 0;;) {
      const ended = await this.#exit();
      if (!this.#restarts(ended)) {
        await this.#run?.over;
        return;
      }
      if (ended.finishedAt.getTime() - ended.startedAt.getTime() >= BACK_OFF_RESET) delay = 0;
      this.#lastState = ended;
      if (delay > 0) {
        const message = `back-off ${
          goSeconds(delay)
        } restarting failed container=${this.spec.name} pod=${this.#options.pod}`;
        this.#change({ type: "waiting", reason: "CrashLoopBackOff", message });
      }
      await this.#outputTaken(); // What it left behind must be gone before it is there again.
      const { signal } = this.#ended;
      await pause(delay, signal);
      if (signal.aborted) return;
      delay = delay === 0 ? this.#options.backOff : Math.min(2 * delay, MAX_BACK_OFF);
      this.#previousLog = this.#log;
      this.#log = new ContainerLog();
      this.#restartCount++;
      await this.#start();
    }
  }

  /** Waits until what the process wrote has been taken, but not for attached clients who read nothing. */
  async #outputTaken(): Promise<void> {
    if (this.#run) await within(OUTPUT_TIME, this.#run.over);
  }

  /** Waits until it has ended. */
  async #exit(): Promise<TerminatedState> {
    if (this.#state.type === "terminated") return this.#state;
    const exitCode = await this.#run!.process.exitCode;
    const ended: TerminatedState = {
      type: "terminated",
      startedAt: (this.#state as RunningState).startedAt,
      finishedAt: new Date(),
      exitCode,
      reason: exitCode === 0 ? "Completed" : "Error",
    };
    this.#change(ended);
    return ended;
  }

  #restarts({ exitCode }: TerminatedState): boolean {
    if (this.#ended.signal.aborted) return false;
    const { restartPolicy } = this.#options;
    return restartPolicy === "Always" || (restartPolicy === "OnFailure" && exitCode !== 0);
  }

  #change(state: ContainerState): void {
    this.#state = state;
    this.#options.onChange();
  }
}

/** One run of the main process, and of what is executed beside it. As in a container, nothing outlives the main process. */
class Run {
  readonly process: HostProcess;
  readonly stdout = new Broadcast();
  readonly stderr = new Broadcast();
  /** Resolves once it has ended, all that it wrote has been taken, and nothing of it is left. */
  readonly over: Promise<void>;
  readonly #mark: Mark;
  /** The commands beside the main process; none is taken any more once it has ended. */
  readonly #guests = new Set<HostProcess>();
  #ended = false;

  static async start(options: Omit<ProcessOptions, "leavesRest">, log: ContainerLog): Promise<Run> {
    const mark = new Mark();
    const env = { ...options.env, ...mark.variable };
    return new Run(await HostProcess.start({ ...options, env, leavesRest: false }), mark, log);
  }

  private constructor(process: HostProcess, mark: Mark, log: ContainerLog) {
    this.process = process;
    this.#mark = mark;
    this.over = Promise.all([
      this.stdout.pump(process.stdout, (data) => log.append("stdout", data)),
      this.stderr.pump(process.stderr, (data) => log.append("stderr", data)),
      process.exitCode.then(() => this.#killGuests()),
    ]).then(async () => {
      log.end();
      await process.end();
      process.close();
    });
  }

  /**
   * Runs another command.
   *
   * @throws {StartError} If it cannot be started, or the main process has ended.
   * @throws {TerminalError} If a terminal is wanted and there is none to be had.
   */
  async exec({ env, cwd }: HostContainer, request: RemoteCommandRequest): Promise<ServedCommand> {
    const guest = await HostProcess.start({
      ...request,
      env: { ...env, ...this.#mark.variable },
      ...(cwd !== undefined && { cwd }),
      leavesRest: true,
    });
    const { stdin, stdout, stderr, outcome } = guest;
    this.#guests.add(guest);
    if (this.#ended) this.#killGuests(); // While it was starting.
    return {
      ...(stdin && { stdin }),
      ...(stdout && { stdout }),
      ...(stderr && { stderr }),
      exitCode: outcome,
      resize: (size) => guest.resize(size),
      end: async () => {
        await guest.end();
        guest.close();
        this.#guests.delete(guest);
      },
    };
  }

  #killGuests(): void {
    this.#ended = true;
    for (const guest of this.#guests) guest.kill();
    this.#mark.kill();
  }
}

/** A container that ran for so long starts with no back-off again, in milliseconds (kubernetes `pkg/kubelet`, twice the longest). */
const BACK_OFF_RESET = 600_000;

/** The longest back-off, in milliseconds. */
const MAX_BACK_OFF = 300_000;

/** How long the attached clients of a container that has ended may take with what it wrote last, in milliseconds. */
const OUTPUT_TIME = 5_000;

/** Go's text for whole seconds: `10s`, `2m40s`. */
function goSeconds(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
