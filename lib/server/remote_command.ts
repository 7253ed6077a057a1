/**
 * The server's side of one exec or attach session over a {@linkcode MessageSocket}.
 *
 * @module
 */
import { ByteQueue, PodwireError } from "../bytes/mod.ts";
import {
  Channel,
  ChannelCodec,
  ChannelProtocolError,
  exitCodeStatus,
  internalErrorStatus,
  type RemoteCommandProtocol,
  ResizeDecoder,
  type Status,
  SUCCESS,
  type TerminalSize,
} from "../channels/mod.ts";
import type { MessageSocket } from "../websocket/mod.ts";
import { goJson } from "./go_json.ts";

/** What a client of exec or attach talks to: a process, or a place at a container's streams. */
export interface ServedCommand {
  /** The input, if it is wanted and there is one. */
  readonly stdin?: CommandInput;
  /** The output, if it is wanted; with a terminal, all of it. */
  readonly stdout?: AsyncIterable<Uint8Array>;
  /** The errors, if they are wanted. */
  readonly stderr?: AsyncIterable<Uint8Array>;
  /** The exit code, 0 to 255, once there is no more to wait for. */
  readonly exitCode: Promise<number>;
  /** Tells it its terminal's size; nothing happens without a terminal. */
  resize(size: TerminalSize): void;
  /** The client is gone, or has had all there was: lets go of the command, or ends it. */
  end(): Promise<void>;
}

/** Where a command's input goes. */
export interface CommandInput {
  /** Resolves when the command's pipe has taken all of `data`. What nobody reads any more is dropped. */
  write(data: Uint8Array): Promise<void>;
  /** Ends the input. */
  close(): Promise<void>;
}

/** What a client asked for in its URL. */
export interface RemoteCommandRequest {
  /** Whether this is exec or attach; their error texts differ. */
  readonly action: "exec" | "attach";
  /** Program and arguments; empty for attach. */
  readonly command: readonly string[];
  /** Whether it sends input. */
  readonly stdin: boolean;
  /** Whether it wants output. */
  readonly stdout: boolean;
  /** Whether it wants errors; never with a terminal. */
  readonly stderr: boolean;
  /** Whether it wants a terminal. */
  readonly tty: boolean;
}

/**
 * Runs one session to its end: greets, starts the command, carries its streams, says how it ended, closes.
 *
 * The order is what keeps output whole (protocol.md F.7): all output is with the transport before the status
 * is sent, the status before Close 1000, and the connection is dropped only after the peer's Close or five seconds.
 *
 * Input waits in a queue of 4 MiB, so that a command which does not read holds up neither
 * Pings nor its own output. A client that sends more than that is not read any further until the
 * command takes some: there is one connection, and no other way to slow it down. Its Pings wait with its input then.
 *
 * @param start Starts the command. What it throws becomes the session's status.
 */
export async function serveRemoteCommand(
  socket: MessageSocket,
  request: RemoteCommandRequest,
  start: () => Promise<ServedCommand>,
): Promise<void> {
  const session = new ServerSession(socket, request);
  await session.run(start);
}

/** Input in bytes that a command may leave unread before its client is no longer read. */
const MAX_WAITING_INPUT = 4 * 1024 * 1024;

class ServerSession {
  readonly #socket: MessageSocket;
  readonly #request: RemoteCommandRequest;
  readonly #codec: ChannelCodec;
  readonly #input = new ByteQueue({ capacity: MAX_WAITING_INPUT });
  readonly #sizes = new ResizeDecoder();
  #inputEnded = false;

  constructor(socket: MessageSocket, request: RemoteCommandRequest) {
    this.#socket = socket;
    this.#request = request;
    // A client that offers no subprotocol speaks the first one (protocol.md A.3).
    this.#codec = new ChannelCodec((socket.protocol || "channel.k8s.io") as RemoteCommandProtocol);
  }

  async run(start: () => Promise<ServedCommand>): Promise<void> {
    try {
      // The greeting: nothing, on the first channel that the client will hear from (apiserver pkg/util/proxy/websocket.go).
      const { stdout, stderr } = this.#request;
      await this.#send(stdout ? Channel.STDOUT : stderr ? Channel.STDERR : Channel.ERROR, new Uint8Array(0));
      await this.#serve(start);
      await this.#socket.close();
    } catch (error) {
      this.#socket.abort(error); // The client has gone in the middle of an answer: nobody is left to hear why.
      if (!(error instanceof PodwireError)) throw error;
    }
  }

  async #serve(start: () => Promise<ServedCommand>): Promise<void> {
    let command: ServedCommand;
    try {
      command = await start();
    } catch (error) {
      return await this.#sendStatus(this.#failure(error));
    }
    try {
      const gone = this.#receive(command).then(() => "gone" as const);
      void this.#pumpInput(command.stdin);
      const code = await Promise.race([this.#finish(command), gone]);
      if (code !== "gone") await this.#sendStatus(this.#statusOf(code));
    } finally {
      this.#input.cancel();
      await command.end();
    }
  }

  /** The exit code, once all output is with the transport. */
  async #finish(command: ServedCommand): Promise<number> {
    const [code] = await Promise.all([
      command.exitCode,
      this.#pumpOutput(Channel.STDOUT, command.stdout),
      this.#pumpOutput(Channel.STDERR, command.stderr),
    ]);
    return code;
  }

  async #pumpOutput(channel: number, output: AsyncIterable<Uint8Array> | undefined): Promise<void> {
    if (!output) return;
    for await (const data of output) await this.#send(channel, data);
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

  /** Takes what the client sends, until it closes, ends, breaks the protocol, or the session is closed from here. */
  async #receive(command: ServedCommand): Promise<void> {
    try {
      for (;;) {
        const message = await this.#socket.receive();
        if (message === undefined) return;
        const decoded = this.#codec.decode(message);
        if (decoded?.type === "close") {
          if (decoded.channel === Channel.STDIN) this.#endInput();
        } else if (decoded?.channel === Channel.STDIN) {
          await this.#takeInput(decoded.data);
        } else if (decoded?.channel === Channel.RESIZE && this.#request.tty) {
          for (const size of this.#sizes.decode(decoded.data)) command.resize(size);
        }
      }
    } catch (error) {
      // A malformed message ends the session with Close 1000 and no status, as upstream. Whatever else it is, the
      // client is gone; `closed` of the socket keeps the reason.
      if (!(error instanceof PodwireError)) throw error;
      if (!(error instanceof ChannelProtocolError)) this.#socket.abort(error);
    }
  }

  #takeInput(data: Uint8Array): Promise<void> | void {
    if (!this.#inputEnded) return this.#input.write(data); // Data behind the end is dropped, as upstream.
  }

  #endInput(): void {
    this.#inputEnded = true;
    this.#input.close();
  }

  #send(channel: number, data: Uint8Array): Promise<void> {
    return this.#socket.send(...this.#codec.encode(channel, data));
  }

  /** Says how it ended: JSON since v4; before, text for a failure and nothing for success. */
  async #sendStatus(status: Status): Promise<void> {
    if (!this.#codec.jsonStatus && status.status === "Success") return;
    const text = this.#codec.jsonStatus ? goJson(status) : status.message ?? "";
    await this.#send(Channel.ERROR, new TextEncoder().encode(text));
  }

  #statusOf(code: number): Status {
    if (code === 0) return SUCCESS;
    const status = exitCodeStatus(code);
    if (this.#codec.halfClose) return status;
    // Before v5 a container runtime answers by itself, and its text is another one.
    const command = this.#request.command.join(" ");
    return {
      ...status,
      message: `command terminated with non-zero exit code: error executing command [${command}], exit code ${code}`,
    };
  }

  #failure(error: unknown): Status {
    const text = error instanceof Error ? error.message : String(error);
    const doing = this.#request.action === "exec"
      ? "error executing command in container"
      : "error attaching to container";
    const full = `${doing}: ${text}`;
    // What a runtime says is an internal error; with v5 the kubelet says so once more.
    return internalErrorStatus(this.#codec.halfClose ? `Internal error occurred: ${full}` : full);
  }
}

/** The largest part of the input to give to a command at once, in bytes. */
const MAX_WRITE = 64 * 1024;
