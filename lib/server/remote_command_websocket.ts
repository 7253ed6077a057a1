/**
 * exec and attach over a WebSocket, the server's side.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import { Channel, ChannelCodec, ChannelProtocolError, type RemoteCommandProtocol } from "../channels/mod.ts";
import type { WebSocketConnection } from "../websocket/mod.ts";
import type { ClientInput, RemoteCommandRequest, ServerWire } from "./remote_command.ts";

/** A session whose data comes in messages that start with a channel id. */
export class WebSocketServerWire implements ServerWire {
  /** How a status is worded. */
  readonly wording: "v5" | "v4" | "text";
  readonly #socket: WebSocketConnection;
  readonly #request: RemoteCommandRequest;
  readonly #codec: ChannelCodec;

  /** A session on `socket`, which it owns from now on. */
  constructor(socket: WebSocketConnection, request: RemoteCommandRequest) {
    this.#socket = socket;
    this.#request = request;
    // A client that offers no subprotocol speaks the first one (k8s.io/streaming `wsstream`).
    this.#codec = new ChannelCodec((socket.protocol || "channel.k8s.io") as RemoteCommandProtocol);
    this.wording = this.#codec.halfClose ? "v5" : this.#codec.jsonStatus ? "v4" : "text";
  }

  /** The greeting: nothing, on the first channel that the client will hear from (apiserver pkg/util/proxy/websocket.go). */
  async open(): Promise<boolean> {
    const { stdout, stderr } = this.#request;
    await this.send(stdout ? Channel.STDOUT : stderr ? Channel.STDERR : Channel.ERROR, new Uint8Array(0));
    return true;
  }

  /** Takes what the client sends, until it closes, ends, breaks the protocol, or the session is closed from here. */
  async receive(client: ClientInput): Promise<void> {
    try {
      for (;;) {
        const message = await this.#socket.receive();
        if (message === undefined) return;
        const decoded = this.#codec.decode(message);
        if (decoded?.type === "close") {
          if (decoded.channel === Channel.STDIN) client.endInput();
        } else if (decoded?.channel === Channel.STDIN) {
          const room = client.input(decoded.data);
          if (room) await this.#whileAlive(room);
        } else if (decoded?.channel === Channel.RESIZE) {
          client.resize(decoded.data);
        }
      }
    } catch (error) {
      // A malformed message ends the session with Close 1000 and no status, as upstream. Whatever else it is, the
      // client is gone; `closed` of the socket keeps the reason.
      if (!(error instanceof PodwireError)) throw error;
      if (!(error instanceof ChannelProtocolError)) this.#socket.abort(error);
    }
  }

  /**
   * Waits for `room`, during which the client's Pings lie behind its input: Pongs of our own keep client-go, which counts
   * nothing else as life, from giving up after 61 s, and tell us when it is gone.
   */
  async #whileAlive(room: Promise<void>): Promise<void> {
    const timer = setInterval(() => {
      if (!this.#socket.pong()) this.#socket.abort();
    }, PONG_INTERVAL);
    try {
      await Promise.race([room, this.#socket.closed]);
    } finally {
      clearInterval(timer);
    }
  }

  /** One message. */
  send(channel: number, data: Uint8Array): Promise<void> {
    return this.#socket.send(...this.#codec.encode(channel, data));
  }

  /** The end of a channel: no server has a word for it. */
  end(): Promise<void> {
    return Promise.resolve();
  }

  /** Close 1000, then the peer's or five seconds. */
  async close(): Promise<void> {
    await this.#socket.close();
  }

  /** Drops the connection. */
  abort(reason: unknown): void {
    this.#socket.abort(reason);
  }
}

/** How often to show a client whose Pings cannot be read that we are there, in milliseconds: as often as client-go Pings. */
const PONG_INTERVAL = 5_000;
