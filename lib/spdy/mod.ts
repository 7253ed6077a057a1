/**
 * SPDY/3.1 as Kubernetes speaks it: many streams over one connection. A pure frame codec, header blocks, and a session
 * over any duplex, client or server. Knows nothing of Kubernetes.
 *
 * @module
 */
export { SpdyProtocolError, SpdySessionError, StreamResetError, StreamTimeoutError } from "./errors.ts";
export { ResetStatus } from "./frame.ts";
export type { SpdyHeaders } from "./header_block.ts";
export { SpdySession, type SpdySessionOptions, type Stall } from "./session.ts";
export type { SpdyStream } from "./stream.ts";
