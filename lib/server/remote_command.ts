/**
 * The server's side of one exec or attach session, whatever carries it.
 *
 * @module
 */
import { ByteQueue, messageOf, PodwireError } from "../bytes/mod.ts";
import {
  Channel,
  exitCodeStatus,
  internalErrorStatus,
  type RequestedStreams,
  ResizeDecoder,
  type Status,
  SUCCESS,
  type TerminalSize,
} from "../channels/mod.ts";
import { goJson } from "./go_json.ts";
import type { Query } from "./query.ts";

/** What a client of exec or attach talks to: a process, or a place at a container's streams. */
export interface ServedCommand {
  /** The input, if it is wanted and there is one. */
  readonly stdin?: CommandInput;
  /** The output, if it is wanted; with a terminal, all of it. */
  readonly stdout?: AsyncIterable<Uint8Array>;
  /** The errors, if they are wanted. */
  readonly stderr?: AsyncIterable<Uint8Array>;
  /** The exit code, 0 to 255, or what to tell the client in its place, once there is no more to wait for. */
  readonly exitCode: Promise<number | StatusText>;
  /** Tells it its terminal's size; nothing happens without a terminal. */
  resize(size: TerminalSize): void;
  /** The client is gone, or has had all there was: lets go of the command, or ends it. */
  end(): Promise<void>;
}

/** How a command ended, ready for the error channel. */
export interface StatusText {
  /** The `Status`, for a channel that carries JSON. */
  readonly json: string;
  /** For one that carries text: what went wrong, or nothing. */
  readonly text: string;
}

/** The text of `status`. */
export function statusText(status: Status): StatusText {
  return { json: goJson(status), text: status.status === "Success" ? "" : status.message ?? "" };
}

/** Where a command's input goes. */
export interface CommandInput {
  /** Resolves when the command's pipe has taken all of `data`. What nobody reads any more is dropped. */
  write(data: Uint8Array): Promise<void>;
  /** Ends the input. */
  close(): Promise<void>;
}

/** What a client asked for in its URL. */
export interface RemoteCommandRequest extends RequestedStreams {
  /** Whether this is exec or attach; their error texts differ. */
  readonly action: "exec" | "attach";
  /** Program and arguments; empty for attach. */
  readonly command: readonly string[];
}

/** What `query` asks for, as a kubelet reads it: with a terminal there are no errors apart. */
export function commandRequest(query: Query, action: "exec" | "attach"): RemoteCommandRequest {
  const tty = query.flag("tty");
  return {
    action,
    command: action === "exec" ? query.getAll("command") : [],
    stdin: query.flag("stdin"),
    stdout: query.flag("stdout"),
    stderr: query.flag("stderr") && !tty,
    tty,
  };
}

/** What carries a session: the messages of a WebSocket, or the streams of a SPDY connection. */
export interface ServerWire {
  /**
   * How a status is worded: as a kubelet (`v5`) or as a container runtime (`v4`) does, or as bare text, which v1 to v3
   * carry.
   */
  readonly wording: "v5" | "v4" | "text";
  /**
   * Gets the client ready to listen, so that the command may start.
   *
   * @returns Whether it is; else there is nobody to serve.
   */
  open(): Promise<boolean>;
  /** Hands over what the client sends, until it has gone or broken the protocol. */
  receive(client: ClientInput): Promise<void>;
  /** Sends data on a {@linkcode Channel}; resolves when the transport has it. */
  send(channel: number, data: Uint8Array): Promise<void>;
  /** Nothing more comes on a {@linkcode Channel}. */
  end(channel: number): Promise<void>;
  /** Ends the session in order, so that the client gets all that was sent; settles when it is over. */
  close(): Promise<void>;
  /** Drops the session. */
  abort(reason: unknown): void;
}

/** Where a {@linkcode ServerWire} puts what the client sends. */
export interface ClientInput {
  /** Input for the command. While a promise waits, the client must not be read any further. */
  input(data: Uint8Array): Promise<void> | void;
  /** The end of the input. */
  endInput(): void;
  /** A part of the text that tells the terminal's sizes. */
  resize(data: Uint8Array): void;
}

/**
 * Runs one session to its end: greets, starts the command, carries its streams, says how it ended, closes.
 *
 * The order is what keeps output whole: all output is with the transport before the status
 * is sent, the status before the wire's closing, and the connection is dropped only after the peer's or a few seconds.
 *
 * Input waits in a queue of 4 MiB, so that a command which does not read holds up neither
 * Pings nor its own output. A client that sends more than that is not read any further until the
 * command takes some: there is one connection, and no other way to slow it down. Its Pings wait with its input then.
 *
 * @param start Starts the command. What it throws becomes the session's status.
 */
export async function serveRemoteCommand(
  wire: ServerWire,
  request: RemoteCommandRequest,
  start: () => Promise<ServedCommand>,
): Promise<void> {
  const session = new ServerSession(wire, request);
  await session.run(start);
}

/** Input in bytes that a command may leave unread before its client is no longer read. */
const MAX_WAITING_INPUT = 4 * 1024 * 1024;

class ServerSession implements ClientInput {
  readonly #wire: ServerWire;
  readonly #request: RemoteCommandRequest;
  readonly #input = new ByteQueue({ capacity: MAX_WAITING_INPUT });
  readonly #sizes = new ResizeDecoder();
  #inputEnded = false;
  #command: ServedCommand | undefined;

  constructor(wire: ServerWire, request: RemoteCommandRequest) {
    this.#wire = wire;
    this.#request = request;
  }

  async run(start: () => Promise<ServedCommand>): Promise<void> {
    try {
      if (await this.#wire.open()) await this.#serve(start);
      await this.#wire.close();
    } catch (error) {
      this.#wire.abort(error); // The client has gone in the middle of an answer: nobody is left to hear why.
      if (!(error instanceof PodwireError)) throw error;
    }
  }

  input(data: Uint8Array): Promise<void> | void {
    if (!this.#inputEnded) return this.#input.write(data); // Data behind the end is dropped, as upstream.
  }

  endInput(): void {
    this.#inputEnded = true;
    this.#input.close();
  }

  resize(data: Uint8Array): void {
    if (!this.#request.tty) return;
    for (const size of this.#sizes.decode(data)) this.#command?.resize(size);
  }

  async #serve(start: () => Promise<ServedCommand>): Promise<void> {
    let command: ServedCommand;
    try {
      command = await start();
    } catch (error) {
      await this.#endOutputs();
      return await this.#sendStatus(statusText(this.#failure(error)));
    }
    this.#command = command;
    try {
      const gone = this.#wire.receive(this).then(() => "gone" as const);
      void this.#pumpInput(command.stdin);
      const end = await Promise.race([this.#finish(command), gone]);
      if (end === "gone") return;
      await this.#sendStatus(typeof end === "number" ? statusText(this.#statusOf(end)) : end);
    } finally {
      this.#input.cancel();
      await command.end();
    }
  }

  /** How it ended, once all output is with the transport. */
  async #finish(command: ServedCommand): Promise<number | StatusText> {
    const [end] = await Promise.all([
      command.exitCode,
      this.#pumpOutput(Channel.STDOUT, command.stdout),
      this.#pumpOutput(Channel.STDERR, command.stderr),
    ]);
    return end;
  }

  async #pumpOutput(channel: number, output: AsyncIterable<Uint8Array> | undefined): Promise<void> {
    for await (const data of output ?? []) await this.#wire.send(channel, data);
    await this.#wire.end(channel);
  }

  async #endOutputs(): Promise<void> {
    await Promise.all([this.#wire.end(Channel.STDOUT), this.#wire.end(Channel.STDERR)]);
  }

  async #pumpInput(stdin: CommandInput | undefined): Promise<void> {
    if (!stdin) return this.#input.cancel(); // Input that was not asked for is dropped.
    const buffer = new Uint8Array(MAX_WRITE);
    for (;;) {
      const n = await this.#input.read(buffer);
      if (n === null) break;
      await stdin.write(buffer.subarray(0, n));
    }
    if (!this.#input.cancelled) await stdin.close();
  }

  /** Says how it ended: JSON since v4; before, text for a failure and nothing for success. */
  async #sendStatus(status: StatusText): Promise<void> {
    const text = this.#wire.wording === "text" ? status.text : status.json;
    if (text !== "") await this.#wire.send(Channel.ERROR, new TextEncoder().encode(text));
    await this.#wire.end(Channel.ERROR);
  }

  #statusOf(code: number): Status {
    if (code === 0) return SUCCESS;
    const status = exitCodeStatus(code);
    if (this.#wire.wording === "v5") return status;
    // Before v5 a container runtime answers by itself, and its text is another one.
    const command = this.#request.command.join(" ");
    return {
      ...status,
      message: `command terminated with non-zero exit code: error executing command [${command}], exit code ${code}`,
    };
  }

  #failure(error: unknown): Status {
    const text = messageOf(error);
    const doing = this.#request.action === "exec"
      ? "error executing command in container"
      : "error attaching to container";
    const full = `${doing}: ${text}`;
    // What a runtime says is an internal error; with v5 the kubelet says so once more.
    return internalErrorStatus(this.#wire.wording === "v5" ? `Internal error occurred: ${full}` : full);
  }
}

/** The largest part of the input to give to a command at once, in bytes. */
const MAX_WRITE = 64 * 1024;
