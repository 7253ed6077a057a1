/**
 * The PROXY protocol's header (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt), sent before a connection's own bytes.
 *
 * @module
 */
import { concat } from "../bytes/mod.ts";
import { parseIp } from "../dial/mod.ts";

/** An address and a port. */
export interface IpPort {
  /** The IP address. */
  readonly hostname: string;
  /** The port. */
  readonly port: number;
}

/** Section 2.2: the twelve bytes that no other protocol begins with. */
const SIGNATURE = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);

/** Says that `source` connected to `destination`; without them (a unix socket) that it is not known who did. */
export function proxyHeader(version: "v1" | "v2", source?: IpPort, destination?: IpPort): Uint8Array {
  const from = source && parseIp(source.hostname);
  const to = destination && parseIp(destination.hostname);
  const known = source && destination && from && to && from.length === to.length;
  if (version === "v1") {
    const text = known
      ? `TCP${from.length === 4 ? 4 : 6} ${plain(from)} ${plain(to)} ${source.port} ${destination.port}`
      : "UNKNOWN";
    return new TextEncoder().encode(`PROXY ${text}\r\n`);
  }
  // Version 2, command PROXY; then AF_UNSPEC, or AF_INET or AF_INET6 with STREAM.
  if (!known) return concat([SIGNATURE, Uint8Array.of(0x21, 0x00, 0, 0)]);
  const ports = Uint8Array.of(source.port >> 8, source.port & 255, destination.port >> 8, destination.port & 255);
  const addresses = concat([from, to, ports]);
  return concat([SIGNATURE, Uint8Array.of(0x21, from.length === 4 ? 0x11 : 0x21, 0, addresses.length), addresses]);
}

/** The address as text, an IPv6 one without `::`, which every receiver reads. */
function plain(address: Uint8Array): string {
  if (address.length === 4) return address.join(".");
  const view = new DataView(address.buffer, address.byteOffset, address.length);
  return Array.from({ length: 8 }, (_, i) => view.getUint16(2 * i).toString(16)).join(":");
}
