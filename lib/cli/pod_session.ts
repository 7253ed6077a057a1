/**
 * A command in a container with this process's own standard streams: what exec and attach share.
 *
 * @module
 */
import { PodwireError, within } from "../bytes/mod.ts";
import { StdinClosedError } from "../channels/mod.ts";
import type { RemoteCommand, RemoteCommandOptions, RemoteProcess } from "../client/mod.ts";
import type { FlagDefinitions } from "./flags.ts";
import { DetachKeys } from "./detach_keys.ts";
import { POD_RUNNING_TIMEOUT } from "./running_timeout.ts";
import { copyAll, stderrText, warn, writeText } from "./standard_streams.ts";
import { RawTerminal, terminalSize } from "./terminal.ts";

/** The flags that exec and attach have in common. */
export const SESSION_FLAGS = {
  "container": {
    kind: "string",
    short: "c",
    help:
      "Container to go into. By default the one that the pod's annotation kubectl.kubernetes.io/default-container " +
      "names, else its first one",
  },
  "pod-running-timeout": POD_RUNNING_TIMEOUT,
  "quiet": { kind: "boolean", short: "q", help: "Print what the container prints, nothing else" },
  "stdin": { kind: "boolean", short: "i", help: "Pass stdin to the container" },
  "tty": { kind: "boolean", short: "t", help: "Stdin is a terminal, and the command gets one too" },
} as const satisfies FlagDefinitions;

/** What Deno must permit for a session, beside reaching the cluster. */
export const SESSION_PERMISSIONS: readonly string[] = [
  "--allow-run=stty for -t; without it full-screen programs may look wrong",
];

/** kubectl's switch for every command that runs something in a container. */
export const WEBSOCKET_SWITCH = "KUBECTL_REMOTE_COMMAND_WEBSOCKETS";

/** How a session meets this process's streams. */
export interface SessionOptions {
  /** `-i`: standard input is passed on. */
  readonly stdin: boolean;
  /** `-t`: the command gets a terminal, if there is one here. */
  readonly tty: boolean;
  /** What is attached to has a terminal: its output comes as one stream, whatever is here. */
  readonly remoteTty?: boolean;
  /** `-q`: nothing is printed but what the container prints. */
  readonly quiet: boolean;
  /** The container. */
  readonly container: string;
  /** Keys that end the session from a terminal. */
  readonly detachKeys?: Uint8Array;
  /** Make the far side draw its screen anew, by a size that changes. */
  readonly redraw?: boolean;
  /** What to call the session where it is told on stderr what it goes over; not told without. */
  readonly verbose?: string;
  /** Printed on stderr before the command is started. */
  readonly greeting?: string;
}

/** How a session ended. */
export interface SessionEnd {
  /** The command's exit code. */
  readonly code: number;
  /** Whether the terminal here was raw. */
  readonly raw: boolean;
}

/**
 * Runs a command, and copies this process's standard streams to and from it until it ends.
 *
 * @param start Makes the command, with the options for it.
 */
export async function runSession(
  start: (options: RemoteCommandOptions) => RemoteCommand,
  options: SessionOptions,
): Promise<SessionEnd> {
  const isTerminal = Deno.stdin.isTerminal();
  const raw = options.stdin && options.tty && isTerminal;
  const note = async (text: string) => {
    // Where nobody is left to be told, the session goes on, and its status stands.
    if (!options.quiet) await writeText(Deno.stderr, stderrText(`${text}\n`)).catch(() => {});
  };
  if (options.stdin && options.tty && !isTerminal) {
    await note("Unable to use a TTY - input is not a terminal or the right kind of file");
  }
  if (options.greeting) await note(options.greeting);
  const size = raw ? terminalSize() : undefined;
  const sent = size && options.redraw ? { columns: size.columns + 1, rows: size.rows + 1 } : size;
  await using remote = await start({
    container: options.container,
    stdin: options.stdin ? "piped" : "null",
    tty: raw || (options.remoteTty ?? false),
    ...(sent && { size: sent }),
    onNotice: (text) => void note(`note: ${text}`),
  }).spawn();
  // Not before: until there is somebody to pass it on to, Ctrl-C is for podwire. Nothing is printed or read before either.
  using terminal = raw ? new RawTerminal() : undefined;
  if (options.verbose) warn(`${options.verbose}: ${wireText(remote)}\n`);
  terminal?.watchSize(sent, (size) => resize(remote, size));

  // Only a person types detach keys: what is piped is passed on byte for byte.
  const input = options.stdin ? new InputCopy(remote, raw ? options.detachKeys : undefined) : undefined;
  let code: number;
  try {
    await copyOutput(remote);
    ({ code } = await remote.status);
  } catch (error) {
    if (!input?.detached) throw error;
    code = 0;
  } finally {
    remote.close();
    await input?.stop();
  }
  if (input && input.left > 0 && !isTerminal) {
    await note(
      `note: the command ended before its input did: ${input.sent} bytes were sent, at least ${input.left} were left`,
    );
  }
  return { code, raw };
}

/** What a session goes over, and why not over what was tried first. */
export function wireText({ wire, protocol, refused }: Pick<RemoteProcess, "wire" | "protocol" | "refused">): string {
  const why = refused?.code === 101 ? refused.message : `${refused?.code} ${refused?.statusText}`.trimEnd();
  const name = wire === "spdy" ? "SPDY/3.1" : "WebSocket";
  return `${name}, ${protocol}${refused ? ` (after WebSocket was refused: ${why})` : ""}`;
}

/** Writes everything that a command prints, also what came before a session broke; then throws what broke first. */
async function copyOutput(remote: RemoteProcess): Promise<void> {
  const errors: unknown[] = [];
  const fail = (error: unknown) => {
    errors.push(error);
    remote.close();
  };
  await Promise.all([
    copyAll(remote.stdout, Deno.stdout).catch(fail),
    copyAll(remote.stderr, Deno.stderr).catch(fail),
  ]);
  if (errors.length > 0) throw errors[0];
}

function resize(remote: RemoteProcess, size: { columns: number; rows: number }): void {
  remote.resize(size).catch(() => {}); // A broken session says so by its status.
}

/** What one read from standard input may bring, in bytes. */
const INPUT_BUFFER = 256 * 1024;

/** How long a read of input that lies ready takes at most, in milliseconds: far more than it needs. */
const LAST_READ = 10;

/** How long the server has to end a session that the detach keys left, in milliseconds. */
const LEAVE_TIME = 1000;

/** Copies standard input to a command until either ends. */
class InputCopy {
  /** Bytes that the command's transport has taken. */
  sent = 0;
  /** Whether the detach keys were typed. */
  detached = false;
  readonly #reader = Deno.stdin.readable.getReader({ mode: "byob" });
  readonly #copied: Promise<void>;
  #read = 0;
  #leaving: ReturnType<typeof setTimeout> | undefined;

  constructor(remote: RemoteProcess, detachKeys: Uint8Array | undefined) {
    this.#copied = this.#copy(remote, detachKeys && new DetachKeys(detachKeys));
  }

  /** Bytes that were read here and that the command did not take. */
  get left(): number {
    return this.#read - this.sent;
  }

  /** Stops reading once the session is over: a pending read would keep the process alive. */
  async stop(): Promise<void> {
    // Input that lies ready is still read, to be counted as left.
    if (!Deno.stdin.isTerminal()) await within(LAST_READ, this.#copied);
    await this.#reader.cancel().catch(() => {}); // Input that broke has ended the session: its status says so.
    await this.#copied;
    clearTimeout(this.#leaving);
  }

  async #copy(remote: RemoteProcess, keys: DetachKeys | undefined): Promise<void> {
    const writer = remote.stdin.getWriter();
    try {
      let buffer = new ArrayBuffer(INPUT_BUFFER);
      for (;;) {
        const { done, value } = await this.#readOrAbort(writer, new Uint8Array(buffer));
        if (done) break;
        const { passed, detached } = keys?.filter(value) ?? { passed: value, detached: false };
        if (detached) this.#leave(remote);
        await this.#write(writer, passed);
        if (detached) break;
        buffer = value.buffer;
      }
      if (keys && !this.detached) await this.#write(writer, keys.flush());
      await writer.close();
    } catch (error) {
      // That the session is over is no news: its status says how. Of the last chunk a part may have been sent.
      if (error instanceof StdinClosedError) this.sent = error.bytesSent;
      // Before v5 nobody can end the input alone: leaving is ending the session.
      if (this.detached) remote.close();
    }
  }

  async #write(writer: WritableStreamDefaultWriter<Uint8Array>, bytes: Uint8Array): Promise<void> {
    this.#read += bytes.length;
    await writer.write(bytes);
    this.sent += bytes.length;
  }

  /** Leaves, also where the server does not answer the end of input: in raw mode no other key would help. */
  #leave(remote: RemoteProcess): void {
    this.detached = true;
    this.#leaving = setTimeout(() => remote.close(), LEAVE_TIME);
  }

  /** Reads; input that breaks off ends the session, and is never taken for the end of the input. */
  async #readOrAbort(
    writer: WritableStreamDefaultWriter<Uint8Array>,
    buffer: Uint8Array<ArrayBuffer>,
  ): Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>> {
    try {
      return await this.#reader.read(buffer);
    } catch (cause) {
      const reason = new PodwireError(`cannot read standard input: ${(cause as Error).message}`, { cause });
      await writer.abort(reason);
      throw reason;
    }
  }
}
