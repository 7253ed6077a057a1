/**
 * What can go wrong on the way to a server.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";

/** The step at which a connection failed. */
export type Hop = "dns" | "tcp" | "unix" | "proxy" | "tls";

/** What a {@linkcode DialError} knows. */
export interface DialErrorInit extends ErrorOptions {
  /** The step. */
  readonly hop: Hop;
  /** With whom: `host:port` or a path, never with credentials. */
  readonly address: string;
  /** The system's name of the error: `ECONNREFUSED`, `ETIMEDOUT` … */
  readonly code?: string;
}

/** A connection could not be opened. The message names the step and the address. */
export class DialError extends PodwireError {
  /** The class's name. */
  override name = "DialError";
  /** The step. */
  readonly hop: Hop;
  /** With whom: `host:port` or a path, never with credentials. */
  readonly address: string;
  /** The system's name of the error: `ECONNREFUSED`, `ETIMEDOUT` …; empty if it has none. */
  readonly code: string;

  /** An error that says `message` about a step. */
  constructor(message: string, init: DialErrorInit) {
    super(message, init);
    this.hop = init.hop;
    this.address = init.address;
    this.code = init.code ?? "";
  }
}

/** The peer does not speak HTTP/1.1 as it must, or ended in the middle of it. */
export class HttpError extends PodwireError {
  /** The class's name. */
  override name = "HttpError";
}

/** The connection ended, or nothing more came of it in time, before an answer was whole: the next one may fare better. */
export class HttpBreakError extends HttpError {
  /** The class's name. */
  override name = "HttpBreakError";
}

/** What a server answered instead of `101 Switching Protocols`. */
export interface UpgradeRefusal {
  /** The HTTP status code. */
  readonly status: number;
  /** The reason phrase. */
  readonly statusText: string;
  /** The header fields. */
  readonly headers: Headers;
  /** The body, at most 64 KiB of it. */
  readonly body: string;
}

/** The server answered an upgrade with something other than a 101 to what was asked for. */
export class UpgradeRefusedError extends PodwireError implements UpgradeRefusal {
  /** The class's name. */
  override name = "UpgradeRefusedError";
  /** The HTTP status code. */
  readonly status: number;
  /** The reason phrase. */
  readonly statusText: string;
  /** The header fields. */
  readonly headers: Headers;
  /** The body, at most 64 KiB of it. */
  readonly body: string;

  /** An error for that answer. */
  constructor(refusal: UpgradeRefusal) {
    super(
      refusal.status === 101
        ? "the server answered 101, but not to what it was asked for"
        : `the server refused to upgrade: ${refusal.status} ${refusal.statusText}`.trimEnd(),
    );
    this.status = refusal.status;
    this.statusText = refusal.statusText;
    this.headers = refusal.headers;
    this.body = refusal.body;
  }
}
