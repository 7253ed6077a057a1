/**
 * Listening on every address, IPv6 and IPv4.
 *
 * @module
 */

/**
 * Listens by `listen` on `hostname`. `::` takes IPv4 too, as long as the system has IPv6; where it has none
 * (the kernel's `ipv6.disable=1`), every address there is, is 0.0.0.0.
 *
 * @throws What `listen` throws.
 */
export async function listenOn<T>(hostname: string, listen: (hostname: string) => T | Promise<T>): Promise<T> {
  try {
    return await listen(hostname);
  } catch (error) {
    if (hostname !== "::" || (error as { code?: string }).code !== "EAFNOSUPPORT") throw error;
    return await listen("0.0.0.0");
  }
}
