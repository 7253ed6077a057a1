/**
 * A WebSocket connection over any duplex, after the handshake.
 *
 * @module
 */
import { type Duplex, Heartbeat, type PingOptions, PodwireError } from "../bytes/mod.ts";
import { FrameDecoder } from "./decoder.ts";
import { CloseCode, encodeClosePayload, Opcode, type Role, WebSocketProtocolError } from "./frame.ts";
import type { CloseInfo, MessageSocket } from "./message_socket.ts";
import { FrameWriter } from "./writer.ts";

/** The connection ended without the peer's Close frame (code 1006 in RFC 6455), or is no longer open. */
export class WebSocketConnectionError extends PodwireError {
  /** The class's name. */
  override name = "WebSocketConnectionError";
  /** Bytes received over the connection, framing included. */
  readonly bytesReceived: number;

  /** An error for a connection that received `bytesReceived` bytes. */
  constructor(message: string, bytesReceived: number, options?: ErrorOptions) {
    super(message, options);
    this.bytesReceived = bytesReceived;
  }
}

/** Options of a {@linkcode WebSocketConnection}; times in milliseconds. */
export interface WebSocketConnectionOptions {
  /** Which end this is. */
  readonly role: Role;
  /** The subprotocol that the handshake chose, or an empty string. */
  readonly protocol: string;
  /** The largest message to receive, in bytes. Default 32 MiB. */
  readonly maxMessageSize?: number;
  /**
   * Binary messages are valid only until the next {@linkcode WebSocketConnection.receive} or
   * {@linkcode WebSocketConnection.close}, which uses their memory again. For receivers that copy anyway. Default `false`: messages are the receiver's to keep.
   */
  readonly reuseBuffer?: boolean;
  /** Checks that the peer is alive; without it nothing does. */
  readonly ping?: PingOptions;
  /** How long the closing handshake may take before the duplex is dropped. Default 5000. */
  readonly closeTimeout?: number;
}

/**
 * A {@linkcode MessageSocket} over a duplex, client or server.
 *
 * It is pulled: the network is read only inside {@linkcode WebSocketConnection.receive} (and
 * while closing), one buffer at a time. So Pings of the peer are answered, and its Close frame
 * is seen, only while somebody receives; whoever has nothing to receive has to call
 * `receive()` all the same.
 *
 * A failed write does not end the connection: what the peer said before it went away may
 * still lie in the socket. `receive()` goes on to the end of it.
 *
 * @example
 * ```ts
 * import { duplexPair } from "../bytes/mod.ts";
 * import { WebSocketConnection } from "./connection.ts";
 *
 * const [left, right] = duplexPair();
 * const client = new WebSocketConnection(left, { role: "client", protocol: "" });
 * const server = new WebSocketConnection(right, { role: "server", protocol: "" });
 * await client.send("hello");
 * await server.receive(); // "hello"
 * await Promise.all([client.close(), server.receive()]);
 * await server.closed; // { closeCode: 1000, reason: "" }
 * ```
 */
export class WebSocketConnection implements MessageSocket {
  /** The subprotocol that the handshake chose, or an empty string. */
  readonly protocol: string;
  /**
   * Settles once the connection has ended and holds nothing any more: resolves with the peer's Close frame,
   * rejects with what {@linkcode WebSocketConnection.receive} throws where there was none.
   */
  readonly closed: Promise<CloseInfo>;

  readonly #duplex: Duplex;
  readonly #role: Role;
  readonly #decoder: FrameDecoder;
  readonly #writer: FrameWriter;
  readonly #closeTimeout: number;
  readonly #heartbeat: Heartbeat | undefined;
  readonly #settleClosed: { resolve(info: CloseInfo): void; reject(reason: unknown): void };
  #reading = false;
  #bytesReceived = 0;
  /** What ends the connection: the first of these that is set counts. */
  #peerClose: CloseInfo | undefined;
  #failure: { readonly reason: unknown } | undefined;
  #closing = false;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  /** Takes over `duplex`, on which the handshake is done. */
  constructor(duplex: Duplex, options: WebSocketConnectionOptions) {
    const { role, protocol, ping, closeTimeout = 5000 } = options;
    this.protocol = protocol;
    this.#duplex = duplex;
    this.#role = role;
    this.#decoder = new FrameDecoder(options);
    this.#writer = new FrameWriter(duplex, role);
    this.#closeTimeout = closeTimeout;
    const { promise, resolve, reject } = Promise.withResolvers<CloseInfo>();
    this.closed = promise;
    this.closed.catch(() => {}); // Whoever wants to know awaits it; receive() tells the same.
    this.#settleClosed = { resolve, reject };
    this.#heartbeat = ping && this.#startHeartbeat(ping);
  }

  /** For how long the peer has handled nothing of what it was sent, in milliseconds; 0 without Pings. */
  get stalledFor(): number {
    return this.#heartbeat?.stalledFor ?? 0;
  }

  /**
   * The next message, or `undefined` once the peer has sent its Close frame. After
   * {@linkcode WebSocketConnection.close} it waits for the end and drops what still comes.
   *
   * @throws {WebSocketProtocolError} If the peer broke the protocol.
   * @throws {WebSocketConnectionError} If the connection ended without a Close frame or the peer is silent.
   * @throws The reason of {@linkcode WebSocketConnection.abort}.
   */
  receive(): Promise<Uint8Array | string | undefined> {
    if (this.#peerClose) return Promise.resolve(undefined);
    if (this.#failure) return Promise.reject(this.#failure.reason);
    if (this.#closing) return this.closed.then(() => undefined);
    if (this.#reading) return Promise.reject(new TypeError("Cannot receive while another receive() waits"));
    let message: Uint8Array | string | undefined;
    try {
      message = this.#nextMessage();
    } catch (error) {
      this.#failProtocol(error);
      return Promise.reject(error);
    }
    // The common case, several messages in one read, costs one promise and no turn of the event loop.
    if (message !== undefined || this.#peerClose) return Promise.resolve(message);
    return this.#read();
  }

  /**
   * Sends the concatenation of `parts` as one frame: binary, or text for a string.
   *
   * @throws {WebSocketConnectionError} If the connection is closing or has ended.
   * @throws What the transport's write threw.
   */
  send(...parts: readonly Uint8Array[] | readonly [string]): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure.reason);
    if (this.#closing || this.#peerClose) return Promise.reject(this.#error("the WebSocket is closing or closed"));
    if (isText(parts)) return this.#writer.message(Opcode.TEXT, [new TextEncoder().encode(parts[0])]);
    return this.#writer.message(Opcode.BINARY, parts);
  }

  /**
   * Sends a Pong that answers nothing: a sign of life for a peer whose Pings cannot be read now, because they lie behind
   * messages that nobody takes (RFC 6455 section 5.5.3).
   *
   * @returns Whether the transport still takes anything.
   */
  pong(): boolean {
    this.#writer.pong(new Uint8Array(0));
    return !this.#writer.failure;
  }

  /**
   * Sends a Close frame after the messages before it (code 1000 unless `info` says otherwise), then waits for the
   * peer's. Resolves when the connection has ended, however; {@linkcode WebSocketConnection.closed} tells how.
   *
   * @throws {RangeError} If the code may not be sent or the reason is longer than 123 bytes.
   */
  async close(info: Partial<CloseInfo> = {}): Promise<void> {
    const payload = encodeClosePayload(info.closeCode ?? CloseCode.NORMAL, info.reason ?? "");
    if (!this.#closing && !this.#peerClose && !this.#failure) {
      this.#closing = true;
      this.#startCloseTimer();
      // If it cannot be written, the peer's own Close frame may still be there to read.
      this.#writer.close(payload).catch(() => {});
      if (!this.#reading) void this.#drain();
    }
    await this.closed.catch(() => {});
  }

  /** Drops the connection at once. What waits rejects with `reason`. */
  abort(reason: unknown = this.#error("the WebSocket was aborted")): void {
    this.#fail(reason);
  }

  /** Reads until there is a message, or the end. */
  async #read(): Promise<Uint8Array | string | undefined> {
    this.#reading = true;
    try {
      for (;;) {
        await this.#fill();
        const message = this.#nextMessage();
        if (message !== undefined || this.#peerClose) return message;
      }
    } catch (error) {
      this.#failProtocol(error);
      throw this.#failure?.reason ?? error;
    } finally {
      this.#reading = false;
      if (this.#closing && !this.#peerClose && !this.#failure) void this.#drain();
    }
  }

  /** Reads once from the network. Fails the connection if that fails. */
  async #fill(): Promise<void> {
    let n: number | null;
    try {
      n = await this.#duplex.read(this.#decoder.buffer());
    } catch (cause) {
      throw this.#fail(this.#error("the connection broke", { cause }));
    }
    if (this.#failure) throw this.#failure.reason;
    if (n === null) {
      const failedWrite = this.#writer.failure;
      throw this.#fail(
        this.#error("the connection ended without a Close frame", failedWrite ? { cause: failedWrite.reason } : {}),
      );
    }
    this.#bytesReceived += n;
    this.#heartbeat?.heard();
    this.#decoder.advance(n);
  }

  /** The next message that has arrived; handles the control frames before it. */
  #nextMessage(): Uint8Array | string | undefined {
    for (;;) {
      const decoded = this.#decoder.next();
      if (decoded === undefined || decoded instanceof Uint8Array || typeof decoded === "string") return decoded;
      if (decoded.type === "close") {
        this.#answerClose(decoded.info);
        return undefined;
      }
      if (decoded.type === "ping") this.#writer.pong(decoded.data);
      else this.#heartbeat?.confirm(readCount(decoded.data));
    }
  }

  /** The peer closes: answers with its own code, then ends. */
  #answerClose(info: CloseInfo): void {
    this.#peerClose = info;
    this.#startCloseTimer();
    this.#writer.refuseWaiting(this.#error(`the peer closed the WebSocket with code ${info.closeCode}`));
    // It has said what it had to say: whether it still hears the answer changes nothing.
    const end = () => this.#end();
    this.#writer.close(encodeClosePayload(info.closeCode, "")).then(end, end);
  }

  /** Looks for the peer's Close frame when nobody receives any more. */
  async #drain(): Promise<void> {
    this.#reading = true;
    try {
      for (;;) {
        while (this.#nextMessage() !== undefined);
        if (this.#peerClose) return;
        await this.#fill();
      }
    } catch (error) {
      this.#failProtocol(error);
    }
  }

  /** The peer broke the protocol: tells it so, then ends. */
  #failProtocol(error: unknown): void {
    if (this.#failure || this.#peerClose) return;
    if (!(error instanceof WebSocketProtocolError)) return void this.#fail(error);
    this.#failure = { reason: error };
    this.#startCloseTimer();
    this.#writer.refuseWaiting(error);
    this.#linger(error.closeCode).then(() => this.#end());
  }

  /** Sends a Close frame and waits until the peer has gone: closing with bytes unread would destroy the frame. */
  async #linger(closeCode: number): Promise<void> {
    const scratch = new Uint8Array(16 * 1024);
    try {
      await this.#writer.close(encodeClosePayload(closeCode, ""));
      await this.#duplex.closeWrite();
      while (await this.#duplex.read(scratch) !== null);
    } catch {
      // The connection has failed already; the peer was quicker to go, or the timer was.
    }
  }

  #startCloseTimer(): void {
    this.#heartbeat?.stop();
    this.#closeTimer ??= setTimeout(
      () => this.#fail(this.#error(`no Close frame from the peer within ${this.#closeTimeout} ms`)),
      this.#closeTimeout,
    );
  }

  #startHeartbeat(ping: PingOptions): Heartbeat {
    return new Heartbeat(ping, {
      isReading: () => this.#reading,
      bytesSent: () => this.#writer.bytesSent,
      lastWrite: () => this.#writer.lastWrite,
      ping: (bytesSent) => this.#writer.ping(writeCount(bytesSent)),
      dead: (silence) =>
        this.#fail(this.#error(`no sign of life from the peer for ${(silence / 1000).toFixed(1)} s, Pings unanswered`)),
    });
  }

  /** Ends with `reason`, unless something else was first. */
  #fail(reason: unknown): unknown {
    if (!this.#peerClose) this.#failure ??= { reason };
    this.#end();
    return reason;
  }

  /** Lets go of everything, once. */
  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#closeTimer);
    this.#heartbeat?.stop();
    this.#duplex.close();
    this.#writer.fail(this.#failure ? this.#failure.reason : this.#error("the WebSocket is closed"));
    if (this.#failure) this.#settleClosed.reject(this.#failure.reason);
    else this.#settleClosed.resolve(this.#peerClose ?? { closeCode: 1006, reason: "" });
  }

  #error(what: string, options?: ErrorOptions): WebSocketConnectionError {
    const peer = this.#role === "client" ? "server" : "client";
    return new WebSocketConnectionError(
      `${what} (${this.#bytesReceived} bytes received from the ${peer})`,
      this.#bytesReceived,
      options,
    );
  }
}

function isText(parts: readonly Uint8Array[] | readonly [string]): parts is readonly [string] {
  return typeof parts[0] === "string";
}

/** What a Ping of ours carries: how many bytes had been sent before it. */
function writeCount(count: number): Uint8Array {
  const data = new Uint8Array(8);
  new DataView(data.buffer).setFloat64(0, count);
  return data;
}

/** What {@linkcode writeCount} wrote; NaN if something else did. */
function readCount(data: Uint8Array): number {
  return data.length === 8 ? new DataView(data.buffer, data.byteOffset).getFloat64(0) : NaN;
}
