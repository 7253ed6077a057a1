/**
 * What the runtime has.
 *
 * @module
 */
import { formatAddress, ListenError, type SocketAddress } from "../dial/mod.ts";

/** Whether podwire can open sockets here: in Deno and in Node (and what is like it), not in a browser. */
export function hasSockets(): boolean {
  const process = (globalThis as { process?: { versions?: { node?: string } } }).process;
  return "Deno" in globalThis || Boolean(process?.versions?.node);
}

/** The error for a runtime in which nobody can listen. */
export function noSockets(address: SocketAddress, what: string, instead: string): ListenError {
  const where = formatAddress(address);
  return new ListenError(`cannot listen on ${where}: a browser has no ${what}; ${instead}`, address, "ENOTSUP");
}
