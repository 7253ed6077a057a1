/**
 * Listening on a port, of one address or of every one, IPv6 and IPv4.
 *
 * @module
 */
import { systemText } from "../bytes/mod.ts";
import { type Address, formatAddress } from "./address.ts";
import { RelayError } from "./errors.ts";

/**
 * Listens by `listen` on the host and port of `address`. `::` takes IPv4 too, as long as the system has IPv6; where it has none
 * (the kernel's `ipv6.disable=1`), every address there is, is 0.0.0.0.
 *
 * @throws {RelayError} If `listen` cannot.
 */
export async function listenOn<T>(
  address: Extract<Address, { readonly port: number }>,
  listen: (options: { readonly hostname: string; readonly port: number }) => T | Promise<T>,
): Promise<T> {
  const { hostname, port } = address;
  try {
    try {
      return await listen({ hostname, port });
    } catch (error) {
      if (hostname !== "::" || (error as { code?: string }).code !== "EAFNOSUPPORT") throw error;
      return await listen({ hostname: "0.0.0.0", port });
    }
  } catch (cause) {
    throw new RelayError(`cannot listen on ${formatAddress(address)}: ${systemText(cause)}`, "listen", { cause });
  }
}
