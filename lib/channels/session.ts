/**
 * The client's side of one exec or attach session.
 *
 * @module
 */
import { ByteQueue, PodwireError, toBytes } from "../bytes/mod.ts";
import { ChannelProtocolError } from "./codec.ts";
import { hasJsonStatus } from "./protocol.ts";
import { checkSize, encodeResize, type TerminalSize } from "./resize.ts";
import { exitCodeOf, parseStatus, RemoteCommandError, textStatus } from "./status.ts";
import type { RemoteCommandWire, WireEnd } from "./wire.ts";

/** The session ended, and the server has not said how the command did. Never taken for success. */
export class DisconnectedError extends PodwireError {
  /** The class's name. */
  override name = "DisconnectedError";
  /** Bytes of output that had arrived, on all channels. */
  readonly bytesReceived: number;
  /** Bytes of input that had been sent. */
  readonly bytesSent: number;

  /** An error for a session that broke after these many bytes, because of `options.cause`. */
  constructor(
    bytesReceived: number,
    bytesSent: number,
    options?: ErrorOptions,
  ) {
    const why = options?.cause instanceof Error ? `: ${options.cause.message}` : "";
    super(
      `connection closed before exit status (${bytesReceived} bytes received, ${bytesSent} bytes sent)${why}`,
      options,
    );
    this.bytesReceived = bytesReceived;
    this.bytesSent = bytesSent;
  }
}

/** The command, or the session, ended while there still was input for it. */
export class StdinClosedError extends PodwireError {
  /** The class's name. */
  override name = "StdinClosedError";
  /** Bytes of input that had been sent; how many of them the command read, nobody knows. */
  readonly bytesSent: number;

  /** An error for input that ended after `bytesSent` bytes. */
  constructor(bytesSent: number, options?: ErrorOptions) {
    super(
      `the command takes no more input (${bytesSent} bytes were sent)`,
      options,
    );
    this.bytesSent = bytesSent;
  }
}

/** Options of a {@linkcode RemoteCommandSession}. */
export interface RemoteCommandSessionOptions {
  /** Whether a terminal was asked for: without one, sizes are not sent (they wedge Kubernetes' translator). */
  readonly tty: boolean;
  /** How long the server may take to close the connection after the status, in milliseconds. Default 10 000. */
  readonly closeTimeout?: number;
}

/**
 * One running exec or attach over a {@linkcode RemoteCommandWire}: holds the output until it is read, and knows how
 * the command ended.
 *
 * Output goes to two bounded queues. When one is full nothing more is read from the
 * wire, so that a slow reader slows the container; the other queue waits too
 * (there is one connection). An end without a status is a {@linkcode DisconnectedError}; client-go takes it for success.
 */
export class RemoteCommandSession {
  /** The command's output. */
  readonly stdout: ByteQueue = new ByteQueue();
  /** The command's errors. */
  readonly stderr: ByteQueue = new ByteQueue();
  /**
   * The exit code, once everything that the server sent has arrived. Rejects with
   * {@linkcode RemoteCommandError} if the command could not be run,
   * {@linkcode DisconnectedError} if the server never said how it ended,
   * {@linkcode ChannelProtocolError} if what it said makes no sense, or the reason given
   * to {@linkcode RemoteCommandSession.abort}.
   */
  readonly exitCode: Promise<number>;

  readonly #wire: RemoteCommandWire;
  readonly #tty: boolean;
  readonly #closeTimeout: number;
  readonly #status = new StatusText();
  #bytesReceived = 0;
  #bytesSent = 0;
  /** Bytes of input that wait for the transport, and when it last took some or had none to take. */
  #unsent = 0;
  #lastSent = 0;
  #stdinEnded = false;
  #ended = false;
  /** Whether the status is there, how many outputs wait for their reader, and the countdown to the wire's end. */
  #answered = false;
  #blocked = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #aborted: { readonly reason: unknown } | undefined;

  /** Starts to read from `wire`. */
  constructor(wire: RemoteCommandWire, options: RemoteCommandSessionOptions) {
    this.#wire = wire;
    this.#tty = options.tty;
    this.#closeTimeout = options.closeTimeout ?? 10_000;
    this.exitCode = this.#run();
    this.exitCode.catch(() => {}); // Whoever wants to know awaits it; an unread status is no crash.
  }

  /** The protocol that the server chose. */
  get protocol(): string {
    return this.#wire.protocol;
  }

  /** What the server has said so far about how the command ended, as it came. */
  get statusText(): string {
    return this.#status.text;
  }

  /**
   * Why no more input can be written; resolves when the session has ended: with a
   * {@linkcode StdinClosedError} if the server said how the command did, else with what broke.
   */
  get ended(): Promise<unknown> {
    return this.exitCode.then(
      () => new StdinClosedError(this.#bytesSent),
      (cause) => cause instanceof RemoteCommandError ? new StdinClosedError(this.#bytesSent, { cause }) : cause,
    );
  }

  /** Bytes of input sent so far. */
  get bytesSent(): number {
    return this.#bytesSent;
  }

  /**
   * For how long nothing of the input has been taken, in milliseconds, though some waits: for the transport, or
   * (where the wire can tell) on the way to the command. A few seconds mean nothing.
   */
  get inputStalledFor(): number {
    const unsent = this.#unsent > 0 ? performance.now() - this.#lastSent : 0;
    return Math.max(unsent, this.#wire.stalledFor);
  }

  /**
   * Sends `data`, an `ArrayBuffer` or a view, as input; resolves when the transport has taken it.
   *
   * @throws {TypeError} If `data` is something else.
   * @throws {StdinClosedError} If the command has ended or its input was closed.
   * @throws {DisconnectedError} If the session broke.
   */
  async writeStdin(data: ArrayBufferView | ArrayBuffer): Promise<void> {
    const bytes = toBytes(data);
    // All at once: the wire puts several messages into one write.
    const sends: Promise<void>[] = [];
    for (let start = 0; start < bytes.length; start += MAX_PAYLOAD) {
      sends.push(this.#sendStdin(bytes.subarray(start, start + MAX_PAYLOAD)));
    }
    await Promise.all(sends);
  }

  /**
   * Ends the input: the command reads to its end and may go on writing.
   *
   * @throws {ChannelProtocolError} On a WebSocket before v5, which cannot say it.
   */
  async closeStdin(): Promise<void> {
    if (this.#stdinEnded) return;
    const sent = this.#wire.endInput();
    this.#stdinEnded = true;
    try {
      await sent;
    } catch {
      const reason = await this.ended;
      // All input was out and the command ended by itself: there is nothing left to end.
      if (!(reason instanceof StdinClosedError)) throw reason;
    }
  }

  /**
   * Tells the command its terminal's size. Does nothing without a terminal.
   *
   * @throws {TypeError} If a part of the size is no number.
   * @throws {RangeError} If a part of the size is not a whole number from 0 to 65 535.
   */
  async resize(size: TerminalSize): Promise<void> {
    checkSize(size);
    if (!this.#tty || this.#ended) return;
    await this.#wire.sendSize(encodeResize(size));
  }

  /** Drops the session. {@linkcode RemoteCommandSession.exitCode} rejects with `reason`, unless it is settled. */
  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#wire.abort(reason);
    // A reader that stopped reading must not keep the session waiting.
    this.stdout.fail(reason);
    this.stderr.fail(reason);
  }

  async #sendStdin(part: Uint8Array): Promise<void> {
    if (this.#stdinEnded) throw this.#ended ? await this.ended : new StdinClosedError(this.#bytesSent);
    if (this.#unsent === 0) this.#lastSent = performance.now();
    this.#unsent += part.length;
    let taken: boolean;
    try {
      taken = await this.#wire.sendInput(part);
    } catch {
      // The server may have answered before it closed: what it said counts more than the failed
      // write, and an end without an answer has the write's own cause.
      throw await this.ended;
    } finally {
      this.#unsent -= part.length;
    }
    if (!taken) throw new StdinClosedError(this.#bytesSent);
    this.#lastSent = performance.now();
    this.#bytesSent += part.length;
  }

  async #run(): Promise<number> {
    let end: WireEnd | { readonly failure: unknown };
    try {
      end = await this.#wire.receive({
        output: (stream, data) => this.#output(this[stream], data),
        status: (data) => {
          this.#status.add(data);
          this.#answered ||= this.#status.complete;
          this.#watchEnd();
        },
      });
    } catch (failure) {
      end = { failure };
    }
    return this.#finish(end);
  }

  #output(queue: ByteQueue, data: Uint8Array): Promise<void> | void {
    this.#bytesReceived += data.length;
    const waiting = queue.write(data);
    if (this.#answered) this.#watchEnd();
    return waiting && this.#waitFor(waiting);
  }

  async #waitFor(room: Promise<void>): Promise<void> {
    this.#blocked++;
    this.#watchEnd();
    try {
      await room;
    } finally {
      this.#blocked--;
      this.#watchEnd();
    }
  }

  /** After the status only the wire's end is awaited, and not for ever; output that still comes, or a slow reader, may take its time. */
  #watchEnd(): void {
    clearTimeout(this.#timer);
    if (!this.#answered || this.#blocked > 0 || this.#ended) return;
    this.#timer = setTimeout(() => this.#wire.abort(), this.#closeTimeout);
  }

  /** Ends everything once, with the exit code or one reason. */
  #finish(end: WireEnd | { readonly failure: unknown }): number {
    this.#ended = true;
    this.#stdinEnded = true;
    clearTimeout(this.#timer);
    try {
      const code = this.#judge(end);
      this.stdout.close();
      this.stderr.close();
      return code;
    } catch (error) {
      if (error instanceof RemoteCommandError) {
        this.stdout.close();
        this.stderr.close();
      } else {
        this.stdout.fail(error);
        this.stderr.fail(error);
      }
      throw error;
    } finally {
      // The answer is in: the connection's own end changes nothing any more.
      this.#wire.close().catch(() => {});
    }
  }

  #judge(end: WireEnd | { readonly failure: unknown }): number {
    const failure = "failure" in end ? end.failure : undefined;
    if (failure instanceof ChannelProtocolError) throw failure;
    if (!this.#status.empty) {
      const { protocol } = this.#wire;
      if (!hasJsonStatus(protocol)) throw new RemoteCommandError(textStatus(this.#status.text, protocol));
      // A wire that breaks after a whole status is harmless (cilium#34939).
      if (this.#answered || !failure) return exitCodeOf(parseStatus(this.#status.text));
    }
    if (this.#aborted) throw this.#aborted.reason;
    if ("silentSuccess" in end && end.silentSuccess) return 0;
    const cause = "text" in end ? new PodwireError(end.text) : failure;
    throw new DisconnectedError(this.#bytesReceived, this.#bytesSent, {
      cause,
    });
  }
}

/** The largest payload of a message in bytes: client-go's copy buffer. */
const MAX_PAYLOAD = 32 * 1024;

/** More than this on the error channel, in bytes, is no status. */
const MAX_STATUS = 1024 * 1024;

/** What has arrived on the error channel; one status may come in several messages. */
class StatusText {
  readonly #decoder = new TextDecoder();
  text = "";

  get empty(): boolean {
    return this.text === "";
  }

  /** Whether the text is a whole JSON object. */
  get complete(): boolean {
    if (!this.text.trimEnd().endsWith("}")) return false;
    try {
      JSON.parse(this.text);
      return true;
    } catch {
      return false; // More of it is to come.
    }
  }

  add(data: Uint8Array): void {
    this.text += this.#decoder.decode(data, { stream: true });
    if (this.text.length > MAX_STATUS) {
      throw new ChannelProtocolError(
        `error stream protocol error: more than ${MAX_STATUS} bytes of status`,
      );
    }
  }
}
