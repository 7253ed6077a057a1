/**
 * Errors as kubectl prints them (kubectl `pkg/cmd/util/helpers.go`, apimachinery `pkg/api/errors`).
 *
 * @module
 */
import { messageOf, PodwireError, systemText } from "../bytes/mod.ts";
import type { Status } from "../channels/mod.ts";
import { ApiError } from "../client/mod.ts";
import { DialError } from "../dial/mod.ts";
import { ConfigError } from "../kubeconfig/mod.ts";

/**
 * What is printed for `error`, without the last line end.
 *
 * @param server The API server, for a connection that it refused.
 */
export function errorText(error: unknown, server?: URL): string {
  if (error instanceof AggregateError && error.errors.length > 1) {
    return error.errors.map((error) => plainText(error, server)).join("\n");
  }
  if (error instanceof AggregateError) return errorText(error.errors[0], server);
  if (error instanceof ConfigError) return configurationText(error);
  return recognizedText(error, server) ?? `error: ${lastText(error)}`;
}

/** `error` as one of several, where kubectl leaves `error: ` out. */
function plainText(error: unknown, server: URL | undefined): string {
  return recognizedText(error, server) ?? lastText(error);
}

/** What nobody has put into words of podwire: a file that could not be had comes as Deno says it, `WHY: open 'PATH'`. */
function lastText(error: unknown): string {
  if (!(error instanceof Error) || error instanceof PodwireError) return messageOf(error);
  const [, path] = / \(os error \d+\): \w+ '([^]*)'$/.exec(error.message) ?? [];
  return path === undefined ? systemText(error) : `${path.replace("' -> '", " -> ")}: ${systemText(error)}`;
}

function recognizedText(error: unknown, server: URL | undefined): string | undefined {
  if (error instanceof ApiError) return statusText(error.code, error.status);
  if (error instanceof DialError) {
    if (error.code !== "ECONNREFUSED" || error.hop !== "tcp") {
      return `Unable to connect to the server: ${error.message}`;
    }
    const host = server?.host ?? error.address;
    const text = `The connection to the server ${host} was refused - did you specify the right host or port?`;
    return server?.href === DEFAULT_SERVER ? `${text}\n${NO_SERVER_HINT}` : text;
  }
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return `Unable to connect to the server: no answer${server ? ` from ${server.host}` : ""} within --request-timeout`;
  }
  return undefined;
}

/** Where kubectl, and so podwire, goes without being told. */
const DEFAULT_SERVER = "http://localhost:8080/";
const NO_SERVER_HINT =
  "That is where podwire goes when neither a kubeconfig (of --kubeconfig, KUBECONFIG or ~/.kube/config) nor --server " +
  "names a server.";

function statusText(code: number, status: Status): string {
  const generic = status.kind === "Status" ? undefined : GENERIC[code];
  // Of these client-go keeps what the server says.
  const forbidden = status.kind !== "Status" && code === 403 ? "Forbidden" : undefined;
  const [reason, message] = generic ?? [status.reason ?? forbidden, status.message ?? `HTTP status ${code}`];
  if (reason === "Unauthorized") return `error: You must be logged in to the server (${message})`;
  if (reason === "Invalid" && status.kind === "Status") return invalidText(status);
  return reason ? `Error from server (${reason}): ${message}` : `Error from server: ${message}`;
}

/** What client-go says for an answer that is no `Status`. */
const GENERIC: Readonly<Record<number, readonly [reason: string, message: string]>> = {
  400: ["BadRequest", "the server rejected our request for an unknown reason"],
  401: ["Unauthorized", "the server has asked for the client to provide credentials"],
  404: ["NotFound", "the server could not find the requested resource"],
  405: ["MethodNotAllowed", "the server does not allow this method on the requested resource"],
  429: ["TooManyRequests", "the server has received too many requests and has asked us to try again later"],
  503: ["ServiceUnavailable", "the server is currently unable to handle the request"],
  504: [
    "Timeout",
    "the server was unable to return a response in the time allotted, but may still be processing the request",
  ],
};

function invalidText(status: Status): string {
  const { kind = "", name = "", causes = [] } = status.details ?? {};
  const subject = kind || name ? `The ${kind} ${JSON.stringify(name)} is invalid` : "The request is invalid";
  const problems = [...new Set(causes.map(({ field, message }) => `${field ?? ""}: ${message ?? ""}`))];
  if (problems.length > 1) return [`${subject}: `, ...problems.map((problem) => `* ${problem}`)].join("\n");
  if (problems.length === 1) return `${subject}: ${problems[0]}`;
  return kind || name || !status.message ? subject : `${subject}: ${status.message}`;
}

/** kubectl's words, and where they are to be put right. */
function configurationText(error: ConfigError): string {
  const prefix = "invalid configuration: ";
  if (!error.message.startsWith(prefix)) return `error: ${error.message}`;
  if (error.problems.length === 1) return `Error in configuration: ${error.message.slice(prefix.length)}`;
  const place = error.file === undefined ? [] : [`(${error.file}:${error.line})`];
  return ["Error in configuration: ", ...error.problems.map((problem) => `* ${problem}`), ...place].join("\n");
}
