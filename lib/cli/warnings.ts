/**
 * Warnings that a server sends beside its answer, in `Warning` header fields (RFC 7234, section 5.5).
 *
 * @module
 */

/** The texts of the warnings in `headers` with code 299, the one that Kubernetes uses. */
export function readWarnings(headers: Headers): string[] {
  const field = headers.get("warning") ?? "";
  return [...field.matchAll(/(?:^|,)\s*299 \S+ "((?:[^"\\]|\\.)*)"/g)].map(([, text = ""]) =>
    text.replace(/\\(.)/g, "$1")
  );
}
