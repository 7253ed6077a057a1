/**
 * Kubernetes' remote command protocol on top of a WebSocket: channel ids, the codec of
 * every subprotocol, exit codes, terminal sizes. The client and the server use the same.
 *
 * @module
 */
export { Channel, isRemoteCommandProtocol, REMOTE_COMMAND_PROTOCOLS, type RemoteCommandProtocol } from "./protocol.ts";
export { ChannelCodec, type ChannelMessage, ChannelProtocolError, type EncodedMessage } from "./codec.ts";
export {
  exitCodeOf,
  exitCodeStatus,
  internalErrorStatus,
  parseStatus,
  RemoteCommandError,
  type Status,
  type StatusDetails,
  SUCCESS,
} from "./status.ts";
export { encodeResize, ResizeDecoder, type TerminalSize } from "./resize.ts";
export {
  DisconnectedError,
  RemoteCommandSession,
  type RemoteCommandSessionOptions,
  StdinClosedError,
} from "./session.ts";
