/**
 * JSON as Go writes it.
 *
 * @module
 */

/** `value` as JSON with `<`, `>` and `&` escaped, as Go's encoder does and Kubernetes' servers therefore do. */
export function goJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
