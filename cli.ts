/**
 * The command `podwire`.
 *
 * ```sh
 * deno run -A jsr:@podwire/podwire/cli exec -it web-0 -- sh
 * ```
 *
 * @module
 */
import { main } from "./lib/cli/mod.ts";

// The process may not wait for a pending read from standard input: it ends here.
if (import.meta.main) Deno.exit(await main(Deno.args));
