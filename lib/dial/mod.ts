/**
 * From an address to a duplex: TCP, unix sockets, TLS, proxies; and HTTP/1.1 with its
 * upgrade over that duplex.
 *
 * @module
 */
export type { ClientCertificate, Dialer, Endpoint, TlsOptions } from "./types.ts";
export { LAST_CHUNK, toChunk } from "./chunk.ts";
export { createDialer, type DialerOptions } from "./dialer.ts";
export {
  DialError,
  type DialErrorInit,
  type Hop,
  HttpBreakError,
  HttpError,
  type UpgradeRefusal,
  UpgradeRefusedError,
} from "./errors.ts";
export { HttpConnection, type HttpOptions, type HttpResponse, type Upgraded } from "./http.ts";
export { endToEnd, type HeaderFields, isToken, TOKEN } from "./header_fields.ts";
export { encodeResponseHead, type HttpRequest, type ResponseHead } from "./http_head.ts";
export { inRange, type IpRange, isIpv4, parseCidr, parseIp } from "./ip.ts";
export { cannotListen, freePath, listen, ListenError, type Listening, permittedAddress } from "./listen.ts";
export type { NodeDuplex } from "./node_stream.ts";
export { bareHost, type GetEnv, proxyFor } from "./proxy.ts";
export { bindWithMode, removeSocket, removeStaleSocket } from "./socket_file.ts";
export { connectTcp, formatAddress, type SocketAddress } from "./sockets.ts";
export { acceptTls, type AcceptTlsOptions } from "./tls_accept.ts";
