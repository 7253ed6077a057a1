/**
 * Messages with a channel id in front: the framing of exec and attach.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding/base64";
import { PodwireError } from "../bytes/mod.ts";
import { Channel, hasJsonStatus, type RemoteCommandProtocol } from "./protocol.ts";

/** A message that is not what its subprotocol allows. */
export class ChannelProtocolError extends PodwireError {
  /** The class's name. */
  override name = "ChannelProtocolError";
}

/** What one message says: bytes for a channel, or (v5) that a channel ends. */
export type ChannelMessage =
  | {
    readonly type: "data";
    readonly channel: number;
    readonly data: Uint8Array;
  }
  | { readonly type: "close"; readonly channel: number };

/** A message ready for `MessageSocket.send`: the parts of a binary one, or one text. */
export type EncodedMessage =
  | readonly [Uint8Array, Uint8Array]
  | readonly [string];

/**
 * Encodes and decodes the messages of one subprotocol, for both sides. Pure.
 *
 * A raw subprotocol sends binary messages (one byte of channel id, then the payload) and
 * reads text ones alike, as Kubernetes' servers do. A base64 one sends text: the
 * channel id as an ASCII digit, then base64. (apimachinery's successor
 * `k8s.io/streaming/pkg/httpstream/wsstream/conn.go`)
 *
 * @example
 * ```ts
 * import { Channel, ChannelCodec } from "./mod.ts";
 *
 * const codec = new ChannelCodec("v5.channel.k8s.io");
 * codec.encode(Channel.STDIN, new TextEncoder().encode("ls\n"));
 * codec.decode(new Uint8Array([1, 104, 105])); // "hi" on stdout
 * ```
 */
export class ChannelCodec {
  /** The subprotocol. */
  readonly protocol: RemoteCommandProtocol;
  /** Whether a channel can end before the connection does (v5). */
  readonly halfClose: boolean;
  /** Whether the error channel carries a JSON `Status` (v4 and later) rather than plain text. */
  readonly jsonStatus: boolean;
  readonly #base64: boolean;

  /** The codec of `protocol`. */
  constructor(protocol: RemoteCommandProtocol) {
    this.protocol = protocol;
    this.halfClose = protocol === "v5.channel.k8s.io";
    this.jsonStatus = hasJsonStatus(protocol);
    this.#base64 = protocol.includes("base64");
  }

  /** The message that carries `data` on `channel`. `data` is not copied by a raw subprotocol. */
  encode(channel: number, data: Uint8Array): EncodedMessage {
    if (this.#base64) return [channel + encodeBase64(data)];
    return [CHANNEL_BYTES.subarray(channel, channel + 1), data];
  }

  /**
   * The message that ends `channel` in the sender's direction.
   *
   * @throws {ChannelProtocolError} Before v5, where that cannot be said.
   */
  encodeClose(channel: number): EncodedMessage {
    if (!this.halfClose) {
      throw new ChannelProtocolError(
        `${this.protocol} cannot end channel ${channel} without ending the session`,
      );
    }
    return this.encode(
      Channel.CLOSE,
      CHANNEL_BYTES.subarray(channel, channel + 1),
    );
  }

  /**
   * What `message` says, or `undefined` for an empty one, which says nothing.
   * The data is a view of the message.
   *
   * @throws {ChannelProtocolError} On a malformed close signal or base64.
   */
  decode(message: Uint8Array | string): ChannelMessage | undefined {
    if (message.length === 0) return undefined;
    if (this.#base64) return decodeBase64Message(message);
    const bytes = typeof message === "string" ? new TextEncoder().encode(message) : message;
    const channel = bytes[0]!;
    if (channel === Channel.CLOSE && this.halfClose) return decodeClose(bytes);
    return { type: "data", channel, data: bytes.subarray(1) };
  }
}

/** Every possible channel byte, so that encoding one allocates no buffer. */
const CHANNEL_BYTES = Uint8Array.from({ length: 256 }, (_, id) => id);

function decodeClose(bytes: Uint8Array): ChannelMessage {
  const channel = bytes[1];
  if (bytes.length !== 2 || channel === undefined || channel > Channel.RESIZE) {
    throw new ChannelProtocolError(
      `malformed close signal: ${bytes.length} bytes, expected 255 and a channel from 0 to ${Channel.RESIZE}`,
    );
  }
  return { type: "close", channel };
}

function decodeBase64Message(message: Uint8Array | string): ChannelMessage {
  const text = typeof message === "string" ? message : new TextDecoder().decode(message);
  const channel = text.charCodeAt(0) - 0x30;
  if (channel < 0 || channel > 9) {
    throw new ChannelProtocolError(
      `base64 message starts with ${JSON.stringify(text[0])}, expected a channel digit`,
    );
  }
  try {
    return { type: "data", channel, data: decodeBase64(text.slice(1)) };
  } catch (cause) {
    throw new ChannelProtocolError(
      `message on channel ${channel} is not base64`,
      { cause },
    );
  }
}
