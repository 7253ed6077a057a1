/**
 * podwire as the programs of the cluster run it.
 *
 * @module
 */
import { denoFlags, ROOT } from "../offline/flags.ts";

/** The command line of this checkout. */
export async function podwire(): Promise<string[]> {
  return [Deno.execPath(), "run", "-A", "--no-check", ...await denoFlags(), new URL("cli.ts", ROOT).pathname];
}
