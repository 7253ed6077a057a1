/**
 * The runtime's sockets as duplexes.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";

/** A connection ended in the middle of something; the runtime's error is the `cause`. */
export class ConnectionError extends PodwireError {
  /** The class's name. */
  override name = "ConnectionError";
}

/** A connection of the runtime as a {@linkcode Duplex}. */
export class SocketDuplex implements Duplex {
  readonly #connection: Deno.Conn<Deno.Addr>;
  readonly #broken: string;
  readonly #onClose: () => void;
  #lastWrite: Promise<void> = Promise.resolve();
  #closed = false;
  /** What a write met. The system tells of a reset only once, and lets later reads end as if nothing had happened. */
  #reset: { readonly cause: unknown } | undefined;

  /**
   * Takes over `connection`.
   *
   * @param broken What an error says when it breaks.
   * @param onClose Called once, when it is closed.
   */
  constructor(connection: Deno.Conn<Deno.Addr>, broken: string, onClose: () => void = () => {}) {
    this.#connection = connection;
    this.#broken = broken;
    this.#onClose = onClose;
    if (!("setNoDelay" in connection)) return;
    (connection as Deno.TcpConn).setNoDelay(true);
    (connection as Deno.TcpConn).setKeepAlive(true);
  }

  /** The other end's address, without its port; a unix socket's has none. */
  get peer(): string | undefined {
    const address = this.#connection.remoteAddr;
    return "hostname" in address ? address.hostname : undefined;
  }

  /** Reads into `into`. */
  async read(into: Uint8Array): Promise<number | null> {
    let n: number | null;
    try {
      n = await this.#connection.read(into);
    } catch (cause) {
      if (!(cause instanceof Deno.errors.UnexpectedEof)) throw new ConnectionError(this.#broken, { cause });
      n = null; // A client of node:tls ends TLS without its close_notify. What has come says itself whether it is whole.
    }
    if (n === null && this.#reset) throw new ConnectionError(this.#broken, this.#reset);
    return n;
  }

  /** Writes all of `data`, after the writes before it. */
  write(data: Uint8Array): Promise<void> {
    const write = this.#lastWrite.then(() => this.#writeAll(data));
    this.#lastWrite = write.catch(() => {}); // The writer of this one learns of it; the next one will by itself.
    return write;
  }

  /** Ends the outgoing direction. */
  async closeWrite(): Promise<void> {
    await this.#lastWrite;
    try {
      await this.#connection.closeWrite();
    } catch (cause) {
      throw new ConnectionError(this.#broken, { cause });
    }
  }

  /** Closes both directions. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection.close();
    this.#onClose();
  }

  async #writeAll(data: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < data.length;) at += await this.#connection.write(data.subarray(at));
    } catch (cause) {
      if (cause instanceof Deno.errors.ConnectionReset) this.#reset = { cause };
      throw new ConnectionError(this.#broken, { cause });
    }
  }
}
