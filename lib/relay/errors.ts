/**
 * What can go wrong with a relay that runs.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";

/** Why a connection or datagram did not get through: the `reason` of the metrics. */
export type Reason =
  /** The relay has as many connections as it may have. */
  | "limit"
  /** The source's address is in no range of `allowFrom`. */
  | "source"
  /** The handshake of TLS with the client failed. */
  | "client_tls"
  /** The target cannot be reached. */
  | "connect"
  /** It could not be reached in time. */
  | "connect_timeout"
  /** A connection broke in the middle. */
  | "broken"
  /** Neither side said anything for too long. */
  | "idle"
  /** A request is not what HTTP/1.1 allows, or not what can be checked. */
  | "bad_request"
  /** A request is for a path or with a method that is not allowed. */
  | "forbidden"
  /** The target's answer is not HTTP/1.1, or came too late. */
  | "bad_answer"
  /** A datagram came faster than it could be passed on, or was too long. */
  | "dropped"
  /** Accepting a connection failed. */
  | "accept";

/** A relay, or one of its connections, failed. */
export class RelayError extends PodwireError {
  /** The class's name. */
  override name = "RelayError";
  /** Why. */
  readonly reason: Reason | "listen";

  /** An error with its reason. */
  constructor(message: string, reason: Reason | "listen", options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}
