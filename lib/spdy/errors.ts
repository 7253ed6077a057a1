/**
 * What can go wrong on a SPDY session.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";

/** The peer broke SPDY/3.1; the session is of no more use. */
export class SpdyProtocolError extends PodwireError {
  /** The class's name. */
  override name = "SpdyProtocolError";
}

/** The session ended while something of it was still in use. */
export class SpdySessionError extends PodwireError {
  /** The class's name. */
  override name = "SpdySessionError";
}

/** One stream was reset, or was never answered. The session and its other streams go on. */
export class StreamResetError extends PodwireError {
  /** The class's name. */
  override name = "StreamResetError";
  /** The stream. */
  readonly streamId: number;
  /** Why, one of {@linkcode ResetStatus}. */
  readonly status: number;

  /** An error for stream `streamId`. */
  constructor(message: string, streamId: number, status: number) {
    super(message);
    this.streamId = streamId;
    this.status = status;
  }
}

/** The peer did not answer a SYN_STREAM in time, and the stream was reset. */
export class StreamTimeoutError extends StreamResetError {
  /** The class's name. */
  override name = "StreamTimeoutError";
}
