/**
 * A relay's addresses, as configuration and command line spell them.
 *
 * @module
 */
import { formatAddress as formatSocketAddress, isIpv4, parseIp } from "../dial/mod.ts";

/** What a relay can listen on and go to. */
export type Address =
  | { readonly kind: "tcp" | "udp"; readonly hostname: string; readonly port: number }
  | { readonly kind: "unix" | "unix-dgram"; readonly path: string };

/** The longest path of a unix socket in bytes: `sockaddr_un.sun_path` less its NUL (unix(7)). */
export const MAX_PATH = 107;

/**
 * Reads `tcp:HOST:PORT`, `udp:HOST:PORT`, `unix:PATH`, `unix:@NAME` or `unix-dgram:PATH`. Without HOST it is 127.0.0.1:
 * no other address is meant by accident.
 *
 * @throws {SyntaxError} If it is none of these; the text says what is wrong.
 *
 * @example
 * ```ts
 * import { parseAddress } from "./address.ts";
 *
 * parseAddress("tcp:[::1]:9090"); // { kind: "tcp", hostname: "::1", port: 9090 }
 * ```
 */
export function parseAddress(text: string): Address {
  const colon = text.indexOf(":");
  const kind = text.slice(0, Math.max(colon, 0));
  const rest = text.slice(colon + 1);
  if (kind === "tcp" || kind === "udp") return { kind, ...parseHostPort(rest) };
  if (kind === "unix" || kind === "unix-dgram") return { kind, path: parsePath(rest) };
  throw new SyntaxError(
    `must be tcp:HOST:PORT, udp:HOST:PORT, unix:PATH, unix:@NAME or unix-dgram:PATH, not ${JSON.stringify(text)}`,
  );
}

/** The address as {@linkcode parseAddress} reads it. */
export function formatAddress(address: Address): string {
  return `${address.kind}:${formatSocketAddress(address)}`;
}

/** Whether datagrams, not streams, go over it. */
export function isDatagram({ kind }: Address): boolean {
  return kind === "udp" || kind === "unix-dgram";
}

/** A unix socket's path as the system takes it: an abstract name (`@name`) begins with NUL. */
export function systemPath(path: string): string {
  return path.startsWith("@") ? `\0${path.slice(1)}` : path;
}

/** Whether `text` is an IPv4 or (without brackets, perhaps with a zone) an IPv6 address. */
export function isIp(text: string): boolean {
  return parseIp(text.includes(":") ? text.replace(/%[\w.-]+$/, "") : text) !== undefined;
}

function parseHostPort(text: string): { hostname: string; port: number } {
  const [, bracketed, plain, digits = ""] = /^(?:(?:\[([^\]]*)\]|([^:]*)):)?(\d+)$/.exec(text) ?? [];
  if (digits === "") {
    throw new SyntaxError(
      /:.*:/.test(text) && !text.includes("[")
        ? `needs brackets around an IPv6 address, as [::1]:9090, not ${JSON.stringify(text)}`
        : `needs HOST:PORT, not ${JSON.stringify(text)}`,
    );
  }
  const port = Number(digits);
  if (port > 65535) throw new SyntaxError(`has port ${digits}, larger than 65535`);
  const hostname = bracketed ?? plain ?? "127.0.0.1";
  const valid = bracketed !== undefined
    ? bracketed.includes(":") && isIp(bracketed)
    : /^[\d.]+$/.test(hostname)
    ? isIpv4(hostname)
    : /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?$/.test(hostname);
  if (!valid) throw new SyntaxError(`has no host name or IP address in it: ${JSON.stringify(hostname)}`);
  return { hostname, port };
}

function parsePath(path: string): string {
  if (!/^[/@]./.test(path)) {
    throw new SyntaxError(`needs an absolute path or @NAME, not ${JSON.stringify(path)}`);
  }
  if (path.includes("\0")) throw new SyntaxError("has a NUL in its path");
  if (path.endsWith("/")) throw new SyntaxError(`names a folder, not a socket: ${JSON.stringify(path)}`);
  const length = new TextEncoder().encode(path).length;
  if (length > MAX_PATH) throw new SyntaxError(`has a path of ${length} bytes; a socket's has at most ${MAX_PATH}`);
  return path;
}
