/**
 * What the protocols above need of a WebSocket, whoever implements it.
 *
 * @module
 */

/** How a WebSocket ended (RFC 6455 section 7.1.5 and 7.1.6). */
export interface CloseInfo {
  /** The status code; 1005 where the peer's Close frame had none, 1006 where there was no Close frame. */
  readonly closeCode: number;
  /** The reason that came with it, or an empty string. */
  readonly reason: string;
}

/**
 * An open WebSocket that is pulled: nothing is read from the network beyond a bound
 * until somebody asks for it, so a slow reader slows the sender.
 */
export interface MessageSocket {
  /** The subprotocol that the server chose, or an empty string. */
  readonly protocol: string;

  /**
   * The next whole message: bytes for a binary one, a string for a text one, `undefined`
   * once the peer has sent its Close frame (see {@linkcode MessageSocket.closed}).
   * The bytes are valid until the next call, or that of {@linkcode MessageSocket.close}: a socket may use their memory
   * again. Neither change nor transfer them. One call at a time.
   *
   * @throws What broke the connection: a protocol violation, an end without Close, a
   * missing answer to pings.
   */
  receive(): Promise<Uint8Array | string | undefined>;

  /**
   * Sends one message, the concatenation of `parts` (bytes: a binary one; a string: a
   * text one), never fragmented. Resolves when the transport has taken it. Calls are
   * served in order; the bytes must not change until then.
   */
  send(...parts: readonly Uint8Array[] | readonly [string]): Promise<void>;

  /** Starts or answers the closing handshake; settles when it is done or its bound has passed. */
  close(info?: Partial<CloseInfo>): Promise<void>;

  /** Drops the connection without a Close frame. */
  abort(reason?: unknown): void;

  /**
   * For how long the peer has handled nothing of what it was sent, in milliseconds, as far as its Pongs tell. Less than
   * the interval between two Pings means nothing. Absent where nobody can tell.
   */
  readonly stalledFor?: number;

  /** Settles once, when the socket has ended: resolves after a Close frame, rejects otherwise. */
  readonly closed: Promise<CloseInfo>;
}
