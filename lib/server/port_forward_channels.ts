/**
 * Port-forward over a WebSocket's channels, the server's side: the form that knows no streams.
 *
 * @module
 */
import { ByteQueue, type Duplex, PodwireError } from "../bytes/mod.ts";
import { ChannelCodec, ChannelProtocolError } from "../channels/mod.ts";
import type { MessageSocket } from "../websocket/mod.ts";
import { connectToPort } from "./local_port.ts";
import { type ForwardedPod, forwardingError } from "./port_forward.ts";

/**
 * The subprotocols; a client may also offer none, which is the first of them (cri-streaming `portforward/websocket.go`).
 * Each with the most ports that it can carry: two channels each, in one byte of which 255 means something else, or in
 * one digit.
 */
export const PORT_FORWARD_CHANNEL_PROTOCOLS: Readonly<Record<string, number>> = {
  "v4.channel.k8s.io": 127,
  "": 127,
  "v4.base64.channel.k8s.io": 5,
};

/** A connection to a port of a pod. */
export interface PortConnection {
  /** What goes to the port, and comes from it. */
  readonly duplex: Duplex;
  /**
   * What is to be said against the connection, if anything, once nothing more comes from it.
   *
   * @param error What broke it.
   */
  verdict(error?: PodwireError): Promise<string> | string;
}

/**
 * Connects to a port of a pod.
 *
 * @throws {PodwireError} If it cannot; the client is told its message.
 */
export type ConnectToPort = (port: number, signal: AbortSignal) => Promise<PortConnection>;

/** Connects to ports of this machine, which are `pod`'s. */
export function podPorts(pod: ForwardedPod): ConnectToPort {
  return async (port, signal) => {
    const explain = (error: Error) => forwardingError(port, pod, error);
    try {
      const duplex = await connectToPort(pod.ports[port] ?? port, signal, pod.unanswered);
      return { duplex, verdict: (error) => error ? explain(error) : "" };
    } catch (cause) {
      if (!(cause instanceof PodwireError)) throw cause;
      throw new PodwireError(explain(cause), { cause });
    }
  };
}

/**
 * Forwards one connection to each of `ports` until all of them have ended, or the client has gone.
 *
 * The i-th port has channel 2i for its data and 2i + 1 for what goes wrong. Both begin with the port's number,
 * little-endian. There is no half-close: a connection ends when the pod ends its direction. When all
 * are over the WebSocket is closed with code 1000.
 *
 * A port that does not read has 256 KiB queued; then the WebSocket is not read any further until it does.
 *
 * @param lost Aborts when the pod ends: so do the connections, and the session without a word about them, as a kubelet's does.
 */
export async function servePortForwardChannels(
  socket: MessageSocket,
  ports: readonly number[],
  connect: ConnectToPort,
  lost?: AbortSignal,
): Promise<void> {
  const session = new ChannelSession(socket, ports, connect);
  const leave = () => session.leave();
  lost?.addEventListener("abort", leave);
  if (lost?.aborted) leave();
  await session.run();
  lost?.removeEventListener("abort", leave);
}

/** The largest part of a connection's bytes that is moved at once: client-go's copy buffer. */
const MAX_READ = 32 * 1024;

class ChannelSession {
  readonly #socket: MessageSocket;
  readonly #connect: ConnectToPort;
  readonly #codec: ChannelCodec;
  /** Each port with what the client has sent to it. */
  readonly #ports: ReadonlyArray<{ readonly port: number; readonly input: ByteQueue }>;
  readonly #gone = new AbortController();

  constructor(socket: MessageSocket, ports: readonly number[], connect: ConnectToPort) {
    this.#socket = socket;
    this.#connect = connect;
    const isBase64 = socket.protocol === "v4.base64.channel.k8s.io";
    this.#codec = new ChannelCodec(isBase64 ? "v4.base64.channel.k8s.io" : "v4.channel.k8s.io");
    this.#ports = ports.map((port) => ({ port, input: new ByteQueue() }));
  }

  /** Ends the connections. */
  leave(): void {
    this.#gone.abort(new PodwireError("the pod has ended"));
  }

  async run(): Promise<void> {
    try {
      for (const [i, { port }] of this.#ports.entries()) {
        const greeting = Uint8Array.of(port & 0xff, port >> 8);
        await this.#send(2 * i, greeting);
        await this.#send(2 * i + 1, greeting);
      }
      const connections = Promise.all(this.#ports.map((_, i) => this.#forward(i)));
      await Promise.race([
        connections,
        this.#receive().finally(() => this.#gone.abort(new PodwireError("the client is gone"))),
      ]);
      await connections;
      await this.#socket.close();
    } catch (error) {
      this.#socket.abort(error); // The client has gone in the middle of something.
      if (!(error instanceof PodwireError)) throw error;
    } finally {
      for (const { input } of this.#ports) input.cancel();
    }
  }

  /** The `index`th port's connection, from its first byte to its last. */
  async #forward(index: number): Promise<void> {
    const { port, input } = this.#ports[index]!;
    const { signal } = this.#gone;
    let connection: PortConnection;
    try {
      connection = await this.#connect(port, signal);
    } catch (error) {
      if (!(error instanceof PodwireError)) throw error;
      input.cancel();
      return await this.#tell(index, error.message);
    }
    const { duplex } = connection;
    const drop = () => duplex.close();
    signal.addEventListener("abort", drop, { once: true });
    if (signal.aborted) drop();
    try {
      void writeInput(input, duplex);
      const broken = await this.#readOutput(index, duplex);
      await this.#tell(index, await connection.verdict(broken));
    } finally {
      signal.removeEventListener("abort", drop);
      input.cancel();
      drop();
    }
  }

  /** Passes on what the port says until its end; gives what broke it, if that is how it ended. */
  async #readOutput(index: number, duplex: Duplex): Promise<PodwireError | undefined> {
    const buffer = new Uint8Array(MAX_READ);
    for (;;) {
      let n: number | null;
      try {
        n = await duplex.read(buffer);
      } catch (error) {
        if (!(error instanceof PodwireError)) throw error;
        return error;
      }
      if (n === null) return undefined;
      await this.#send(2 * index, buffer.subarray(0, n));
    }
  }

  /** Takes what the client sends, until it closes, ends, or breaks the protocol. */
  async #receive(): Promise<void> {
    try {
      for (;;) {
        const message = await this.#socket.receive();
        if (message === undefined) return;
        const decoded = this.#codec.decode(message);
        if (decoded?.type !== "data" || decoded.channel % 2 !== 0) continue; // Error channels are for reading.
        await this.#ports[decoded.channel / 2]?.input.write(decoded.data);
      }
    } catch (error) {
      if (!(error instanceof PodwireError)) throw error;
      if (!(error instanceof ChannelProtocolError)) this.#socket.abort(error);
    }
  }

  /** Says what is to be said against a connection, unless nobody listens any more. */
  async #tell(index: number, text: string): Promise<void> {
    if (text !== "" && !this.#gone.signal.aborted) await this.#send(2 * index + 1, new TextEncoder().encode(text));
  }

  #send(channel: number, data: Uint8Array): Promise<void> {
    return this.#socket.send(...this.#codec.encode(channel, data));
  }
}

/** Moves what waits in `input` until it is cancelled, or the port takes no more. */
async function writeInput(input: ByteQueue, duplex: Duplex): Promise<void> {
  try {
    while (await input.ready()) {
      const part = input.peek();
      await duplex.write(part);
      input.consume(part.length);
    }
  } catch (error) {
    if (!(error instanceof PodwireError)) throw error;
    input.cancel(); // What else comes is dropped.
  }
}
