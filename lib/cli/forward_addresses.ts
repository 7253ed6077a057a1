/**
 * `--address` of port-forward (client-go `tools/portforward`).
 *
 * @module
 */
import { isIPv4, isIPv6 } from "node:net";
import { formatAddress, type SocketAddress } from "../dial/mod.ts";
import { UsageError } from "./flags.ts";

/** Where to listen for every port. */
export type ListenPlace =
  | {
    /** An IP address. */
    readonly hostname: string;
    /** Whether it came from `localhost`, of whose two addresses one is enough. */
    readonly optional: boolean;
  }
  | {
    /** A unix socket. */
    readonly path: string;
  };

/**
 * Reads the addresses: IP addresses, `localhost`, and `unix:PATH`; several in one flag are separated by commas.
 *
 * @param values What was given; without any, `localhost`.
 * @returns Each place once, sorted as text.
 * @throws {UsageError} If one is something else.
 */
export function parseAddresses(values: readonly string[]): ListenPlace[] {
  const texts = (values.length > 0 ? values : ["localhost"]).flatMap((value) => value === "" ? [] : value.split(","));
  if (texts.length === 0) throw new UsageError("you must specify at least 1 address");
  const places = new Map<string, ListenPlace>();
  for (const text of texts) {
    if (text === "localhost") {
      for (const hostname of LOCALHOST) {
        if (!places.has(hostname)) places.set(hostname, { hostname, optional: true });
      }
    } else if (text.startsWith("unix:") && text.length > "unix:".length) {
      places.set(text, { path: text.slice("unix:".length) });
    } else if (isIPv4(text) || (isIPv6(text) && !text.includes("%"))) {
      places.set(text, { hostname: text, optional: false });
    } else {
      throw new UsageError(`${text} is not a valid IP`);
    }
  }
  return [...places].sort(([a], [b]) => a < b ? -1 : 1).map(([, place]) => place);
}

const LOCALHOST = ["127.0.0.1", "::1"];

/** What a listening address is called in kubectl's `Forwarding from`. */
export function placeName(address: SocketAddress): string {
  return "path" in address ? `unix:${address.path}` : formatAddress(address);
}

/** What it is called in `Handling connection for`. */
export function localName(address: SocketAddress): string {
  return "path" in address ? placeName(address) : String(address.port);
}
