/**
 * WebSockets (RFC 6455): frames, the opening handshake as plain values, a connection over
 * any duplex for both ends, and the platform's own WebSocket behind the same interface.
 *
 * @module
 */
export type { CloseInfo, MessageSocket } from "./message_socket.ts";
export { CloseCode, type Role, WebSocketProtocolError } from "./frame.ts";
export {
  acceptWebSocket,
  ClientHandshake,
  type HeaderList,
  isWebSocketRequest,
  type ServerHandshake,
  WebSocketHandshakeError,
  WebSocketRequestError,
} from "./handshake.ts";
export { WebSocketConnection, WebSocketConnectionError, type WebSocketConnectionOptions } from "./connection.ts";
export { openPlatformWebSocket, type PlatformWebSocketOptions } from "./browser.ts";
export { messageDuplex } from "./message_duplex.ts";
