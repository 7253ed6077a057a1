/**
 * Local processes, served as remote commands.
 *
 * @module
 */
import { MAX_DELAY, PodwireError, readEnvironment, systemText } from "../bytes/mod.ts";
import type { TerminalSize } from "../channels/mod.ts";
import type { CommandInput, ServedCommand } from "./remote_command.ts";
import { Silence } from "./silence.ts";
import { SessionRest, signalGroup } from "./strays.ts";
import { Terminal } from "./terminal.ts";

/** What to run, and which of its streams are wanted. */
export interface ProcessOptions {
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Variables on top of the host's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** The working directory. Default: the host's. */
  readonly cwd?: string;
  /** Whether it runs in a terminal of its own. */
  readonly tty: boolean;
  /** Whether its input is wanted; else it reads an empty file. */
  readonly stdin: boolean;
  /** Whether its output is wanted; else it writes to nowhere. */
  readonly stdout: boolean;
  /** Whether its errors are wanted; with a terminal they are part of the output. */
  readonly stderr: boolean;
  /**
   * Whether what it leaves running may go on until {@linkcode HostProcess.end}, and write meanwhile; else it is killed with it, as all of
   * a container is with its main process. With a terminal it always is: the system hangs that up when its leader ends.
   */
  readonly leavesRest: boolean;
}

/** A command that could not be started; the text behind it is the one that runc gives. */
export class StartError extends PodwireError {
  /** The class's name. */
  override name = "StartError";
}

/** A local process that leads a session of its own, so that it can be ended with all its children. */
export class HostProcess implements ServedCommand {
  readonly stdin?: CommandInput;
  readonly stdout?: AsyncIterable<Uint8Array>;
  readonly stderr?: AsyncIterable<Uint8Array>;
  readonly exitCode: Promise<number>;
  /** The process's id, and its group's and its session's. */
  readonly pid: number;
  readonly #terminal: Terminal | undefined;
  readonly #pipes: Array<PipeInput | PipeOutput> = [];
  #leavesRest: boolean;
  /** What it has left behind, once it has ended. Its id is nobody's then. */
  #rest: SessionRest | undefined;

  /**
   * Starts a process.
   *
   * @throws {StartError} If there is no such program.
   * @throws {TerminalError} If a terminal is wanted and there is none to be had.
   */
  static async start(options: ProcessOptions): Promise<HostProcess> {
    await findProgram(options);
    const terminal = options.tty ? Terminal.open() : undefined;
    try {
      return new HostProcess(spawn(options, terminal), terminal, options);
    } catch (error) {
      terminal?.close();
      throw error;
    }
  }

  private constructor(child: Deno.ChildProcess, terminal: Terminal | undefined, options: ProcessOptions) {
    this.pid = child.pid;
    this.#terminal = terminal;
    this.#leavesRest = options.leavesRest && !terminal;
    // After a signal, Deno's `code` is 128 plus its number, as a container runtime has it.
    this.exitCode = child.status.then(({ code }) => {
      this.#rest = new SessionRest(this.pid);
      if (!this.#leavesRest) this.#rest.kill();
      return code;
    });
    if (terminal) {
      // Whoever holds the keyboard cannot end the input for good: Ctrl-D is for the command to read.
      if (options.stdin) this.stdin = { write: (data) => terminal.write(data), close: () => Promise.resolve() };
      this.stdout = terminal.output(this.exitCode);
      return;
    }
    const patience = options.leavesRest ? REST_SILENCE : PIPE_SILENCE;
    const read = (pipe: ReadableStream<Uint8Array>) => this.#add(new PipeOutput(pipe, this.exitCode, patience));
    if (options.stdin) this.stdin = this.#add(new PipeInput(child.stdin));
    const stdout = options.stdout ? read(child.stdout) : undefined;
    if (stdout) this.stdout = stdout;
    if (options.stderr) this.stderr = withNotice(read(child.stderr), stdout);
  }

  resize(size: TerminalSize): void {
    this.#terminal?.resize(size);
  }

  /**
   * Ends the process, which is asked `grace` milliseconds (at most {@linkcode MAX_DELAY}) before it is killed, and what it left running in
   * the background.
   */
  async end(grace: number = END_GRACE): Promise<void> {
    if (!this.#rest) {
      if (this.#terminal) signalGroup(this.pid, "SIGHUP"); // A shell that talks to somebody ignores SIGTERM.
      signalGroup(this.pid, "SIGTERM");
      signalGroup(this.pid, "SIGCONT"); // A stopped process hears nothing before.
      const timer = setTimeout(() => this.kill(), Math.min(grace, MAX_DELAY));
      await this.exitCode;
      clearTimeout(timer);
    }
    this.#rest?.kill();
  }

  /** Kills the process, and what it left running in the background. */
  kill(): void {
    this.#leavesRest = false;
    if (this.#rest) this.#rest.kill();
    else signalGroup(this.pid, "SIGKILL");
  }

  /** Lets go of its input and its outputs: what is still written there is lost. */
  close(): void {
    for (const pipe of this.#pipes) pipe.release();
    this.#terminal?.close();
  }

  #add<T extends PipeInput | PipeOutput>(pipe: T): T {
    this.#pipes.push(pipe);
    return pipe;
  }
}

/** How long a process may take to end after it was asked to, in milliseconds. */
const END_GRACE = 2_000;

/** After a command's end somebody who was to be killed with it may hold its pipes open: how long to wait for a word of them, in milliseconds. */
const PIPE_SILENCE = 1_000;

/**
 * The same where background children may go on. A container runtime waits for them without an end, as the end of the pipes is the only sure
 * sign that all has been said; but then a server in the background keeps a session from ending that nobody needs any more.
 */
const REST_SILENCE = 5_000;

/** As client-go's copy buffer: the largest part of an output, in bytes. */
const MAX_READ = 32 * 1024;

function spawn(options: ProcessOptions, terminal: Terminal | undefined): Deno.ChildProcess {
  try {
    return spawnUnexplained(options, terminal);
  } catch (cause) {
    // What only shows here: a script whose interpreter is missing, a file of another machine, a NUL in an argument.
    const [program] = options.command;
    const text = systemText(cause).replace(/^failed to spawn '.*': (.)/is, (_, first) => first.toLowerCase());
    throw new StartError(startText(`exec ${program}: ${text}`), { cause });
  }
}

function spawnUnexplained(options: ProcessOptions, terminal: Terminal | undefined): Deno.ChildProcess {
  const [program = "", ...args] = options.command;
  const piped = (wanted: boolean) => wanted ? "piped" : "null";
  const settings = {
    detached: true, // A session of its own.
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(terminal ? { env: { TERM: "xterm", ...options.env } } : options.env && { env: options.env }),
  };
  if (!terminal) {
    return new Deno.Command(program, {
      ...settings,
      args,
      stdin: piped(options.stdin),
      stdout: piped(options.stdout),
      stderr: piped(options.stderr),
    }).spawn();
  }
  // The first terminal that the leader of a session opens becomes its controlling one (tty_ioctl(4)).
  return new Deno.Command("/bin/sh", {
    ...settings,
    args: ["-c", `exec "$@" <>"$0" >&0 2>&0`, terminal.path, program, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

class PipeInput implements CommandInput {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor(pipe: WritableStream<Uint8Array>) {
    this.#writer = pipe.getWriter();
    this.#writer.closed.catch(() => {}); // EPIPE: the command has stopped reading, which is its right.
  }

  write(data: Uint8Array): Promise<void> {
    return this.#writer.write(data).catch(() => {});
  }

  close(): Promise<void> {
    return this.#writer.close().catch(() => {});
  }

  release(): void {
    this.#writer.abort().catch(() => {}); // It has broken already.
  }
}

/** A command's pipe, to its end, or until the command has ended and its children are silent. Read it once. */
class PipeOutput implements AsyncIterable<Uint8Array> {
  /** Resolves when nothing more comes, with whether it was cut off behind somebody who still held it open. */
  readonly ended: Promise<boolean>;
  readonly #end: (cut: boolean) => void;
  readonly #reader: ReadableStreamBYOBReader;
  readonly #silence: Silence;

  constructor(pipe: ReadableStream<Uint8Array>, exit: Promise<unknown>, patience: number) {
    ({ promise: this.ended, resolve: this.#end } = Promise.withResolvers<boolean>());
    this.#reader = pipe.getReader({ mode: "byob" });
    this.#silence = new Silence(exit, patience, () => {
      this.#end(true);
      this.release();
    });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      let buffer = new Uint8Array(MAX_READ);
      for (;;) {
        this.#silence.waits();
        const { value, done } = await this.#reader.read(buffer);
        this.#silence.hears();
        if (done || value === undefined) return;
        yield value;
        buffer = new Uint8Array(value.buffer, 0, value.buffer.byteLength);
      }
    } finally {
      this.release();
    }
  }

  release(): void {
    this.#end(false);
    this.#silence.hears();
    this.#reader.cancel().catch(() => {}); // It has broken already.
  }
}

/** A command's errors, with a line behind them if it or its output was cut off. */
async function* withNotice(stderr: PipeOutput, stdout: PipeOutput | undefined): AsyncGenerator<Uint8Array> {
  yield* stderr;
  const cut = await Promise.all([stderr.ended, stdout?.ended]);
  if (cut.includes(true)) yield new TextEncoder().encode(NOTICE);
}

const NOTICE = "podwire host: the command has ended, but something that it left running holds its output open: " +
  "ended after 5 s of silence\n";

/** Looks for the program as a container runtime does, for the runtime's own words if it is not there. */
async function findProgram({ command, env, cwd }: ProcessOptions): Promise<void> {
  const [program] = command;
  if (program === undefined) throw new StartError("args must not be empty");
  if (cwd !== undefined && !await isDirectory(cwd)) {
    throw new StartError(startText(`chdir to cwd (${JSON.stringify(cwd)}) set in config.json failed`));
  }
  if (program.includes("/")) {
    const path = program.startsWith("/") || cwd === undefined ? program : `${cwd}/${program}`;
    const found = await lookUp(path);
    if (found === "missing") {
      throw new StartError(
        startText(`exec: ${JSON.stringify(program)}: stat ${program}: no such file or directory`),
      );
    }
    if (found !== "executable") throw new StartError(startText(`exec: ${JSON.stringify(program)}: permission denied`));
    return;
  }
  for (const folder of (env?.PATH ?? readEnvironment("PATH") ?? "/usr/local/bin:/usr/bin:/bin").split(":")) {
    if (program !== "" && await lookUp(`${folder || "."}/${program}`) === "executable") return;
  }
  throw new StartError(startText(`exec: ${JSON.stringify(program)}: executable file not found in $PATH`));
}

function startText(text: string): string {
  return `unable to start container process: ${text}`;
}

async function lookUp(path: string): Promise<"executable" | "forbidden" | "missing"> {
  try {
    const { isFile, mode } = await Deno.stat(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0 ? "executable" : "forbidden";
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      throw new StartError(startText(`Deno does not permit to look for ${path}; run the host with --allow-read`));
    }
    if (error instanceof Deno.errors.PermissionDenied) return "forbidden";
    return "missing"; // ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG: whatever it is, nothing there can be run.
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return await Deno.stat(path).then((info) => info.isDirectory, () => false);
}
