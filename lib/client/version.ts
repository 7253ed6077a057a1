/**
 * Which podwire this is.
 *
 * @module
 */

/** podwire's version, the one in `deno.json` (a test holds them together). */
export const VERSION = "0.1.0";
