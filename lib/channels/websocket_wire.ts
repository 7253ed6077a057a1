/**
 * Exec and attach over a WebSocket: every message has a channel id in front.
 *
 * @module
 */
import type { MessageSocket } from "../websocket/mod.ts";
import { ChannelCodec, ChannelProtocolError } from "./codec.ts";
import { Channel, isRemoteCommandProtocol } from "./protocol.ts";
import type { RemoteCommandSink, RemoteCommandWire, WireEnd } from "./wire.ts";

/**
 * The client's side over a {@linkcode MessageSocket} (client-go `tools/remotecommand/websocket.go`). One connection for all
 * channels: while the output of one has no room, the others wait too.
 */
export class WebSocketWire implements RemoteCommandWire {
  /** What it is made of. */
  readonly type = "websocket";
  readonly #socket: MessageSocket;
  readonly #codec: ChannelCodec;

  /**
   * A wire over `socket`, whose subprotocol says how the channels are written.
   *
   * @throws {ChannelProtocolError} If the subprotocol is none of exec and attach.
   */
  constructor(socket: MessageSocket) {
    if (!isRemoteCommandProtocol(socket.protocol)) {
      throw new ChannelProtocolError(
        `not a remote command protocol: ${JSON.stringify(socket.protocol)}`,
      );
    }
    this.#socket = socket;
    this.#codec = new ChannelCodec(socket.protocol);
  }

  /** The subprotocol. */
  get protocol(): string {
    return this.#codec.protocol;
  }

  /** As far as the socket can tell. */
  get stalledFor(): number {
    return this.#socket.stalledFor ?? 0;
  }

  /** Reads messages up to the server's Close frame. */
  async receive(sink: RemoteCommandSink): Promise<WireEnd> {
    for (;;) {
      const message = await this.#socket.receive();
      if (message === undefined) break;
      const waiting = this.#dispatch(message, sink);
      if (waiting) await waiting;
    }
    const info = await this.#socket.closed.catch(() => undefined); // What broke it later is no news.
    const text = info
      ? `the server closed with code ${info.closeCode}${info.reason && ` (${info.reason})`}`
      : "the connection ended";
    return { silentSuccess: false, text };
  }

  /** Sends one message. */
  async sendInput(data: Uint8Array): Promise<boolean> {
    await this.#socket.send(...this.#codec.encode(Channel.STDIN, data));
    return true;
  }

  /** Sends v5's close signal. */
  endInput(): Promise<void> {
    return this.#socket.send(...this.#codec.encodeClose(Channel.STDIN));
  }

  /** Sends one message. */
  sendSize(data: Uint8Array): Promise<void> {
    return this.#socket.send(...this.#codec.encode(Channel.RESIZE, data));
  }

  /** Drops the connection without a Close frame. */
  abort(reason?: unknown): void {
    this.#socket.abort(reason);
  }

  /** Does the closing handshake. */
  close(): Promise<void> {
    return this.#socket.close();
  }

  #dispatch(message: Uint8Array | string, sink: RemoteCommandSink): Promise<void> | void {
    const decoded = this.#codec.decode(message);
    if (decoded?.type !== "data") return;
    const { channel, data } = decoded;
    if (channel === Channel.STDOUT) return sink.output("stdout", data);
    if (channel === Channel.STDERR) return sink.output("stderr", data);
    if (channel === Channel.ERROR) sink.status(data);
  }
}
