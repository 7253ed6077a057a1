/**
 * URL paths without their secrets.
 *
 * @module
 */

/**
 * `path` as it may be shown. `podwire host` has its token as the first segment of its URL; no path of Kubernetes begins
 * with a segment of 32 characters or more, so one that does is masked.
 *
 * @example
 * ```ts
 * import { maskPath } from "./mask_path.ts";
 *
 * maskPath("/api/v1/pods"); // as it is
 * ```
 */
export function maskPath(path: string): string {
  return path.replace(/^\/[\w-]{32,}(?=[/?]|$)/, "/<masked>");
}
