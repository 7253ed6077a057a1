/**
 * A connection of Deno's own as a duplex.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";

/** A connection of Deno's own: one write at a time, and nothing between a read and the system. */
export class SocketDuplex implements Duplex {
  readonly #conn: Deno.Conn;
  #closed = false;

  /** Takes over `conn`. */
  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /** Reads into `into`. */
  read(into: Uint8Array): Promise<number | null> {
    return this.#conn.read(into);
  }

  /** Writes all of `data`. */
  async write(data: Uint8Array): Promise<void> {
    let written = await this.#conn.write(data);
    while (written < data.length) written += await this.#conn.write(data.subarray(written));
  }

  /** Sends FIN. */
  async closeWrite(): Promise<void> {
    try {
      await this.#conn.closeWrite();
    } catch (error) {
      // The peer has gone in the meantime (ENOTCONN): there is nobody left to be told.
      if (!(error instanceof Deno.errors.NotConnected) && !this.#closed) throw error;
    }
  }

  /** Closes both directions. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#conn.close();
  }
}
