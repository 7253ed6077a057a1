/**
 * Header fields (RFC 9110 section 5).
 *
 * @module
 */

/** Header fields in the order and spelling of the wire; names may repeat. */
export type HeaderFields = ReadonlyArray<readonly [name: string, value: string]>;

/** The pattern of what is a field's name, and a method (RFC 9110 section 5.6.2). */
export const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";

const WHOLE_TOKEN = new RegExp(`^${TOKEN}$`);

/** Whether `text` can be a field's name, or a method. */
export function isToken(text: string): boolean {
  return WHOLE_TOKEN.test(text);
}

/**
 * `fields` without those that are for one connection, by default or because its `Connection` says so.
 *
 * @example
 * ```ts
 * import { endToEnd } from "./header_fields.ts";
 *
 * endToEnd([["Accept", "text/plain"], ["Connection", "close, X-Hop"], ["X-Hop", "1"]]); // [["Accept", "text/plain"]]
 * ```
 */
export function endToEnd(fields: HeaderFields): HeaderFields {
  const named = new Set(
    fields.filter(([name]) => name.toLowerCase() === "connection")
      .flatMap(([, value]) => value.split(",").map((token) => token.trim().toLowerCase())),
  );
  return fields.filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()) && !named.has(name.toLowerCase()));
}

/** RFC 9110 section 7.6.1, Go's `httputil.ReverseProxy`, and what would make it something else than HTTP/1.1. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
