/**
 * Forwarded connections on the wire: as pairs of SPDY streams, many over one session, or as channels of a
 * WebSocket of their own.
 *
 * @module
 */
import { ByteQueue, type Duplex, PodwireError } from "../bytes/mod.ts";
import { HALF_CLOSE_KEPT } from "../channels/mod.ts";
import { SpdySession, type SpdyStream, StreamResetError } from "../spdy/mod.ts";
import { CloseCode, type MessageSocket } from "../websocket/mod.ts";

/** One connection as it is on the wire. What it means is {@link ./forwarded_connection.ts}'s. */
export interface ForwardPair {
  /** What the pod sends. Fails if the connection breaks. */
  readonly incoming: ByteQueue;
  /** Resolves when the server has accepted the connection; that says nothing about the pod. */
  readonly opened: Promise<void>;
  /** What the server has to say against the connection: nothing, once it has ended well. Rejects if the session breaks. */
  readonly verdict: Promise<string>;
  /** Whether both sides have most likely said all they had to say, and only the end is to come. */
  lingering: boolean;
  /** Whether more may have come than {@linkcode ForwardPair.incoming} shows, as another connection's reader is slow. */
  readonly held: boolean;
  /** Whether the server passes a half-close on; known when {@linkcode ForwardPair.opened} has resolved. */
  readonly keepsHalfClose: boolean;
  /** Sends bytes to the pod. */
  write(data: Uint8Array): Promise<void>;
  /** Sends the end of what goes to the pod. Where there is no half-close, it is the end of both directions. */
  closeWrite(): Promise<void>;
  /** Ends both directions. What has arrived can still be read. */
  reset(): void;
  /** Ends both directions and drops what has arrived. */
  close(): void;
}

/** What carries connections: one SPDY session, or one WebSocket. */
export interface ForwardSession {
  /** How many connections it carries now, without those that only linger. */
  readonly connections: number;
  /** Whether it can carry one more. */
  readonly accepts: boolean;
  /** Whether a reader here, or a pod, is so slow that other connections would have to wait. */
  readonly stuck: boolean;
  /** Settles when the session has ended. */
  readonly closed: Promise<void>;
  /** Opens a connection to `port`. */
  open(port: number): ForwardPair;
  /** Drops the connection whose reader has kept the others waiting for `milliseconds`, if there are others. */
  dropStalled(milliseconds: number): void;
  /** Ends the session and its connections, which fail with `reason`. */
  close(reason: unknown): void;
}

/** How often to Ping, and how long to wait for a sign of life, in milliseconds. */
const PING = { interval: 10_000, timeout: 30_000 };

/** A reader here that takes nothing for so long is slow, in milliseconds: at full speed it is a few. */
const STUCK_READER = 250;

/** A write that takes so long waits for a slow pod, in milliseconds, even if its connection has been given up meanwhile. */
const STUCK_WRITER = 1_000;

/** A pod is slow when nothing has been heard to be handled over more than two Pings, in milliseconds. */
const STUCK_PEER = 25_000;

/** What a server may say on an error stream, in bytes; more is cut off. */
const MAX_VERDICT = 64 * 1024;

/** Connections over SPDY/3.1 (client-go `tools/portforward/portforward.go`). */
export class SpdyForwardSession implements ForwardSession {
  readonly closed: Promise<void>;
  readonly #session: SpdySession;
  readonly #pairs = new Map<SpdyStream, SpdyPair>();
  #nextRequestId = 0;

  /** A session over `duplex`, after the handshake. */
  constructor(duplex: Duplex) {
    this.#session = new SpdySession(duplex, { role: "client", ping: PING, promptPings: true });
    this.closed = this.#session.closed;
  }

  get connections(): number {
    let count = 0;
    for (const pair of this.#pairs.values()) count += pair.lingering ? 0 : 1;
    return count;
  }

  get accepts(): boolean {
    return !this.#session.isClosed;
  }

  get stuck(): boolean {
    const { stall, stalledFor, writingFor } = this.#session;
    if (stall !== undefined && performance.now() - stall.since > STUCK_READER) return true;
    return writingFor > STUCK_WRITER || stalledFor > STUCK_PEER;
  }

  open(port: number): ForwardPair {
    const headers = { port: String(port), requestid: String(this.#nextRequestId++) };
    // Both at once: the replies come in any order.
    const error = this.#session.open({ streamtype: "error", ...headers });
    const data = this.#session.open({ streamtype: "data", ...headers });
    const pair = new SpdyPair(error, data, this.#session);
    this.#pairs.set(data, pair);
    const forget = () => this.#pairs.delete(data);
    pair.verdict.then(forget, forget);
    return pair;
  }

  dropStalled(milliseconds: number): void {
    const { stall } = this.#session;
    if (!stall || this.#pairs.size < 2 || performance.now() - stall.since < milliseconds) return;
    this.#pairs.get(stall.stream)?.drop(
      new PodwireError(`nobody read it for ${Math.round(milliseconds / 1000)} s while other connections had to wait`),
    );
  }

  close(reason: unknown): void {
    void this.#session.close(reason);
  }
}

class SpdyPair implements ForwardPair {
  readonly incoming: ByteQueue;
  readonly opened: Promise<void>;
  readonly verdict: Promise<string>;
  lingering = false;
  keepsHalfClose = false;
  readonly #error: SpdyStream;
  readonly #data: SpdyStream;
  readonly #session: SpdySession;
  /** Why the connection was never opened, or was given up: it says more than that its streams were reset. */
  #reason: unknown;

  constructor(error: SpdyStream, data: SpdyStream, session: SpdySession) {
    this.#error = error;
    this.#data = data;
    this.#session = session;
    this.incoming = data.incoming;
    this.opened = Promise.all([error.opened, data.opened]).then(([, headers]) => {
      this.keepsHalfClose = Object.entries(HALF_CLOSE_KEPT).every(([name, value]) => headers[name] === value);
    });
    this.opened.then(() => error.closeWrite()).catch((reason) => this.#reason ??= reason);
    this.verdict = this.#readVerdict();
    this.verdict.catch(() => {}); // Whoever wants to know awaits it.
  }

  get held(): boolean {
    return this.#session.stall !== undefined;
  }

  async write(data: Uint8Array): Promise<void> {
    await this.opened;
    await this.#data.write(data);
  }

  async closeWrite(): Promise<void> {
    await this.opened;
    await this.#data.closeWrite();
  }

  reset(): void {
    this.#data.reset();
    this.#error.reset();
  }

  close(): void {
    this.incoming.cancel();
    this.reset();
  }

  /** Gives up a connection that holds up the others. */
  drop(reason: PodwireError): void {
    this.#reason = reason;
    this.incoming.fail(reason);
    this.reset();
  }

  /** Reads the error stream to its end. Its reset is an end too: containerd sends one behind its text. */
  async #readVerdict(): Promise<string> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(1024);
    let text = "";
    try {
      for (let n = await this.#error.read(buffer); n !== null; n = await this.#error.read(buffer)) {
        text += decoder.decode(buffer.subarray(0, n), { stream: true });
        if (text.length > MAX_VERDICT) this.#error.reset();
      }
    } catch (error) {
      if (!(error instanceof StreamResetError)) throw error;
      if (text === "") throw this.#reason ?? error;
    }
    return text;
  }
}

/** One connection over a WebSocket's channels 0 and 1 (cri-streaming `portforward/websocket.go`). */
export class ChannelForwardSession implements ForwardSession {
  readonly closed: Promise<void>;
  readonly #socket: MessageSocket;
  #pair: ChannelPair | undefined;

  /** A session over `socket`, which was opened for one port. */
  constructor(socket: MessageSocket) {
    this.#socket = socket;
    this.closed = socket.closed.then(() => {});
    this.closed.catch(() => {}); // Its connection tells the same.
  }

  get connections(): number {
    return this.accepts ? 0 : 1;
  }

  get accepts(): boolean {
    return this.#pair === undefined;
  }

  get stuck(): boolean {
    return false; // It takes no other connections anyway.
  }

  open(): ForwardPair {
    return this.#pair = new ChannelPair(this.#socket);
  }

  dropStalled(): void {} // Nobody else has to wait.

  close(reason: unknown): void {
    this.#socket.abort(reason);
  }
}

class ChannelPair implements ForwardPair {
  readonly incoming = new ByteQueue();
  readonly opened = Promise.resolve();
  readonly verdict: Promise<string>;
  lingering = false;
  readonly held = false;
  readonly keepsHalfClose = false;
  readonly #socket: MessageSocket;

  constructor(socket: MessageSocket) {
    this.#socket = socket;
    this.verdict = this.#run();
    this.verdict.catch(() => {}); // Whoever wants to know awaits it.
  }

  async write(data: Uint8Array): Promise<void> {
    const sends: Promise<void>[] = [];
    for (let start = 0; start < data.length; start += MAX_PAYLOAD) {
      sends.push(this.#socket.send(DATA_CHANNEL, data.subarray(start, start + MAX_PAYLOAD)));
    }
    await Promise.all(sends);
  }

  /** Ends both directions: these channels know no other end. */
  async closeWrite(): Promise<void> {
    await this.#socket.close();
  }

  reset(): void {
    this.#socket.abort();
  }

  close(): void {
    this.incoming.cancel();
    this.reset();
  }

  /** Takes the channels apart until the server closes. The first message of each is the port's number. */
  async #run(): Promise<string> {
    const begun = [false, false];
    const decoder = new TextDecoder();
    let text = "";
    try {
      for (;;) {
        const message = await this.#socket.receive();
        if (message === undefined) break;
        if (typeof message === "string") throw new PodwireError("invalid message type received: text");
        const channel = message[0];
        if (channel !== 0 && channel !== 1) continue; // As upstream: nobody is there to hear it.
        if (!begun[channel]) begun[channel] = true;
        else if (channel === 0) await this.incoming.write(message.subarray(1));
        else if (text.length < MAX_VERDICT) text += decoder.decode(message.subarray(1), { stream: true });
      }
      const { closeCode, reason } = await this.#socket.closed;
      if (closeCode !== CloseCode.NORMAL && closeCode !== CloseCode.NO_STATUS) {
        throw new PodwireError(`the server closed the WebSocket with code ${closeCode}${reason && ` (${reason})`}`);
      }
    } catch (error) {
      this.incoming.fail(error);
      throw error;
    }
    this.incoming.close();
    return text;
  }
}

const DATA_CHANNEL = new Uint8Array([0]);

/** The largest payload of a message, in bytes: Kubernetes' own servers take messages apart by frames. */
const MAX_PAYLOAD = 32 * 1024;
