/**
 * How a remote command ended, as the error channel says it.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import { ChannelProtocolError } from "./codec.ts";

/** The API's `Status` object, as far as podwire reads it (apimachinery `meta/v1` types.go). */
export interface Status {
  /** Always `Status` where present; error channels leave it out. */
  readonly kind?: "Status";
  /** Always `v1` where present. */
  readonly apiVersion?: "v1";
  /** Empty in practice. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Whether it went well. */
  readonly status?: "Success" | "Failure";
  /** What happened, for a person. */
  readonly message?: string;
  /** What happened, in one word: `NotFound`, `Forbidden`, `NonZeroExitCode` … */
  readonly reason?: string;
  /** More about it. */
  readonly details?: StatusDetails;
  /** The HTTP status that goes with it. */
  readonly code?: number;
}

/** The details of a {@linkcode Status}. */
export interface StatusDetails {
  /** The object's name. */
  readonly name?: string;
  /** The object's API group. */
  readonly group?: string;
  /** The object's kind (or resource). */
  readonly kind?: string;
  /** The causes. Go calls a cause's `reason` its Type. */
  readonly causes?: ReadonlyArray<
    {
      readonly reason?: string;
      readonly message?: string;
      readonly field?: string;
    }
  >;
  /** When to try again, in seconds. */
  readonly retryAfterSeconds?: number;
}

/** The `Status` of success, as Kubernetes' translator sends it. */
export const SUCCESS: Status = { metadata: {}, status: "Success" };

/**
 * The `Status` of a command that ended with `code` other than 0
 * (apiserver `pkg/util/proxy/websocket.go`).
 */
export function exitCodeStatus(code: number): Status {
  return {
    metadata: {},
    status: "Failure",
    message: `command terminated with non-zero exit code: command terminated with exit code ${code}`,
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(code) }] },
  };
}

/** The `Status` of a session that the server could not run or finish. */
export function internalErrorStatus(text: string): Status {
  return {
    metadata: {},
    status: "Failure",
    message: `Internal error occurred: ${text}`,
    reason: "InternalError",
    details: { causes: [{ message: text }] },
    code: 500,
  };
}

/** What an error channel that carries plain text says, as a `Status` (client-go `tools/remotecommand/v1.go` and `v2.go`). */
export function textStatus(text: string, protocol: string): Status {
  const isV1 = protocol === "channel.k8s.io" || protocol === "base64.channel.k8s.io";
  return { status: "Failure", message: `${isV1 ? "Error" : "error"} executing remote command: ${text}` };
}

/** The server says that the command could not be run, or did not run to its end. */
export class RemoteCommandError extends PodwireError {
  /** The class's name. */
  override name = "RemoteCommandError";
  /** What the server sent; before v4 only its message. */
  readonly status: Status;

  /** An error that says what `status` says. */
  constructor(status: Status, options?: ErrorOptions) {
    super(status.message ?? "the server gave no reason", options);
    this.status = status;
  }
}

/**
 * The exit code that `status` stands for (client-go
 * `tools/remotecommand/v4.go`).
 *
 * @throws {RemoteCommandError} If the command did not end by itself.
 * @throws {ChannelProtocolError} If the status makes no sense.
 */
export function exitCodeOf(status: Status): number {
  if (status.status === "Success") return 0;
  if (status.status !== "Failure") {
    throw new ChannelProtocolError(
      `error stream protocol error: unknown error: the status is ${JSON.stringify(status.status ?? "").slice(0, 80)}`,
    );
  }
  if (status.reason !== "NonZeroExitCode") throw new RemoteCommandError(status);
  if (!status.details) {
    throw new ChannelProtocolError(
      "error stream protocol error: details must be set",
    );
  }
  const cause = status.details.causes?.find((cause) => cause.reason === "ExitCode");
  if (!cause) {
    throw new ChannelProtocolError(
      "error stream protocol error: no ExitCode cause given",
    );
  }
  const code = /^\d+$/.test(cause.message ?? "") ? Number(cause.message) : NaN;
  if (!(code >= 1 && code <= 255)) { // 0 is no failure.
    throw new ChannelProtocolError(
      `error stream protocol error: invalid exit code value ${JSON.stringify(cause.message ?? "")}`,
    );
  }
  return code;
}

/**
 * Reads what the error channel of v4 or later carried.
 *
 * @throws {ChannelProtocolError} If it is not a `Status` in JSON.
 */
export function parseStatus(raw: string): Status {
  let value: unknown;
  try {
    value = JSON.parse(raw);
  } catch (cause) {
    throw new ChannelProtocolError(
      `error stream protocol error: ${(cause as Error).message} in ${JSON.stringify(raw.slice(0, 200))}`,
      { cause },
    );
  }
  if (!isObject(value)) {
    throw new ChannelProtocolError(
      `error stream protocol error: not an object in ${JSON.stringify(raw.slice(0, 200))}`,
    );
  }
  if (!isStatus(value)) {
    throw new ChannelProtocolError(
      `error stream protocol error: not a Status in ${JSON.stringify(raw.slice(0, 200))}`,
    );
  }
  return value;
}

/** Whether what podwire reads of a `Status` has the right types; `null` is nothing, as for Go. */
function isStatus(value: Record<string, unknown>): value is Status & Record<string, unknown> {
  const details = value.details ?? {};
  const causes = (isObject(details) ? details.causes : undefined) ?? [];
  return isObject(details) && isTexts(value.status, value.message, value.reason) && Array.isArray(causes) &&
    causes.every((cause: unknown) => isObject(cause) && isTexts(cause.reason, cause.message));
}

function isTexts(...values: readonly unknown[]): boolean {
  return values.every((value) => typeof (value ?? "") === "string");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
