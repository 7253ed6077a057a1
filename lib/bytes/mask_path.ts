/**
 * URL paths without their secrets.
 *
 * @module
 */

/**
 * `path` as it may be shown. `podwire host` has its token as the first segment of its URL; no path of Kubernetes begins
 * with a segment of 32 characters or more, so one that does is masked.
 *
 * @param token One that is known: each segment that holds it is masked, too, wherever it is and however it is spelled.
 *
 * @example
 * ```ts
 * import { maskPath } from "./mask_path.ts";
 *
 * maskPath("/api/v1/pods"); // as it is
 * maskPath("/s3cret/api", "s3cret"); // "/<masked>/api"
 * ```
 */
export function maskPath(path: string, token?: string): string {
  const masked = path.replace(/^\/[\w-]{32,}(?=[/?]|$)/, "/<masked>");
  if (!token) return masked;
  const isSecret = (segment: string) => segment.includes(token) || decoded(segment).includes(token);
  return masked.split("/").map((segment) => isSecret(segment) ? "<masked>" : segment).join("/");
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // Not percent-encoded as it should be: nor is what it holds.
  }
}
