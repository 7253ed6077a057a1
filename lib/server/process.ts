/**
 * Local processes, served as remote commands.
 *
 * @module
 */
import { PodwireError, readEnvironment } from "../bytes/mod.ts";
import type { TerminalSize } from "../channels/mod.ts";
import type { CommandInput, ServedCommand } from "./remote_command.ts";
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
  /** The process's id, and its group's. */
  readonly pid: number;
  readonly #terminal: Terminal | undefined;
  #exited = false;

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
    // After a signal, Deno's `code` is 128 plus its number, as a container runtime has it.
    this.exitCode = child.status.then(({ code }) => {
      this.#exited = true;
      return code;
    });
    if (terminal) {
      // Whoever holds the keyboard cannot end the input for good: Ctrl-D is for the command to read.
      if (options.stdin) this.stdin = { write: (data) => terminal.write(data), close: () => Promise.resolve() };
      this.stdout = terminal.output();
    } else {
      if (options.stdin) this.stdin = new PipeInput(child.stdin);
      if (options.stdout) this.stdout = readPipe(child.stdout, this.exitCode);
      if (options.stderr) this.stderr = readPipe(child.stderr, this.exitCode);
    }
  }

  resize(size: TerminalSize): void {
    this.#terminal?.resize(size);
  }

  /** Ends the process, which is asked `grace` milliseconds before it is killed, and what it left running in the background. */
  async end(grace: number = END_GRACE): Promise<void> {
    if (!this.#exited) {
      if (this.#terminal) signalGroup(this.pid, "SIGHUP"); // A shell that talks to somebody ignores SIGTERM.
      signalGroup(this.pid, "SIGTERM");
      signalGroup(this.pid, "SIGCONT"); // A stopped process hears nothing before.
      const timer = setTimeout(() => signalGroup(this.pid, "SIGKILL"), grace);
      await this.exitCode;
      clearTimeout(timer);
    }
    signalGroup(this.pid, "SIGKILL");
    this.#terminal?.close();
  }
}

/** How long a process may take to end after it was asked to, in milliseconds. */
const END_GRACE = 2_000;

/** After a command's end, background children may hold its pipes open: how long to wait for a word of them, in milliseconds. */
const PIPE_SILENCE = 1_000;

/** How often to listen for that, in milliseconds. */
const PIPE_BEAT = 50;

/** As client-go's copy buffer: the largest part of an output, in bytes. */
const MAX_READ = 32 * 1024;

function spawn(options: ProcessOptions, terminal: Terminal | undefined): Deno.ChildProcess {
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
}

/** Reads a command's pipe to its end, or until the command has ended and its children are silent. */
async function* readPipe(pipe: ReadableStream<Uint8Array>, exit: Promise<unknown>): AsyncGenerator<Uint8Array> {
  const reader = pipe.getReader({ mode: "byob" });
  let exited = false;
  let waiting = false;
  let timer: ReturnType<typeof setInterval> | undefined;
  const watch = () => {
    if (!exited || !waiting) return;
    let silence = 0;
    let last = performance.now();
    timer = setInterval(() => {
      const now = performance.now();
      // Who was too busy to be in time may not have heard what is there.
      if (now - last < 2 * PIPE_BEAT) silence += PIPE_BEAT;
      last = now;
      if (silence >= PIPE_SILENCE) void reader.cancel();
    }, PIPE_BEAT);
  };
  exit.then(() => {
    exited = true;
    watch();
  });
  try {
    let buffer = new Uint8Array(MAX_READ);
    for (;;) {
      waiting = true;
      watch();
      const { value, done } = await reader.read(buffer);
      waiting = false;
      clearInterval(timer);
      if (done || value === undefined) return;
      yield value;
      buffer = new Uint8Array(value.buffer, 0, value.buffer.byteLength);
    }
  } finally {
    clearInterval(timer);
    await reader.cancel();
  }
}

/** Sends a signal to a process group, if anything is left of it. */
function signalGroup(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(-pid, signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
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
