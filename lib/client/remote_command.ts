/**
 * A command in a container, as `Deno.Command` is one on this machine.
 *
 * @module
 */
import { oneOf, PodwireError, toBytes } from "../bytes/mod.ts";
import {
  checkSize,
  RemoteCommandSession,
  type RemoteCommandWire,
  type RequestedStreams,
  type TerminalSize,
} from "../channels/mod.ts";
import type { UpgradeError } from "./errors.ts";
import { watchInput } from "./input_watch.ts";
import { checkStandardInput, checkStandardOutput, readStandardInput, writeStandardStream } from "./stdio.ts";

/**
 * What a stream of a remote command is connected to, as in `Deno.CommandOptions`; the defaults are others. Only Deno has
 * streams to inherit. Inherited input is one command's at a time, and nobody's after a command that ended before its input did.
 */
export type Stdio = "piped" | "inherit" | "null";

const STDIO: readonly Stdio[] = ["inherit", "piped", "null"];

/** Options of exec and attach. */
export interface RemoteCommandOptions {
  /** The container; without it the server takes the pod's only one. */
  readonly container?: string;
  /** The command's input. Default `"null"`: the command has none. */
  readonly stdin?: Stdio;
  /** The command's output. Default `"piped"`. */
  readonly stdout?: Stdio;
  /** The command's errors. Default `"piped"`. With a terminal they come on stdout. */
  readonly stderr?: Stdio;
  /** Whether the command gets a terminal. Default `false`. */
  readonly tty?: boolean;
  /** The terminal's first size. */
  readonly size?: TerminalSize;
  /** Ends the session, also while it is being opened. */
  readonly signal?: AbortSignal;
  /** Is told what a person at a terminal should know, for example that input is waiting. */
  readonly onNotice?: (text: string) => void;
}

/** How a remote command ended, as `Deno.CommandStatus`. */
export interface RemoteCommandStatus {
  /** Whether the exit code is 0. */
  readonly success: boolean;
  /** The exit code, 0 to 255; 128 + n for a command ended by signal n. */
  readonly code: number;
}

/** A remote command's status and all of its output, as `Deno.CommandOutput`. */
export interface RemoteCommandOutput extends RemoteCommandStatus {
  /** Everything from stdout. */
  readonly stdout: Uint8Array<ArrayBuffer>;
  /** Everything from stderr. */
  readonly stderr: Uint8Array<ArrayBuffer>;
}

/** A wire that is open. */
export interface OpenedWire {
  /** The wire. */
  readonly wire: RemoteCommandWire;
  /** What the server said to the wire that was tried before. */
  readonly refused?: UpgradeError | undefined;
}

/** Opens the wire of a session. */
export type OpenWire = (streams: RequestedStreams, signal: AbortSignal | undefined) => Promise<OpenedWire>;

/**
 * A command that can be run in a container. Made by `Pod.exec` and `Pod.attach`.
 *
 * @example
 * ```ts
 * import { Cluster } from "@podwire/podwire";
 *
 * async function hosts(cluster: Cluster): Promise<string> {
 *   const { code, stdout } = await cluster.pod("web-0").exec(["cat", "/etc/hosts"]).output();
 *   if (code !== 0) throw new Error(`cat ended with ${code}`);
 *   return new TextDecoder().decode(stdout);
 * }
 * ```
 */
export class RemoteCommand {
  readonly #open: OpenWire;
  readonly #options: RemoteCommandOptions;

  /** A command that runs over what `open` opens. */
  constructor(open: OpenWire, options: RemoteCommandOptions) {
    this.#open = open;
    this.#options = options;
  }

  /**
   * Starts the command. Output that is piped, as it is unless the options say otherwise, has to be read: what nobody reads
   * stops the command in the end.
   *
   * @throws {UpgradeError} If the server refuses.
   * @throws {DialError} If the server cannot be reached.
   * @throws {TypeError} If a standard stream of this process cannot be inherited, or an option is not what it should be.
   * @throws {RangeError} If `size` is none.
   */
  async spawn(): Promise<RemoteProcess> {
    const options = this.#options;
    for (const name of ["stdin", "stdout", "stderr"] as const) oneOf(name, options[name] ?? "null", STDIO);
    if (options.size) checkSize(options.size);
    options.signal?.throwIfAborted();
    const tty = options.tty ?? false;
    const stdout = options.stdout ?? "piped";
    const stderr = options.stderr ?? "piped";
    if (options.stdin === "inherit") checkStandardInput();
    if (stdout === "inherit" || stderr === "inherit") checkStandardOutput();
    const opened = await this.#open({
      stdin: (options.stdin ?? "null") !== "null",
      stdout: stdout !== "null" || stderr === "null" || tty, // A server wants at least one.
      stderr: stderr !== "null" && !tty,
      tty,
    }, options.signal);
    try {
      return new RemoteProcess(opened, options);
    } catch (error) {
      opened.wire.abort(error); // Another command took stdin meanwhile.
      throw error;
    }
  }

  /**
   * Runs the command to its end and collects its output.
   *
   * @throws {UpgradeError} If the server refuses.
   * @throws {DialError} If the server cannot be reached.
   * @throws {RemoteCommandError} If the command could not be run.
   * @throws {DisconnectedError} If the connection ended before the server said how the command did.
   * @throws {TypeError} If stdin is `"piped"`, or as {@linkcode RemoteCommand.spawn} does.
   */
  async output(): Promise<RemoteCommandOutput> {
    if (this.#options.stdin === "piped") {
      throw new TypeError("Cannot get the output of a command whose stdin is piped: use spawn()");
    }
    const process = await this.spawn();
    try {
      const [stdout, stderr, status] = await Promise.all([
        (this.#options.stdout ?? "piped") === "piped" ? collect(process.stdout) : new Uint8Array(),
        (this.#options.stderr ?? "piped") === "piped" ? collect(process.stderr) : new Uint8Array(),
        process.status,
      ]);
      return { ...status, stdout, stderr };
    } finally {
      process.close(); // Not `await using`: Node 22 does not know the syntax.
    }
  }
}

/**
 * A running remote command, as `Deno.ChildProcess` is a local one. Disposing of it drops
 * the session; whether that ends the command is up to the container runtime.
 */
export class RemoteProcess implements AsyncDisposable {
  /**
   * How the command ended.
   *
   * Rejects unless the server said so: with `RemoteCommandError` if the command could not be run,
   * `DisconnectedError` if the connection ended first, `ChannelProtocolError` if the answer
   * makes no sense, or the signal's reason.
   */
  readonly status: Promise<RemoteCommandStatus>;
  /** What the session goes over. */
  readonly wire: "websocket" | "spdy";
  /** What the server said to the WebSocket that was asked for first, if it refused that. */
  readonly refused: UpgradeError | undefined;
  readonly #session: RemoteCommandSession;
  readonly #stdin: WritableStream<Uint8Array> | undefined;
  readonly #stdout: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  readonly #stderr: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;

  /** The process at the far end of an open wire. */
  constructor({ wire, refused }: OpenedWire, options: RemoteCommandOptions) {
    const session = new RemoteCommandSession(wire, { tty: options.tty ?? false });
    this.wire = wire.type;
    this.refused = refused;
    this.#session = session;
    const { signal } = options;
    const abort = () => session.abort(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    if (options.size) session.resize(options.size).catch(() => {}); // A broken session says so by its status.

    const pipes: Promise<void>[] = [];
    const output = (queue: RemoteCommandSession["stdout"], stdio: Stdio, name: "stdout" | "stderr") => {
      if (stdio === "null") return queue.cancel();
      const readable = queue.readable();
      if (stdio === "piped") return readable;
      const written = writeStandardStream(name, readable);
      // Output that cannot be written ends the session: nobody would learn what is missing.
      written.catch((error) => session.abort(error));
      pipes.push(written);
    };
    this.#stdout = output(session.stdout, options.stdout ?? "piped", "stdout") ?? undefined;
    this.#stderr = output(session.stderr, options.stderr ?? "piped", "stderr") ?? undefined;
    const stdin = options.stdin ?? "null";
    if (stdin === "piped") this.#stdin = stdinStream(session);
    const input = stdin === "inherit" ? readStandardInput(stdinStream(session)) : undefined;
    if (stdin !== "null" && options.onNotice) watchInput(session, options.onNotice);

    this.status = (async () => {
      try {
        const code = await session.exitCode;
        await Promise.all(pipes);
        return { success: code === 0, code };
      } finally {
        signal?.removeEventListener("abort", abort);
        await input?.stop();
      }
    })();
    this.status.catch(() => {}); // Whoever wants to know awaits it.
  }

  /** The protocol that the server chose, for example `v5.channel.k8s.io`. */
  get protocol(): string {
    return this.#session.protocol;
  }

  /**
   * The command's input. A write resolves when the transport has taken it; closing it is
   * the end of input. It errors with `StdinClosedError` when the command ends first. As `Deno.ChildProcess` it takes an
   * `ArrayBuffer` and every view; anything else is a `TypeError`, and ends the session as an abort does.
   *
   * @throws {TypeError} If stdin is not `"piped"`.
   */
  get stdin(): WritableStream<Uint8Array> {
    return this.#stdin ?? notPiped("stdin");
  }

  /**
   * The command's output. It errors if the session breaks, so that half an output is
   * never taken for a whole one.
   *
   * @throws {TypeError} If stdout is not `"piped"`.
   */
  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#stdout ?? notPiped("stdout");
  }

  /**
   * The command's errors; as {@linkcode RemoteProcess.stdout}.
   *
   * @throws {TypeError} If stderr is not `"piped"`.
   */
  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#stderr ?? notPiped("stderr");
  }

  /**
   * Tells the command its terminal's size; without a terminal it does nothing.
   *
   * @throws {TypeError} If a part of the size is no number.
   * @throws {RangeError} If a part of the size is not a whole number from 0 to 65 535.
   */
  resize(size: TerminalSize): Promise<void> {
    return this.#session.resize(size);
  }

  /** Drops the session. A status that is not there yet rejects. */
  close(): void {
    this.#session.abort(new PodwireError("the session was closed before the command ended"));
  }

  /** Drops the session if it still runs, and waits until nothing of it is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.status.catch(() => {}); // Whoever wants to know awaits it.
  }
}

function notPiped(name: string): never {
  throw new TypeError(`Cannot get '${name}': '${name}' is not piped`);
}

function stdinStream(session: RemoteCommandSession): WritableStream<Uint8Array> {
  return new WritableStream({
    start(controller) {
      // A writer that is not writing learns of the end too.
      session.ended.then((reason) => controller.error(reason));
    },
    write(chunk) {
      try {
        return session.writeStdin(toBytes(chunk));
      } catch (error) {
        session.abort(error); // The stream has broken, and nobody is told to abort it.
        throw error;
      }
    },
    close: () => session.closeStdin(),
    // Input that broke off is not an end of input: better no answer than one to half a question.
    abort: (reason) => session.abort(reason),
  });
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
