/**
 * A SPDY/3.1 session over any duplex, client or server.
 *
 * @module
 */
import { DEFAULT_CAPACITY, type Duplex, Heartbeat, type PingOptions, within } from "../bytes/mod.ts";
import { type Frame, FrameDecoder } from "./decoder.ts";
import { SpdyProtocolError, SpdySessionError, StreamResetError, StreamTimeoutError } from "./errors.ts";
import {
  encodeDataHead,
  encodeGoAway,
  encodePing,
  encodeRstStream,
  encodeSynReply,
  encodeSynStream,
  MAX_STREAM_ID,
  ResetStatus,
  type Role,
} from "./frame.ts";
import { HeaderCompressor, type SpdyHeaders } from "./header_block.ts";
import { type SpdyStream, Stream, type StreamWire } from "./stream.ts";
import { FrameWriter } from "./writer.ts";

/** Options of a {@linkcode SpdySession}; times in milliseconds. */
export interface SpdySessionOptions {
  /** Which end this is. */
  readonly role: Role;
  /** Checks that the peer is alive; without it nothing does. */
  readonly ping?: PingOptions;
  /**
   * Is given every stream that the peer opens, before anything of it has been read. It has to call `reply` or `reset`,
   * now or later. Without it the peer's streams are refused.
   */
  readonly onStream?: (stream: SpdyStream) => void;
  /**
   * Sends a PING with every small write unless one is on its way. The answer to it carries TCP's acknowledgment; without one
   * Nagle's algorithm keeps the next small write back for up to 40 ms, where it is on. Deno leaves it on under TLS with a client certificate.
   */
  readonly promptPings?: boolean;
  /** How long the peer may take to answer a SYN_STREAM. Default 30 000, as Kubernetes. */
  readonly openTimeout?: number;
  /** How long {@linkcode SpdySession.close} waits for the peer to end too. Default 1000. */
  readonly closeTimeout?: number;
}

/** A stream that keeps a session from reading on. */
export interface Stall {
  /** The stream whose reader is slow. */
  readonly stream: SpdyStream;
  /** Since when, as `performance.now()`. */
  readonly since: number;
}

/**
 * Many streams over one {@linkcode Duplex} (SPDY protocol draft 3.1, as moby/spdystream speaks it).
 *
 * **A slow reader.** Kubernetes' SPDY has no flow control: WINDOW_UPDATEs are neither sent nor looked at, so the one way to slow
 * a peer down is to read nothing at all. Each stream therefore queues up to 256 KiB for its reader, during which the
 * other streams notice nothing. When that is full the session stops reading: memory stays bounded, nothing is
 * lost, the peer sees a full TCP window, and the other streams wait, until the slow reader
 * takes something or its stream is reset. {@linkcode SpdySession.stall} tells who it is. Whoever cannot let streams wait for each
 * other gives them sessions of their own, as `PortForward` does.
 *
 * **Life.** Any byte from the peer is a sign of life; silence counts only while the session reads.
 *
 * **The end.** A GOAWAY ends the session at once, whichever side sends it: Kubernetes sends one
 * when there is nothing more to say, and reads nothing after it. A session ends exactly once, with one reason, which
 * {@linkcode SpdySession.closed} and every stream that is not finished learn.
 *
 * @example
 * ```ts
 * import { duplexPair } from "../bytes/mod.ts";
 * import { SpdySession } from "./session.ts";
 *
 * const [left, right] = duplexPair();
 * const client = new SpdySession(left, { role: "client" });
 * const server = new SpdySession(right, {
 *   role: "server",
 *   onStream: (stream) => {
 *     stream.reply();
 *     stream.closeWrite(); // The answer to everything is nothing.
 *   },
 * });
 * const stream = client.open({ streamtype: "stdin" });
 * await stream.read(new Uint8Array(8)); // null
 * await client.close();
 * await server.closed;
 * ```
 */
export class SpdySession {
  /** Resolves when the session has ended in order, on either side; rejects with what broke it. Nothing is left of it then. */
  readonly closed: Promise<void>;

  readonly #duplex: Duplex;
  readonly #options: SpdySessionOptions;
  readonly #decoder = new FrameDecoder();
  readonly #writer: FrameWriter;
  readonly #compressor = new HeaderCompressor();
  readonly #heartbeat: Heartbeat | undefined;
  readonly #pings = new PendingPings();
  readonly #streams = new Map<number, Stream>();
  /** What the headers of the open streams come to, in characters. */
  #headersHeld = 0;
  readonly #settleClosed: { resolve(): void; reject(reason: unknown): void };
  readonly #wire: StreamWire;
  /** For a SYN_STREAM without an answer. */
  readonly #openTimers = new Map<number, ReturnType<typeof setTimeout>>();
  #nextStreamId: number;
  #lastPeerStreamId = 0;
  #nextPingId: number;
  #bytesReceived = 0;
  #reading = false;
  #stall: Stall | undefined;
  #closing = false;
  /** Why nothing can be written any more, if so. */
  #broken: Error | undefined;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  /** Takes over `duplex`, and begins to read from it. */
  constructor(duplex: Duplex, options: SpdySessionOptions) {
    this.#duplex = duplex;
    this.#options = options;
    this.#nextStreamId = this.#nextPingId = options.role === "client" ? 1 : 2;
    const writer = new FrameWriter(duplex, {
      broken: (cause) => this.#endSoon(this.#error("the connection broke", { cause })),
      ...(options.promptPings && {
        smallWrite: () => {
          if (this.#pings.size === 0) this.#ping();
        },
      }),
    });
    this.#writer = writer;
    this.#wire = {
      reply: (id, headers) => writer.send(encodeSynReply(id, this.#compressor.compress(headers), false)),
      data: (id, data, fin) => writer.sendData(id, encodeDataHead(id, data.length, fin), data),
      dropData: (id, reason) => writer.dropData(id, reason),
      reset: (id, status) => writer.send(encodeRstStream(id, status)),
      finished: (id) => this.#forget(id),
    };
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.closed = promise;
    this.closed.catch(() => {}); // Whoever wants to know awaits it; the streams tell the same.
    this.#settleClosed = { resolve, reject };
    this.#heartbeat = options.ping && this.#startHeartbeat(options.ping);
    void this.#run();
  }

  /** How many streams are open or half-open. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** Whether no stream can be opened any more. */
  get isClosed(): boolean {
    return this.#closing || this.#ended;
  }

  /** The stream that the session waits for, if it does. */
  get stall(): Stall | undefined {
    return this.#stall;
  }

  /** For how long the peer has handled nothing of what it was sent, in milliseconds; 0 without Pings. */
  get stalledFor(): number {
    return this.#heartbeat?.stalledFor ?? 0;
  }

  /** For how long the transport has been taking what is being written, in milliseconds; 0 while nothing is. */
  get writingFor(): number {
    const since = this.#writer.writingSince;
    return since === undefined ? 0 : performance.now() - since;
  }

  /**
   * Opens a stream. The SYN_STREAM leaves at once. Await `opened` before the first write: moby/spdystream drops what
   * comes to a stream that its own side has not answered yet.
   *
   * @param options.fin Nothing will be written to it.
   * @throws {SpdySessionError} If the session has ended, or its stream ids have.
   */
  open(headers: SpdyHeaders, options: { readonly fin?: boolean } = {}): SpdyStream {
    if (this.isClosed) throw new SpdySessionError("the session has ended");
    while (this.#streams.has(this.#nextStreamId)) this.#nextStreamId += 2; // A client's, see #accept().
    const id = this.#nextStreamId;
    if (id > MAX_STREAM_ID) throw new SpdySessionError("the session has no stream ids left");
    this.#nextStreamId += 2;
    const { fin = false } = options;
    const stream = new Stream(id, headers, this.#wire, fin);
    this.#streams.set(id, stream); // Before it is sent: what the peer answers must find it.
    this.#headersHeld += sizeOf(headers);
    this.#writer.send(encodeSynStream(id, this.#compressor.compress(headers), fin));
    const { openTimeout = 30_000 } = this.#options;
    this.#openTimers.set(id, setTimeout(() => this.#giveUp(stream, openTimeout), openTimeout));
    return stream;
  }

  /**
   * Ends the session: resets the streams that are not finished, sends GOAWAY, and waits a moment for the peer to end too, so
   * that what has been sent arrives. Never throws.
   *
   * @param reason What those streams fail with.
   */
  async close(reason: unknown = new SpdySessionError("the session was closed")): Promise<void> {
    if (!this.#closing && !this.#ended) {
      for (const stream of [...this.#streams.values()]) {
        if (!stream.localEnd) this.#wire.reset(stream.id, ResetStatus.CANCEL);
        stream.fail(reason);
      }
      this.#closing = true;
      this.#heartbeat?.stop();
      clearTimeout(this.#closeTimer);
      this.#closeTimer = setTimeout(() => this.#end(), this.#options.closeTimeout ?? 1000);
      this.#writer.send(encodeGoAway(this.#lastPeerStreamId, 0));
      // What cannot be written any more changes nothing: the peer has gone.
      this.#writer.flushed().then(() => this.#duplex.closeWrite()).catch(() => this.#end());
    }
    await this.closed.catch(() => {});
  }

  /** Sends a PING: where nothing is read, what cannot be written is the only sign that the peer is gone. */
  ping(): void {
    if (!this.isClosed) this.#ping();
  }

  /** Drops the connection at once. Streams that are not finished fail with `reason`. */
  abort(reason: unknown = new SpdySessionError("the session was aborted")): void {
    this.#end({ reason });
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        for (let frame = this.#decoder.next(); frame && !this.#ended; frame = this.#decoder.next()) {
          const waiting = this.#handle(frame);
          if (waiting) await waiting;
        }
        // A peer that causes answers and does not read them is not read either.
        if (this.#writer.backlog > MAX_BACKLOG) await this.#writer.flushed();
        if (this.#ended || !await this.#fill()) return;
      }
    } catch (error) {
      if (error instanceof SpdyProtocolError && !this.isClosed) {
        this.#writer.send(encodeGoAway(this.#lastPeerStreamId, 1));
      }
      this.#end({ reason: error });
    }
  }

  /** Reads once; `false` at the end. */
  async #fill(): Promise<boolean> {
    let n: number | null;
    this.#reading = true;
    this.#limitSilence();
    try {
      n = await this.#duplex.read(this.#decoder.buffer());
    } catch (cause) {
      throw this.#error("the connection broke", { cause });
    } finally {
      this.#reading = false;
      if (this.#broken && !this.#closing && this.#options.role === "client") clearTimeout(this.#closeTimer);
    }
    if (n === null) {
      if (!this.#decoder.betweenFrames) throw this.#error("the connection ended within a frame");
      this.#end();
      return false;
    }
    this.#bytesReceived += n;
    this.#heartbeat?.heard();
    this.#decoder.advance(n);
    return true;
  }

  #handle(frame: Frame): Promise<void> | void {
    switch (frame.type) {
      case "data": {
        const stream = this.#streams.get(frame.streamId);
        const waiting = stream?.receive(frame.data, frame.fin);
        return stream && waiting && this.#waitFor(stream, waiting);
      }
      case "syn_stream":
        return this.#accept(frame);
      case "syn_reply":
        this.#stopOpenTimer(frame.streamId);
        return this.#streams.get(frame.streamId)?.replied(frame.headers, frame.fin);
      case "headers":
        // Kubernetes has no use for them; their FIN counts.
        return frame.fin ? this.#streams.get(frame.streamId)?.receive(new Uint8Array(0), true) : undefined;
      case "rst_stream": {
        const { streamId, status } = frame;
        const what = this.#streams.get(streamId)?.isReplied ? "was reset" : "was refused";
        const by = this.#options.role === "client" ? "server" : "client";
        this.#streams.get(streamId)?.fail(
          new StreamResetError(`stream ${streamId} ${what} by the ${by} (status ${status})`, streamId, status),
        );
        return;
      }
      case "ping":
        if (frame.id % 2 !== this.#nextPingId % 2) return this.#writer.pong(encodePing(frame.id));
        return this.#confirm(frame.id);
      case "goaway":
        if (frame.status === 0) return this.#end();
        throw this.#error(`the peer ended the session with GOAWAY status ${frame.status}`);
      case "settings":
      case "window_update":
        return; // No flow control: as upstream.
    }
  }

  /** Waits until a stream has room again. */
  async #waitFor(stream: Stream, room: Promise<void>): Promise<void> {
    this.#stall = { stream, since: performance.now() };
    try {
      await room;
    } finally {
      this.#stall = undefined;
    }
  }

  #accept(frame: Frame & { readonly type: "syn_stream" }): void {
    if (this.#closing) return; // As upstream: whoever sent GOAWAY says nothing more.
    const { streamId, headers, fin, unidirectional } = frame;
    const { onStream } = this.#options;
    // As upstream, a server takes even numbers too, but nobody takes those that are for open().
    const taken = this.#options.role === "client" ? streamId % 2 === 1 : this.#streams.has(streamId);
    if (streamId <= this.#lastPeerStreamId || taken) {
      return this.#wire.reset(streamId, ResetStatus.PROTOCOL_ERROR);
    }
    this.#lastPeerStreamId = streamId;
    const held = this.#headersHeld + sizeOf(headers);
    if (!onStream || this.#streams.size >= MAX_STREAMS || held > MAX_HEADERS_HELD) {
      return this.#wire.reset(streamId, ResetStatus.REFUSED_STREAM);
    }
    const capacity = Math.floor(Math.min(DEFAULT_CAPACITY, MAX_QUEUED / (this.#streams.size + 1)));
    const stream = new Stream(streamId, headers, this.#wire, unidirectional, { capacity });
    this.#streams.set(streamId, stream);
    this.#headersHeld = held;
    onStream(stream);
    if (fin) stream.receive(new Uint8Array(0), true);
  }

  #giveUp(stream: Stream, timeout: number): void {
    if (this.#stall) {
      // The answer may lie behind what a slow reader keeps us from reading.
      this.#openTimers.set(stream.id, setTimeout(() => this.#giveUp(stream, timeout), timeout));
      return;
    }
    this.#wire.reset(stream.id, ResetStatus.CANCEL);
    stream.fail(
      new StreamTimeoutError(
        `stream ${stream.id} was not answered within ${timeout} ms`,
        stream.id,
        ResetStatus.CANCEL,
      ),
    );
  }

  #stopOpenTimer(streamId: number): void {
    clearTimeout(this.#openTimers.get(streamId));
    this.#openTimers.delete(streamId);
  }

  #forget(streamId: number): void {
    this.#stopOpenTimer(streamId);
    this.#headersHeld -= sizeOf(this.#streams.get(streamId)?.headers ?? {});
    this.#streams.delete(streamId);
  }

  #confirm(pingId: number): void {
    const bytesSent = this.#pings.take(pingId); // Taken in any case: it is answered.
    this.#heartbeat?.confirm(bytesSent);
  }

  #ping(): void {
    const id = this.#nextPingId;
    this.#nextPingId = id + 2 > MAX_STREAM_ID ? 2 - id % 2 : id + 2;
    this.#pings.add(id, this.#writer.bytesSent);
    this.#writer.ping(encodePing(id));
  }

  #startHeartbeat(ping: PingOptions): Heartbeat {
    return new Heartbeat(ping, {
      isReading: () => this.#reading,
      bytesSent: () => this.#writer.bytesSent,
      lastWrite: () => this.#writer.lastWrite,
      ping: () => this.#ping(),
      dead: (silence) =>
        this.abort(
          this.#error(`no sign of life from the peer for ${(silence / 1000).toFixed(1)} s, PINGs unanswered`),
        ),
    });
  }

  /** The peer takes nothing any more. What it said before it went is still read, however slowly it is taken. */
  #endSoon(reason: Error): void {
    if (this.isClosed) return;
    this.#broken = reason;
    this.#limitSilence();
  }

  /**
   * A peer to which nothing can be written may not be silent for more than a moment: perhaps its end never comes. A server does not
   * wait for who takes what such a client has sent, either: nobody would hear the answer.
   */
  #limitSilence(): void {
    const reason = this.#broken;
    if (!reason || this.isClosed || !(this.#reading || this.#options.role === "server")) return;
    clearTimeout(this.#closeTimer);
    this.#closeTimer = setTimeout(() => this.#end({ reason }), this.#options.closeTimeout ?? 1000);
  }

  /** Lets go of everything, once: in order, or because of a failure. */
  #end(failure?: { readonly reason: unknown }): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#closeTimer);
    this.#heartbeat?.stop();
    const reason = failure ? failure.reason : this.#error("the peer ended the session");
    for (const stream of [...this.#streams.values()]) stream.fail(reason);
    const drop = () => {
      this.#writer.fail(reason);
      this.#duplex.close();
      if (failure && !this.#closing) this.#settleClosed.reject(reason);
      else this.#settleClosed.resolve();
    };
    // A protocol error is told to the peer, if it still takes anything.
    if (reason instanceof SpdyProtocolError) this.#lastWords().finally(drop);
    else drop();
  }

  /** Resolves when what has been sent is out, or after a moment. */
  async #lastWords(): Promise<void> {
    const said = this.#writer.flushed().catch(() => {}); // A transport that broke needs no words.
    await within(this.#options.closeTimeout ?? 1000, said);
  }

  #error(what: string, options?: ErrorOptions): SpdySessionError {
    return new SpdySessionError(`${what} (${this.#bytesReceived} bytes received)`, options);
  }
}

/** The Pings that have no answer yet. */
class PendingPings {
  /** Id, and how many bytes had been sent before; oldest first. */
  readonly #sent: Array<readonly [id: number, bytesSent: number]> = [];

  get size(): number {
    return this.#sent.length;
  }

  add(id: number, bytesSent: number): void {
    this.#sent.push([id, bytesSent]);
    if (this.#sent.length > MAX_PINGS) this.#sent.shift();
  }

  /** How many bytes had been sent before the Ping `id`; NaN if there was none. */
  take(id: number): number {
    const at = this.#sent.findIndex(([sent]) => sent === id);
    return at < 0 ? NaN : this.#sent.splice(0, at + 1)[at]![1];
  }
}

/** So many unanswered Pings are remembered. */
const MAX_PINGS = 64;

/** So many streams may be open at once. */
const MAX_STREAMS = 16_384;

/** So much may their headers be together, in characters: a block that says that much may be a thousandth of it on the wire. */
const MAX_HEADERS_HELD = 16 << 20;

/** What the streams of the peer queue for their readers: a new one gets an equal share of so many bytes, if that is less than usual. */
const MAX_QUEUED = 64 << 20;

function sizeOf(headers: SpdyHeaders): number {
  return Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
}

/** As many bytes of control frames may wait for the transport before the session stops reading. */
const MAX_BACKLOG = 256 * 1024;
