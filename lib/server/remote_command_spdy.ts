/**
 * exec and attach over SPDY/3.1, the server's side.
 *
 * @module
 */
import { type Duplex, PodwireError, within } from "../bytes/mod.ts";
import { Channel, hasSizes, SPDY_PROTOCOLS } from "../channels/mod.ts";
import { ResetStatus, SpdySession, type SpdyStream, StreamResetError } from "../spdy/mod.ts";
import type { ClientInput, RemoteCommandRequest, ServerWire } from "./remote_command.ts";

/** The protocols that are spoken over SPDY, newest first; v5 is offered there too, but is for WebSockets only (cri-streaming `remotecommand`). */
export const SERVED_SPDY_PROTOCOLS: readonly string[] = SPDY_PROTOCOLS.filter((name) => name !== "v5.channel.k8s.io");

/** How long a client may take to open its streams, in milliseconds (apimachinery `remotecommand/constants.go`). */
const STREAM_TIMEOUT = 30_000;

/** How often to look after a client that is not read, in milliseconds: as often as client-go sends PINGs. */
const PING_INTERVAL = 5_000;

/**
 * A session with one stream for each of error, stdin, stdout, stderr and resize, which the client opens.
 *
 * It starts when all that the request announced are there. A stream too many, or a second one of a kind, is
 * refused: upstream's servers wedge on it. The error stream lives to the end in every version; in v1
 * upstream resets it at the start and loses errors that way.
 */
export class SpdyServerWire implements ServerWire {
  /** How a status is worded. */
  readonly wording: "v4" | "text";
  readonly #session: SpdySession;
  /** The streams by their channel, once they are there. */
  readonly #streams = new Map<number, SpdyStream>();
  readonly #missing: Set<number>;
  readonly #complete = Promise.withResolvers<void>();
  readonly #timeout: number;

  /**
   * A session on `duplex`, which it owns from now on.
   *
   * @param timeout How long the client may take to open its streams, in milliseconds. Default 30 000.
   */
  constructor(duplex: Duplex, protocol: string, request: RemoteCommandRequest, timeout: number = STREAM_TIMEOUT) {
    this.wording = protocol === "v4.channel.k8s.io" ? "v4" : "text";
    this.#missing = new Set(announcedChannels(protocol, request));
    this.#timeout = timeout;
    this.#session = new SpdySession(duplex, { role: "server", onStream: (stream) => this.#accept(stream) });
  }

  /** Waits for the streams. */
  async open(): Promise<boolean> {
    await within(this.#timeout, Promise.race([this.#complete.promise, this.#session.closed]));
    return this.#missing.size === 0;
  }

  /** Takes what comes on stdin and resize until the session has ended. */
  async receive(client: ClientInput): Promise<void> {
    const { closed } = this.#session;
    const reads = Promise.all([
      readStream(this.#streams.get(Channel.STDIN), (data) => {
        const room = client.input(data);
        return room && this.#whileAlive(room);
      }).then(() => client.endInput()),
      readStream(this.#streams.get(Channel.RESIZE), (data) => client.resize(data)),
    ]);
    try {
      // A command that does not take its input is told of the client's end all the same.
      await Promise.race([closed, reads.then(() => closed)]);
    } catch (error) {
      if (!(error instanceof PodwireError)) throw error; // The client is gone; `closed` keeps the reason.
    }
  }

  /** Data on a stream. What the client has reset gets none. */
  async send(channel: number, data: Uint8Array): Promise<void> {
    await this.#streams.get(channel)?.write(data).catch(ignoreReset);
  }

  /** FIN. */
  async end(channel: number): Promise<void> {
    await this.#streams.get(channel)?.closeWrite().catch(ignoreReset);
  }

  /** Resets what is left of stdin and resize, says GOAWAY, and waits for the client to go, for a while. */
  async close(): Promise<void> {
    await this.#session.close();
  }

  /** Drops the connection. */
  abort(reason: unknown): void {
    this.#session.abort(reason);
  }

  /** Waits for `room`, during which the session may not read: PINGs tell us when the client is gone. */
  async #whileAlive(room: Promise<void>): Promise<void> {
    const timer = setInterval(() => this.#session.ping(), PING_INTERVAL);
    try {
      await Promise.race([room, this.#session.closed]);
    } finally {
      clearInterval(timer);
    }
  }

  #accept(stream: SpdyStream): void {
    const channel = CHANNELS[stream.headers["streamtype"] ?? ""];
    // One that cannot be answered is of no use either.
    if (channel === undefined || stream.localEnd || !this.#missing.delete(channel)) {
      return stream.reset(ResetStatus.REFUSED_STREAM);
    }
    this.#streams.set(channel, stream);
    // Nobody reads what a client sends on the streams that it listens to.
    if (channel !== Channel.STDIN && channel !== Channel.RESIZE) stream.incoming.cancel();
    stream.reply();
    if (this.#missing.size === 0) this.#complete.resolve();
  }
}

const CHANNELS: Readonly<Record<string, number>> = {
  error: Channel.ERROR,
  stdin: Channel.STDIN,
  stdout: Channel.STDOUT,
  stderr: Channel.STDERR,
  resize: Channel.RESIZE,
};

function announcedChannels(protocol: string, request: RemoteCommandRequest): number[] {
  return [
    Channel.ERROR,
    ...(request.stdin ? [Channel.STDIN] : []),
    ...(request.stdout ? [Channel.STDOUT] : []),
    ...(request.stderr ? [Channel.STDERR] : []),
    ...(request.tty && hasSizes(protocol) ? [Channel.RESIZE] : []),
  ];
}

/** Reads a stream to its end; a reset is one too. */
async function readStream(
  stream: SpdyStream | undefined,
  take: (data: Uint8Array) => Promise<void> | void,
): Promise<void> {
  if (!stream) return;
  const { incoming } = stream;
  try {
    while (await incoming.ready()) {
      const part = incoming.peek();
      await take(part);
      incoming.consume(part.length);
    }
  } catch (error) {
    ignoreReset(error);
  }
}

function ignoreReset(error: unknown): void {
  if (!(error instanceof StreamResetError)) throw error;
}
