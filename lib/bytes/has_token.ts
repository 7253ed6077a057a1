/**
 * Lists in header fields.
 *
 * @module
 */

/**
 * Whether a comma-separated header value holds `token`, in any case (RFC 9110 section 5.6.1).
 *
 * @example
 * ```ts
 * import { hasToken } from "./has_token.ts";
 *
 * hasToken("keep-alive, Upgrade", "upgrade"); // true
 * ```
 */
export function hasToken(value: string | null, token: string): boolean {
  return value?.split(",").some((part) => part.trim().toLowerCase() === token.toLowerCase()) ?? false;
}
