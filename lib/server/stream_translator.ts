/**
 * exec and attach from one wire to another: the server's side of one session joined to the client's side of another.
 *
 * @module
 */
import { type ByteQueue, messageOf, PodwireError } from "../bytes/mod.ts";
import {
  ChannelProtocolError,
  hasJsonStatus,
  internalErrorStatus,
  parseStatus,
  RemoteCommandError,
  RemoteCommandSession,
  type RemoteCommandWire,
  SUCCESS,
  type TerminalSize,
} from "../channels/mod.ts";
import {
  type CommandInput,
  type RemoteCommandRequest,
  type ServedCommand,
  serveRemoteCommand,
  type ServerWire,
  type StatusText,
  statusText,
} from "./remote_command.ts";

/** How a translated session ended. */
export interface TranslationEnd {
  /** The code that Kubernetes' translator counts: 200 if the command ran, else that of the `Status`. */
  readonly code: number;
  /** What went wrong, if something did. */
  readonly reason?: string;
}

/**
 * Runs one session between a client and an upstream, whatever wire either has, to its end (apiserver
 * `pkg/util/proxy/streamtranslator.go`).
 *
 * What the upstream says about the command's end passes as it came. An upstream that says nothing, or cannot be had,
 * becomes a `Status` with the reason `InternalError`, never a success. The client's leaving ends the upstream's session
 * at once.
 *
 * **Slow readers.** Of the output at most 256 KiB a stream wait for a client, of the input 4 MiB for a command; then the
 * other side is not read any further. Sizes without a terminal, which wedge Kubernetes' translator, are dropped.
 *
 * @param open Opens the upstream's wire, once the client is ready.
 * @param signal Ends the session; the client is told why.
 */
export async function translateCommand(
  client: ServerWire,
  request: RemoteCommandRequest,
  open: () => Promise<RemoteCommandWire>,
  signal: AbortSignal,
): Promise<TranslationEnd> {
  let end: TranslationEnd = { code: 400, reason: "the client went before the command began" };
  let wire: RemoteCommandWire | undefined;
  await serveRemoteCommand(client, request, async () => {
    try {
      wire = await open();
    } catch (error) {
      if (!(error instanceof PodwireError) && !signal.aborted) throw error;
      end = { code: 500, reason: messageOf(error) };
      return failedCommand(error);
    }
    return new RelayedCommand(wire, request, signal, (how) => end = how);
  });
  await wire?.close();
  return end;
}

/** What stands in the place of a command that could not be started. */
function failedCommand(error: unknown): ServedCommand {
  const exitCode = Promise.resolve(statusText(internalErrorStatus(messageOf(error))));
  return { exitCode, resize() {}, end: () => Promise.resolve() };
}

/** A command that runs behind another wire. */
class RelayedCommand implements ServedCommand {
  readonly stdin?: CommandInput;
  readonly stdout: AsyncIterable<Uint8Array>;
  readonly stderr: AsyncIterable<Uint8Array>;
  readonly exitCode: Promise<StatusText>;
  readonly #session: RemoteCommandSession;
  readonly #onEnd: (end: TranslationEnd) => void;
  #over = false;

  constructor(
    wire: RemoteCommandWire,
    request: RemoteCommandRequest,
    signal: AbortSignal,
    onEnd: (end: TranslationEnd) => void,
  ) {
    const session = new RemoteCommandSession(wire, { tty: request.tty });
    this.#session = session;
    this.#onEnd = onEnd;
    this.stdout = output(session.stdout);
    this.stderr = output(session.stderr);
    if (request.stdin) this.stdin = { write: (data) => this.#write(data), close: () => this.#closeInput() };
    const abort = () => session.abort(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    this.exitCode = this.#outcome().finally(() => {
      this.#over = true;
      signal.removeEventListener("abort", abort);
    });
  }

  resize(size: TerminalSize): void {
    this.#session.resize(size).catch(ignoreEnd);
  }

  async end(): Promise<void> {
    if (!this.#over) this.#session.abort(new PodwireError("the client went before the command ended"));
    await this.exitCode;
  }

  /** What the client is told about the end. */
  async #outcome(): Promise<StatusText> {
    const session = this.#session;
    const json = hasJsonStatus(session.protocol);
    try {
      await session.exitCode;
      this.#onEnd({ code: 200 }); // Whatever it is: the stream did what it is for.
      if (!json) return statusText(SUCCESS);
      return { ...statusText(parseStatus(session.statusText)), json: session.statusText };
    } catch (error) {
      const reason = messageOf(error);
      const isSaid = error instanceof RemoteCommandError;
      this.#onEnd({ code: isSaid && error.status.code || 500, reason });
      if (!isSaid) return statusText(internalErrorStatus(reason));
      // Before v4 the upstream says it in bare text.
      if (!json) return { ...statusText(internalErrorStatus(reason)), text: session.statusText };
      return { ...statusText(error.status), json: session.statusText };
    }
  }

  async #write(data: Uint8Array): Promise<void> {
    await this.#session.writeStdin(data).catch(ignoreEnd);
  }

  /** Before v5 a WebSocket cannot say it. A command that waits for it would wait for ever, so the session ends. */
  async #closeInput(): Promise<void> {
    try {
      await this.#session.closeStdin();
    } catch (error) {
      if (error instanceof ChannelProtocolError) this.#session.abort(error);
      else ignoreEnd(error);
    }
  }
}

/** What a queue holds, up to its end, however it comes: why, the status says. */
async function* output(queue: ByteQueue): AsyncGenerator<Uint8Array> {
  try {
    while (await queue.ready()) {
      const part = queue.peek().subarray(0, MAX_PAYLOAD);
      yield part;
      queue.consume(part.length);
    }
  } catch (error) {
    ignoreEnd(error);
  }
}

/** The largest part of an output that is sent at once, in bytes: Kubernetes' own. */
const MAX_PAYLOAD = 32 * 1024;

/** For what concerns a session that has ended: how it did, its status says. */
function ignoreEnd(error: unknown): void {
  if (!(error instanceof PodwireError)) throw error;
}
