/**
 * Refusals as the API server words them.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import type { Status, StatusDetails } from "../channels/mod.ts";
import { goJson } from "./go_json.ts";
import type { HttpResponse } from "./http.ts";

/** A request that is refused with a `Status`. */
export class StatusError extends PodwireError {
  /** The class's name. */
  override name = "StatusError";
  /** The HTTP status. */
  readonly code: number;
  /** The reason in one word. */
  readonly reason: string;
  /** What it is about. */
  readonly details: StatusDetails | undefined;

  /** A refusal. */
  constructor(code: number, reason: string, message: string, details?: StatusDetails) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
  }

  /** The `Status` that says so. */
  get status(): Status {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: this.message,
      reason: this.reason,
      ...(this.details && { details: this.details }),
      code: this.code,
    };
  }

  /** The answer with it; the connection stays open, as the API server keeps it. */
  get response(): HttpResponse {
    return {
      status: this.code,
      headers: [["Cache-Control", "no-cache, private"], ["Content-Type", "application/json"]],
      body: `${goJson(this.status)}\n`,
    };
  }
}

/** 400 with a reason for a person. */
export function badRequest(message: string): StatusError {
  return new StatusError(400, "BadRequest", message);
}

/** 401: no credentials, or wrong ones; nobody is told which. */
export function unauthorized(): StatusError {
  return new StatusError(401, "Unauthorized", "Unauthorized");
}

/** 403 with a reason for a person. */
export function forbidden(message: string): StatusError {
  return new StatusError(403, "Forbidden", message);
}

/** 404 for an object. */
export function objectNotFound(kind: string, name: string): StatusError {
  return new StatusError(404, "NotFound", `${kind} ${JSON.stringify(name)} not found`, { name, kind });
}

/** 404 for a path. */
export function pathNotFound(): StatusError {
  return new StatusError(404, "NotFound", "the server could not find the requested resource", {});
}

/** 405. */
export function methodNotAllowed(): StatusError {
  return new StatusError(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
    {},
  );
}
