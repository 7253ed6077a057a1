/**
 * A {@linkcode MessageSocket} as a stream of bytes.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";
import { CloseCode, WebSocketProtocolError } from "./frame.ts";
import type { MessageSocket } from "./message_socket.ts";

/**
 * The bytes of a socket's binary messages, one after the other, as a {@linkcode Duplex}: what a protocol that
 * needs a stream runs over when only WebSockets get through, as port-forward does (client-go
 * `tools/portforward/tunneling_connection.go`).
 *
 * The boundaries of messages mean nothing, empty ones neither. Each write is one message. The peer's Close 1000 is the
 * end of the stream; a Close with another code, or none, is an error of {@linkcode Duplex.read}, and so is a text
 * message.
 *
 * WebSockets have no half-close: `closeWrite()` and `close()` both start the closing handshake (code 1000), which may
 * take one second before the connection is dropped. Nothing of a message is kept behind the read that
 * empties it or the end of sending, so a socket may reuse its buffer.
 *
 * @example
 * ```ts
 * import { duplexPair } from "../bytes/mod.ts";
 * import { messageDuplex, WebSocketConnection } from "./mod.ts";
 *
 * const [left, right] = duplexPair();
 * const client = messageDuplex(new WebSocketConnection(left, { role: "client", protocol: "" }));
 * const server = messageDuplex(new WebSocketConnection(right, { role: "server", protocol: "" }));
 * await client.write(new Uint8Array([1, 2, 3]));
 * await server.read(new Uint8Array(8)); // 3
 * client.close();
 * await server.read(new Uint8Array(8)); // null
 * ```
 */
export function messageDuplex(socket: MessageSocket): Duplex {
  return new MessageDuplex(socket);
}

/** How long the closing handshake may take, in milliseconds. */
const CLOSE_TIMEOUT = 1_000;

const NOTHING = new Uint8Array(0);

class MessageDuplex implements Duplex {
  readonly #socket: MessageSocket;
  /** What is left of the last message, a view of it. */
  #rest: Uint8Array = NOTHING;
  #closing: Promise<void> | undefined;
  #dropped = false;
  #rejectRead: ((reason: unknown) => void) | undefined;

  constructor(socket: MessageSocket) {
    this.#socket = socket;
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (this.#dropped) throw closedError();
    while (this.#rest.length === 0) {
      const message = await this.#receive();
      if (message === undefined) return await this.#end();
      if (typeof message === "string") {
        throw new WebSocketProtocolError(CloseCode.PROTOCOL_ERROR, "invalid message type received: text");
      }
      this.#rest = message;
    }
    const count = Math.min(into.length, this.#rest.length);
    into.set(count < this.#rest.length ? this.#rest.subarray(0, count) : this.#rest);
    this.#rest = count < this.#rest.length ? this.#rest.subarray(count) : NOTHING;
    return count;
  }

  async write(data: Uint8Array): Promise<void> {
    if (this.#dropped) throw closedError();
    if (data.length > 0) await this.#socket.send(data);
  }

  closeWrite(): Promise<void> {
    this.#rest = this.#rest.slice(); // What comes during the handshake may go into the same buffer.
    return this.#closing ??= this.#close();
  }

  close(): void {
    if (this.#dropped) return;
    this.#dropped = true;
    this.#rest = NOTHING;
    this.#rejectRead?.(closedError());
    void this.closeWrite();
  }

  /** The next message; rejects as soon as this end is closed, without waiting for the closing handshake. */
  #receive(): Promise<Uint8Array | string | undefined> {
    return new Promise((resolve, reject) => {
      this.#rejectRead = reject;
      this.#socket.receive().then(resolve, reject);
    });
  }

  /** The end of the stream, if the peer called it that. */
  async #end(): Promise<null> {
    const { closeCode, reason } = await this.#socket.closed;
    if (closeCode === CloseCode.NORMAL || this.#closing) return null;
    throw new PodwireError(`the peer closed the WebSocket with code ${closeCode}${reason && ` (${reason})`}`);
  }

  async #close(): Promise<void> {
    const timer = setTimeout(() => this.#socket.abort(closedError()), CLOSE_TIMEOUT);
    try {
      await this.#socket.close();
    } finally {
      clearTimeout(timer);
    }
  }
}

function closedError(): PodwireError {
  return new PodwireError("the connection is closed");
}
