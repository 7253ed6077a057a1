/**
 * Local processes, served as remote commands.
 *
 * @module
 */
import { MAX_DELAY, PodwireError, readEnvironment, systemText } from "../bytes/mod.ts";
import { internalErrorStatus, type TerminalSize } from "../channels/mod.ts";
import { type CommandInput, type ServedCommand, type StatusText, statusText } from "./remote_command.ts";
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
  /** The same for a client who is to hear, once all its outputs have been read, that they are not whole. */
  readonly outcome: Promise<number | StatusText>;
  /** The process's id, and its group's and its session's. */
  readonly pid: number;
  readonly #child: Deno.ChildProcess;
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
    this.#child = child;
    this.#terminal = terminal;
    this.#leavesRest = options.leavesRest && !terminal;
    // After a signal, Deno's `code` is 128 plus its number, as a container runtime has it.
    this.exitCode = child.status.then(({ code }) => {
      this.#rest = new SessionRest(this.pid);
      if (!this.#leavesRest) this.#rest.kill();
      return code;
    });
    this.outcome = this.exitCode;
    if (terminal) {
      // Whoever holds the keyboard cannot end the input for good: Ctrl-D is for the command to read.
      if (options.stdin) this.stdin = { write: (data) => terminal.write(data), close: () => Promise.resolve() };
      this.stdout = terminal.output(this.exitCode);
      return;
    }
    const patience = options.leavesRest ? REST_SILENCE : PIPE_SILENCE;
    const outputs: PipeOutput[] = [];
    const silence = new Silence(this.exitCode, patience, () => outputs.forEach((output) => output.cut()));
    const read = (pipe: ReadableStream<Uint8Array>) => {
      const output = this.#add(new PipeOutput(pipe, silence));
      outputs.push(output);
      return output;
    };
    if (options.stdin) this.stdin = this.#add(new PipeInput(child.stdin));
    if (options.stdout) this.stdout = read(child.stdout);
    const stderr = options.stderr ? read(child.stderr) : undefined;
    const cut = Promise.all(outputs.map(({ ended }) => ended)).then((all) => all.includes(true));
    // Who outlives what is killed with all its rest has left it for good: what he says is no part of its output.
    if (stderr) this.stderr = options.leavesRest ? withNotice(stderr, cut, cutText(patience)) : stderr;
    else if (options.leavesRest) this.outcome = outcome(this.exitCode, cut, cutText(patience));
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
      if (this.#terminal) this.#signal("SIGHUP"); // A shell that talks to somebody ignores SIGTERM.
      this.#signal("SIGTERM");
      this.#signal("SIGCONT"); // A stopped process hears nothing before.
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
    else this.#signal("SIGKILL");
  }

  /** Lets go of its input and its outputs: what is still written there is lost. */
  close(): void {
    for (const pipe of this.#pipes) pipe.release();
    this.#terminal?.close();
  }

  /** Sends a signal to it and its process group; to itself alone where Deno permits no more. */
  #signal(signal: Deno.Signal): void {
    if (signalGroup(this.pid, signal)) return;
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended, and that will show.
    }
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
  /** One for all outputs of the command. */
  readonly #silence: Silence;

  constructor(pipe: ReadableStream<Uint8Array>, silence: Silence) {
    ({ promise: this.ended, resolve: this.#end } = Promise.withResolvers<boolean>());
    this.#reader = pipe.getReader({ mode: "byob" });
    this.#silence = silence;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      let buffer = new Uint8Array(MAX_READ);
      for (;;) {
        this.#silence.waits(this);
        const { value, done } = await this.#reader.read(buffer);
        this.#silence.hears(this);
        if (done || value === undefined) return;
        yield value;
        buffer = new Uint8Array(value.buffer, 0, value.buffer.byteLength);
      }
    } finally {
      this.release();
    }
  }

  /** Ends it behind those who still hold it open. */
  cut(): void {
    this.#end(true);
    this.release();
  }

  release(): void {
    this.#end(false);
    this.#silence.ends(this);
    this.#reader.cancel().catch(() => {}); // It has broken already.
  }
}

/** A command's errors, with a line behind them if they or its output were cut off. */
async function* withNotice(stderr: PipeOutput, cut: Promise<boolean>, text: string): AsyncGenerator<Uint8Array> {
  yield* stderr;
  if (await cut) yield new TextEncoder().encode(`podwire host: ${text}\n`);
}

/** The exit code, but no success where there are no errors to tell in that the output was cut off: 0 would say that it is whole. */
async function outcome(exitCode: Promise<number>, cut: Promise<boolean>, text: string): Promise<number | StatusText> {
  const code = await exitCode;
  if (code !== 0 || !await cut) return code;
  return statusText(internalErrorStatus(`error executing command in container: ${text}`));
}

function cutText(patience: number): string {
  return "the command has ended, but something that it left running holds its output open: " +
    `ended after ${patience / 1000} s of silence`;
}

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
