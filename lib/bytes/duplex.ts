/**
 * A two-way stream of bytes, as small as a socket.
 *
 * @module
 */

/**
 * A two-way stream of bytes whose two directions end separately.
 *
 * Every transport (TCP, TLS, unix socket, proxy, in-memory pair) is one, and every
 * protocol runs over one. It reads into the caller's buffer, as `Deno.Conn` does,
 * so that a fast reader costs no allocation and no copy, and it has half-close,
 * which `Deno.Conn`'s own Web Streams have not.
 */
export interface Duplex {
  /**
   * Reads at most `into.length` bytes, at least one. One call at a time.
   *
   * @returns How many bytes were read, or `null` once the peer has ended its direction.
   * @throws What broke the connection, or why it was closed.
   */
  read(into: Uint8Array): Promise<number | null>;

  /**
   * Writes all of `data`. Calls are served in order; the bytes must not change until
   * the promise settles. It resolves when the transport has taken everything, so
   * awaiting it is back-pressure.
   *
   * @throws What broke the connection, or why it was closed.
   */
  write(data: Uint8Array): Promise<void>;

  /**
   * Ends the outgoing direction after the writes before it; the other goes on.
   *
   * @throws What broke the connection, or why it was closed.
   */
  closeWrite(): Promise<void>;

  /** Drops both directions at once. Reads and writes under way reject. Never throws. */
  close(): void;

  /**
   * Says whether the connection is idle: a read that waits on it then keeps no process running. Who has no such method is not read
   * while idle, so that its end goes unnoticed.
   */
  setIdle?(idle: boolean): void;
}
