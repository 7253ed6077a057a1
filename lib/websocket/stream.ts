/**
 * A {@linkcode MessageSocket} in the shape of the WHATWG `WebSocketStream`.
 *
 * @module
 */
import type { CloseInfo, MessageSocket } from "./message_socket.ts";

/** What `opened` of a {@linkcode MessageStream} resolves with. */
export interface MessageStreamOpened {
  /** The messages of the peer: bytes or text. It closes with the peer's Close frame, and errors without one. */
  readonly readable: ReadableStream<Uint8Array | string>;
  /** Messages to the peer. Closing it starts the closing handshake; aborting it drops the connection. */
  readonly writable: WritableStream<Uint8Array | string>;
  /** The subprotocol, or an empty string. */
  readonly protocol: string;
  /** Always empty: podwire negotiates no extensions. */
  readonly extensions: string;
}

/**
 * The shape of `WebSocketStream` (https://websockets.spec.whatwg.org) over any socket that is already open.
 *
 * Back-pressure is that of the socket: nothing is read ahead, and a write is done when the transport has taken it.
 *
 * @example
 * ```ts
 * import { duplexPair } from "../bytes/mod.ts";
 * import { MessageStream, WebSocketConnection } from "./mod.ts";
 *
 * async function greet(): Promise<void> {
 *   const [end] = duplexPair();
 *   const stream = new MessageStream(new WebSocketConnection(end, { role: "client", protocol: "" }));
 *   const { readable, writable } = await stream.opened;
 *   const writer = writable.getWriter();
 *   await writer.write("hello");
 *   for await (const message of readable) console.log(message);
 * }
 * ```
 */
export class MessageStream {
  /** The two streams. */
  readonly opened: Promise<MessageStreamOpened>;
  /** How the socket ended; rejects if there was no Close frame. */
  readonly closed: Promise<CloseInfo>;

  readonly #socket: MessageSocket;

  /** Takes over `socket`, whose messages must be the receiver's to keep. */
  constructor(socket: MessageSocket) {
    this.#socket = socket;
    this.closed = socket.closed;
    const readable = new ReadableStream<Uint8Array | string>({
      async pull(controller) {
        const message = await socket.receive();
        if (message === undefined) controller.close();
        else controller.enqueue(message);
      },
      cancel: () => socket.close(),
    }, { highWaterMark: 0 });
    const writable = new WritableStream<Uint8Array | string>({
      write: (message) => typeof message === "string" ? socket.send(message) : socket.send(message),
      close: () => socket.close(),
      abort: (reason) => socket.abort(reason),
    }, { highWaterMark: 1 });
    this.opened = Promise.resolve({ readable, writable, protocol: socket.protocol, extensions: "" });
  }

  /** Starts the closing handshake. */
  close(info: Partial<CloseInfo> = {}): void {
    this.#socket.close(info).catch(() => {}); // `closed` tells how it went.
  }
}
