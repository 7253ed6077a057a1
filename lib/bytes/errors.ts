/**
 * The base of podwire's error family.
 *
 * @module
 */

/**
 * What every error of podwire is an instance of. Each room adds its own few
 * subclasses with typed fields; `cause` keeps what lies underneath.
 *
 * @example
 * ```ts
 * import { PodwireError } from "@podwire/podwire";
 *
 * try {
 *   throw new PodwireError("nothing works", { cause: new Error("why") });
 * } catch (error) {
 *   if (!(error instanceof PodwireError)) throw error;
 * }
 * ```
 */
export class PodwireError extends Error {
  /** The class's name. */
  override name = "PodwireError";
}

/** What `error` says; anything can be thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What the system says, in the middle of a sentence, without Deno's call and path; what others say, as it is. */
export function systemText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [, text] = /^(.*?) \(os error \d+\)/.exec(error.message) ?? [];
  return text === undefined ? error.message : text.charAt(0).toLowerCase() + text.slice(1);
}
