/**
 * What a DELETE may say in its body (apimachinery `meta/v1`, `DeleteOptions`).
 *
 * @module
 */
import { messageOf } from "../bytes/mod.ts";
import type { HttpRequest } from "./http.ts";
import { badRequest, StatusError } from "./status_error.ts";

/** How to delete an object. */
export interface DeleteOptions {
  /** How long it has to end, in seconds. */
  readonly gracePeriodSeconds?: number;
  /** `All`, if nothing is to be done. */
  readonly dryRun?: readonly string[];
  /** Which object is meant. */
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

/**
 * Reads a body.
 *
 * @throws {StatusError} If it is no JSON, or has values that the API server would not take.
 */
export function parseDeleteOptions(body: Uint8Array, request: HttpRequest): DeleteOptions {
  const type = request.headers.get("content-type") ?? "application/json";
  if (!type.startsWith("application/json")) {
    throw new StatusError(415, "UnsupportedMediaType", `the body of the request was in an unknown format: ${type}`);
  }
  let options: unknown;
  try {
    // To Go, what is null is not there.
    options = JSON.parse(new TextDecoder().decode(body), (_, value) => value ?? undefined) ?? {};
  } catch (error) {
    throw badRequest(`couldn't get version/kind; json parse error: ${messageOf(error)}`);
  }
  check(options);
  return options;
}

function check(options: unknown): asserts options is DeleteOptions {
  if (!isObject(options)) throw wrongType(options, "value of type v1.DeleteOptions");
  const { gracePeriodSeconds: grace, dryRun = [], preconditions = {} } = options;
  if (grace !== undefined && !isInt64(grace)) throw wrongType(grace, field("gracePeriodSeconds", "int64"));
  if (!Array.isArray(dryRun)) throw wrongType(dryRun, field("dryRun", "[]string"));
  for (const value of dryRun) if (typeof value !== "string") throw wrongType(value, field("dryRun", "string"));
  if (!isObject(preconditions)) throw wrongType(preconditions, field("preconditions", "v1.Preconditions"));
  for (const [name, type] of [["uid", "types.UID"], ["resourceVersion", "string"]] as const) {
    const value = preconditions[name] ?? "";
    if (typeof value !== "string") throw wrongType(value, field(`preconditions.${name}`, type));
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isInt64(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value) && Math.abs(value) < 2 ** 63;
}

function field(name: string, type: string): string {
  return `struct field DeleteOptions.${name} of type ${type}`;
}

/** The words of Go's `encoding/json`, and of the API server in front of them. */
function wrongType(value: unknown, target: string): StatusError {
  const type = Array.isArray(value) ? "array" : GO_NAMES[typeof value] ?? typeof value;
  const which = typeof value === "number" && target.endsWith("int64") ? ` ${value}` : "";
  return badRequest(
    `DeleteOptions in version "v1" cannot be handled as a DeleteOptions: json: cannot unmarshal ${type}${which} into Go ${target}`,
  );
}

const GO_NAMES: Readonly<Record<string, string>> = { boolean: "bool", undefined: "null" };
