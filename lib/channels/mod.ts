/**
 * Kubernetes' remote command protocol on top of a WebSocket or of SPDY/3.1: channel ids, the codec of
 * every subprotocol, exit codes, terminal sizes. The client and the server use the same.
 *
 * @module
 */
export {
  BEARER_PROTOCOL,
  Channel,
  hasJsonStatus,
  hasSizes,
  isRemoteCommandProtocol,
  PING,
  PROTOCOL_HEADER,
  REMOTE_COMMAND_PROTOCOLS,
  type RemoteCommandProtocol,
  SPDY_PROTOCOLS,
} from "./protocol.ts";
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
export { checkSize, encodeResize, ResizeDecoder, type TerminalSize } from "./resize.ts";
export {
  DisconnectedError,
  RemoteCommandSession,
  type RemoteCommandSessionOptions,
  StdinClosedError,
} from "./session.ts";
export { WebSocketWire } from "./websocket_wire.ts";
export {
  openSpdyWire,
  type RemoteCommandSink,
  type RemoteCommandWire,
  type RequestedStreams,
  type WireEnd,
} from "./wire.ts";
export { HALF_CLOSE_KEPT, PORT_FORWARD_CHANNELS, PORT_FORWARD_PROTOCOL, PORT_FORWARD_TUNNEL } from "./port_forward.ts";
