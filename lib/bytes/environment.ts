/**
 * Environment variables, as far as a program may read them.
 *
 * @module
 */

/**
 * The environment variable `name`. One that Deno does not permit to read counts as unset, and nobody is asked for
 * permission; in a browser none is set.
 *
 * @example
 * ```ts
 * import { readEnvironment } from "./environment.ts";
 *
 * const home = readEnvironment("HOME");
 * ```
 */
export function readEnvironment(name: string): string | undefined {
  if ("Deno" in globalThis) {
    const { state } = Deno.permissions.querySync({ name: "env", variable: name });
    return state === "granted" ? Deno.env.get(name) : undefined;
  }
  const { process } = globalThis as { process?: { env?: Readonly<Record<string, string>> } };
  return process?.env?.[name];
}
