/**
 * What can go wrong with a forwarded connection, and with a whole port-forward.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";

/** What a {@linkcode ForwardError} knows. */
export interface ForwardErrorInit extends ErrorOptions {
  /** The port in the pod. */
  readonly port: number;
  /** The system's name of the error. */
  readonly code?: string;
}

/** One forwarded connection failed. The port-forward and its other connections go on. */
export class ForwardError extends PodwireError {
  /** The class's name. */
  override name = "ForwardError";
  /** The port in the pod. */
  readonly port: number;
  /**
   * `ECONNREFUSED` if nothing listens on the port, `ECONNRESET` if the connection was reset or the way to the pod broke,
   * `EPIPE` if the pod takes no more, `ETIMEDOUT` if nobody answered, or an empty string.
   */
  readonly code: string;

  /** An error for a connection to `init.port`. */
  constructor(message: string, init: ForwardErrorInit) {
    super(message, init);
    this.port = init.port;
    this.code = init.code ?? "";
  }

  /** The error for what a server said on an error stream. */
  static fromServer(text: string, port: number): ForwardError {
    return new ForwardError(text.trim(), { port, code: CODES.find(([pattern]) => pattern.test(text))?.[1] ?? "" });
  }
}

/** What container runtimes say, in the words of Go and of C. */
const CODES: ReadonlyArray<readonly [RegExp, string]> = [
  [/connection refused/i, "ECONNREFUSED"],
  [/connection reset by peer/i, "ECONNRESET"],
  [/broken pipe/i, "EPIPE"],
  [/timed out|i\/o timeout/i, "ETIMEDOUT"],
];

/** The port-forward as a whole has ended, and cannot go on. */
export class PortForwardError extends PodwireError {
  /** The class's name. */
  override name = "PortForwardError";
}
