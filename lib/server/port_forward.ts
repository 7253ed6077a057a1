/**
 * Port-forward over SPDY/3.1, plain or in a tunnel: the server's side.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";
import { HALF_CLOSE_KEPT } from "../channels/mod.ts";
import { ResetStatus, SpdySession, type SpdyStream } from "../spdy/mod.ts";
import { connectToPort, LocalPortError, type Unanswered } from "./local_port.ts";
import { ConnectionError } from "./socket.ts";

/** The pod whose ports are forwarded, for error texts. */
export interface ForwardedPod {
  /** Its name. */
  readonly name: string;
  /** Its unique id. */
  readonly uid: string;
  /** Ports of this machine that stand for other ports of the pod. */
  readonly ports: Readonly<Record<number, number>>;
  /** Aborts when it ends: so do its sessions and their connections, with a reset. */
  readonly gone?: AbortSignal;
  /** Its connections without an answer, over all sessions. */
  readonly unanswered?: Unanswered;
}

/** Options of {@linkcode servePortForward}. */
export interface PortForwardOptions {
  /** How long the second stream of a connection may take, in milliseconds. Default 30 000, as cri-streaming. */
  readonly pairTimeout?: number;
}

/**
 * Forwards connections to ports of this machine until the client has gone (cri-streaming
 * `portforward/httpstream.go`).
 *
 * A connection is two streams with one `requestid`: `error`, on which the server says what went wrong, and `data`, whose
 * port counts. When both are there, the port is dialed. Then bytes go both ways, and each direction ends by
 * itself: the client's FIN becomes the local connection's, and the other way round, so that an answer
 * that comes only after the end of the question arrives. Every SYN_REPLY says so with `half-close: kept`, which is
 * podwire's own: containerd ends both directions a second after the first, and a client that cares must know.
 * A connection that the process resets is reset for the client too; one that the client resets just ends for the process, as with
 * other servers, since `Deno.Conn` knows no reset. The error stream ends as soon as the process has
 * said everything, though the client may go on.
 *
 * **A slow reader.** A process that does not read has 256 KiB of its connection queued here; then the session is not
 * read any further until it does, its other connections included, since SPDY as Kubernetes speaks it has no
 * other way to slow a client down. A client that does not read holds up every connection of its session in the same
 * way. Either way nothing is lost, and other sessions notice nothing.
 */
export async function servePortForward(
  duplex: Duplex,
  pod: ForwardedPod,
  options: PortForwardOptions = {},
): Promise<void> {
  const server = new PortForwardServer(duplex, pod, options);
  await server.finished;
}

/** Room for one read from a process, in bytes: little for the many connections that say little, more for the others. */
const SMALL_READ = 4 * 1024;
const LARGE_READ = 64 * 1024;

/** How long the second stream of a connection may take, in milliseconds (cri-streaming). */
const PAIR_TIMEOUT = 30_000;

/** The two streams of one connection, as far as they are there. */
interface Pair {
  readonly requestId: string;
  error?: SpdyStream;
  data?: SpdyStream;
  /** Until both are there. */
  timer: ReturnType<typeof setTimeout> | undefined;
}

class PortForwardServer {
  /** Resolves once the session has ended and no connection is left. */
  readonly finished: Promise<void>;
  readonly #pod: ForwardedPod;
  readonly #pairTimeout: number;
  readonly #session: SpdySession;
  /** By request id, until the connection's verdict is out. */
  readonly #pairs = new Map<string, Pair>();
  readonly #running = new Set<Promise<void>>();
  readonly #ended = new AbortController();
  /** Names this session in error texts, as upstream's do with an address in memory. */
  readonly #name = `0x${crypto.getRandomValues(new Uint8Array(6)).toHex()}`;

  constructor(duplex: Duplex, pod: ForwardedPod, { pairTimeout = PAIR_TIMEOUT }: PortForwardOptions) {
    this.#pod = pod;
    this.#pairTimeout = pairTimeout;
    this.#session = new SpdySession(duplex, { role: "server", onStream: (stream) => this.#accept(stream) });
    pod.gone?.addEventListener("abort", this.#leave);
    if (pod.gone?.aborted) this.#leave();
    this.finished = this.#finish();
  }

  readonly #leave = () => void this.#session.close(new PodwireError("the pod has ended"));

  async #finish(): Promise<void> {
    try {
      await this.#session.closed;
    } catch (error) {
      if (!(error instanceof PodwireError)) throw error; // The client is gone, however it went.
    } finally {
      this.#pod.gone?.removeEventListener("abort", this.#leave);
      this.#ended.abort(new PodwireError("the client is gone"));
      for (const { timer } of this.#pairs.values()) clearTimeout(timer);
      await Promise.all(this.#running);
    }
  }

  /** Takes a stream, or resets it if its headers make no sense (`getStreamPair` and `streamReceived` upstream). */
  #accept(stream: SpdyStream): void {
    const { port, streamtype: type } = stream.headers;
    const makesSense = parsePort(port) !== undefined && (type === "error" || type === "data");
    if (!makesSense || stream.localEnd) return stream.reset(ResetStatus.CANCEL);
    stream.reply(HALF_CLOSE_KEPT);
    const pair = this.#pairOf(stream, type);
    if (pair[type]) {
      say(pair.error, `error processing stream for request ${pair.requestId}: ${type} stream already assigned`);
      return stream.reset(ResetStatus.CANCEL);
    }
    pair[type] = stream;
    if (type === "error") stream.incoming.cancel(); // Nobody reads what a client sends on it.
    if (pair.error && pair.data) this.#start(pair, pair.error, pair.data);
  }

  #pairOf(stream: SpdyStream, type: "error" | "data"): Pair {
    // Clients of long ago sent no ids, and opened the error stream just before the data stream.
    const requestId = stream.headers["requestid"] ?? String(type === "error" ? stream.id : stream.id - 2);
    let pair = this.#pairs.get(requestId);
    if (!pair) {
      const timer = setTimeout(() => this.#giveUp(requestId), this.#pairTimeout);
      pair = { requestId, timer };
      this.#pairs.set(requestId, pair);
    }
    return pair;
  }

  /** The other stream did not come: says so, and leaves nothing behind, where upstream leaves the stream open. */
  #giveUp(requestId: string): void {
    const pair = this.#pairs.get(requestId);
    this.#pairs.delete(requestId);
    pair?.data?.reset(ResetStatus.CANCEL);
    say(pair?.error, `(conn=${this.#name}, request=${requestId}) timed out waiting for streams`);
    pair?.error?.closeWrite().catch(ignoreExpected);
  }

  #start(pair: Pair, error: SpdyStream, data: SpdyStream): void {
    clearTimeout(pair.timer);
    const run = this.#forward(pair, error, data).catch(ignoreExpected).finally(() => this.#running.delete(run));
    this.#running.add(run);
  }

  /** One connection from its first byte to its last. */
  async #forward(pair: Pair, error: SpdyStream, data: SpdyStream): Promise<void> {
    const port = parsePort(data.headers["port"])!;
    const { signal } = this.#ended;
    /** Ends the error stream; its id may be used again. */
    const conclude = async () => {
      if (this.#pairs.get(pair.requestId) === pair) this.#pairs.delete(pair.requestId);
      await error.closeWrite().catch(ignoreExpected);
    };
    let local: Duplex;
    try {
      local = await connectToPort(this.#pod.ports[port] ?? port, signal, this.#pod.unanswered);
    } catch (reason) {
      if (!(reason instanceof LocalPortError)) throw reason;
      say(error, forwardingError(port, this.#pod, reason));
      await conclude();
      return data.reset(ResetStatus.CANCEL); // After the text: the end of the data alone would look like success.
    }
    const drop = () => local.close();
    signal.addEventListener("abort", drop, { once: true });
    if (signal.aborted) drop();
    try {
      // The verdict is not held back until the client's end: kubectl 1.28 waits for it before it ends its own side.
      await Promise.all([toPod(data, local), toClient(local, data).then(conclude)]);
    } finally {
      signal.removeEventListener("abort", drop);
      drop();
      await conclude(); // Also when it was reset by one side or the other.
    }
  }
}

/** What a client is told of a port that cannot be reached, in cri-streaming's words. */
export function forwardingError(port: number, pod: ForwardedPod, reason: Error): string {
  return `error forwarding port ${port} to pod ${pod.name}, uid ${pod.uid}: ${reason.message}`;
}

/** A port from 1 to 65535 in digits. */
function parsePort(text: string | undefined): number | undefined {
  const port = /^\d+$/.test(text ?? "") ? Number(text) : 0;
  return port > 0 && port <= 65535 ? port : undefined;
}

/** Sends a text on an error stream; a client that has gone needs none. */
function say(stream: SpdyStream | undefined, text: string): void {
  stream?.write(new TextEncoder().encode(text)).catch(ignoreExpected);
}

/** @throws What is a bug: all that peers and networks do is of podwire's error family. */
function ignoreExpected(error: unknown): void {
  if (!(error instanceof PodwireError)) throw error;
}

async function toPod(stream: SpdyStream, local: Duplex): Promise<void> {
  const { incoming } = stream;
  try {
    while (await incoming.ready()) {
      const part = incoming.peek();
      await local.write(part);
      incoming.consume(part.length);
    }
    await local.closeWrite();
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error;
    incoming.cancel(); // The process reads no more, but may still have something to say.
  }
}

async function toClient(local: Duplex, stream: SpdyStream): Promise<void> {
  let buffer = new Uint8Array(SMALL_READ);
  try {
    for (let n = await local.read(buffer); n !== null; n = await local.read(buffer)) {
      await stream.write(buffer.subarray(0, n));
      if (n === SMALL_READ) buffer = new Uint8Array(LARGE_READ);
    }
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error;
    return stream.reset(ResetStatus.CANCEL);
  }
  await stream.closeWrite();
}
