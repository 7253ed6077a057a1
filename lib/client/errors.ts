/**
 * What a Kubernetes API server can refuse.
 *
 * @module
 */
import { PodwireError, readRefusal } from "../bytes/mod.ts";
import type { Status } from "../channels/mod.ts";

/** The API server answered a request with an error. */
export class ApiError extends PodwireError {
  /** The class's name. */
  override name = "ApiError";
  /** The HTTP status code. */
  readonly code: number;
  /** The server's `Status`; made up from the answer where it sent none. */
  readonly status: Status;

  /** An error for an answer with `code` that says `status`. */
  constructor(code: number, status: Status, options?: ErrorOptions) {
    super(status.message ?? `the server answered with HTTP status ${code}`, options);
    this.code = code;
    this.status = status;
  }

  /** The server's one-word reason (`NotFound`, `Forbidden` …), or an empty string. */
  get reason(): string {
    return this.status.reason ?? "";
  }

  /**
   * Reads the answer's body, at most 64 KiB of it and as far as it comes, as a `Status` if it is one.
   *
   * @throws The reason of `options.signal`.
   */
  static async from(
    response: Response,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<ApiError> {
    const { status, statusText, body } = response;
    return new ApiError(status, readStatus(await readRefusal(body, options.signal), status, statusText));
  }
}

/** What a caller must be allowed to do for a WebSocket (Kubernetes 1.35 and later ask for both); for SPDY, only to create. */
const STREAM_VERBS = ["get", "create"] as const;

/** What {@linkcode UpgradeError} knows about a refusal. */
export interface Refusal {
  /** The HTTP status code. */
  readonly code: number;
  /** Its reason phrase. */
  readonly statusText: string;
  /** The beginning of the body. */
  readonly body: string;
  /** The subresource that was asked for: `pods/exec`, `pods/attach`. */
  readonly resource: string;
  /** What the server was asked to upgrade to. */
  readonly wire: "websocket" | "spdy";
}

/**
 * The server refused to open a stream: it answered an upgrade request with something
 * other than a proper `101 Switching Protocols`. Nothing has been run and no input has
 * been taken, so another wire may be tried (kubectl does so too after a 101 to something else, code 101, though nobody knows
 * what such a server has done). Where one was, this is the last one's refusal, and its `cause` the first one's.
 */
export class UpgradeError extends PodwireError {
  /** The class's name. */
  override name = "UpgradeError";
  /** The HTTP status code; 101 if only the rest of the answer was wrong, 0 where a browser hides it. */
  readonly code: number;
  /** Its reason phrase. */
  readonly statusText: string;
  /** The server's `Status`, if the body was one. */
  readonly status: Status | undefined;
  /** For a 403: the RBAC verbs that the request needs, on {@linkcode UpgradeError.resource}. */
  readonly verbs: readonly string[];
  /** The subresource that was asked for: `pods/exec`, `pods/attach`. */
  readonly resource: string;

  /** An error for a refusal of `resource`. */
  constructor(refusal: Refusal, options?: ErrorOptions) {
    const status = parseStatusBody(refusal.body);
    const detail = refusal.wire === "spdy" ? spdyRefusalText(refusal.body) : refusalText(refusal, status);
    super(`unable to upgrade connection: ${detail}`, options);
    this.code = refusal.code;
    this.statusText = refusal.statusText;
    this.status = status;
    this.resource = refusal.resource;
    this.verbs = refusal.code !== 403 || !status ? [] : refusal.wire === "spdy" ? ["create"] : STREAM_VERBS;
  }
}

/** The target of a command is not what the command needs. */
export class TargetError extends PodwireError {
  /** The class's name. */
  override name = "TargetError";
}

function refusalText(refusal: Refusal, status: Status | undefined): string {
  const text = status?.message || refusal.body.trim();
  if (refusal.code === 403 && status) {
    return `${text} (${refusal.resource} needs the verbs ${STREAM_VERBS.join(" and ")})`;
  }
  if (text) return text;
  if (refusal.code === 403) {
    return "the server knows none of the subprotocols that were offered (403 Forbidden without a body)";
  }
  return refusal.code === 0 ? "the browser does not say why" : `${refusal.code} ${refusal.statusText}`.trim();
}

/** In client-go's words (`k8s.io/streaming/pkg/httpstream/spdy/roundtripper.go`). */
function spdyRefusalText(body: string): string {
  for (const text of [...errorFields(body), body]) {
    if (typeof text === "string" && text.trim() !== "") return text.trim();
  }
  return "empty server response";
}

/** Where a server that answers in JSON says what is wrong. */
function errorFields(body: string): unknown[] {
  try {
    const { message, error } = JSON.parse(body) ?? {};
    return [message, error];
  } catch {
    return []; // Not JSON.
  }
}

function parseStatusBody(body: string): Status | undefined {
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === "object" && value !== null && "kind" in value && value.kind === "Status") {
      return value as Status;
    }
  } catch {
    // Not JSON: kubelets and container runtimes answer in plain text.
  }
  return undefined;
}

/** `body` as a `Status`; one in its place for an answer that is none (client-go `rest/request.go`). */
function readStatus(body: string, code: number, statusText: string): Status {
  const status = parseStatusBody(body);
  if (status) return status;
  return { status: "Failure", message: body.trim() || `${code} ${statusText}`.trim(), code };
}
