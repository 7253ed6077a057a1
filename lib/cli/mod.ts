/**
 * The command line of podwire.
 *
 * @module
 */
export { main } from "./main.ts";
