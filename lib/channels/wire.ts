/**
 * What a session of exec or attach asks of the wire under it.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";

/** Where a {@linkcode RemoteCommandWire} puts what arrives. */
export interface RemoteCommandSink {
  /** Takes output. A promise, if there is one, resolves when there is room again; `data` must not change before. */
  output(stream: "stdout" | "stderr", data: Uint8Array): Promise<void> | void;
  /** Takes a part of what the server says about the command's end. */
  status(data: Uint8Array): void;
}

/** How a wire ended in order. */
export interface WireEnd {
  /** Whether the server has said all that its protocol has to say about success: nothing. */
  readonly silentSuccess: boolean;
  /** What happened, for a person. */
  readonly text: string;
}

/**
 * The streams of one exec or attach. A wire carries, a session knows what it means; there is one wire for
 * WebSocket and one for SPDY/3.1.
 */
export interface RemoteCommandWire {
  /** What it is made of. */
  readonly type: "websocket" | "spdy";
  /** The protocol that the server chose, for example `v5.channel.k8s.io`. */
  readonly protocol: string;
  /** For how long the server has handled nothing of what it was sent, in milliseconds; 0 where nobody can tell. */
  readonly stalledFor: number;

  /**
   * Reads to the end of the session, once.
   *
   * @throws What broke the wire.
   */
  receive(sink: RemoteCommandSink): Promise<WireEnd>;

  /**
   * Sends input; resolves when the transport has taken it. Calls are served in order.
   *
   * @returns Whether the server takes input: `false` if it has ended that alone, and the session goes on.
   * @throws What broke the wire.
   */
  sendInput(data: Uint8Array): Promise<boolean>;

  /**
   * Ends the input.
   *
   * @throws {ChannelProtocolError} At once, if the protocol cannot say it.
   */
  endInput(): Promise<void>;

  /** Sends a terminal's size in its encoded form; nothing where the protocol has no sizes. */
  sendSize(data: Uint8Array): Promise<void>;

  /** Drops the wire. */
  abort(reason?: unknown): void;

  /** Ends the wire in order, after everything has been received. */
  close(): Promise<void>;
}

/** Which streams a session asks the server for. */
export interface RequestedStreams {
  /** Input. */
  readonly stdin: boolean;
  /** Output. */
  readonly stdout: boolean;
  /** Errors. */
  readonly stderr: boolean;
  /** A terminal. */
  readonly tty: boolean;
}

/**
 * Opens the streams of exec or attach over a connection that a server has upgraded to SPDY/3.1. SPDY is loaded
 * by this call: where WebSocket will do, a start need not wait for it.
 *
 * @param protocol What the server chose; an empty string means the oldest.
 * @throws {ChannelProtocolError} If it is none of {@linkcode SPDY_PROTOCOLS}.
 */
export async function openSpdyWire(
  duplex: Duplex,
  protocol: string,
  streams: RequestedStreams,
): Promise<RemoteCommandWire> {
  const { SpdyWire } = await import("./spdy_wire.ts");
  return new SpdyWire(duplex, protocol, streams);
}
