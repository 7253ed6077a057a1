/**
 * Ranges of IP addresses, as CIDR writes them (RFC 4632, RFC 4291 section 2.3).
 *
 * @module
 */
import { inRange, type IpRange, parseCidr, parseIp } from "../dial/mod.ts";

/**
 * Reads `10.0.0.0/8`, `fd00::/8`, or one address.
 *
 * @throws {SyntaxError} If it is none of these, or has bits beyond its prefix.
 */
export function parseRange(text: string): IpRange {
  const range = parseCidr(text) ?? parseAddress(text);
  // As the API server, which checks a Relay's with isCIDR() and isIP(): no 0 before a prefix, no IPv4 in IPv6's clothes.
  const plain = !/\/0\d/.test(text) && text.includes(":") === (range?.base.length === 16);
  if (!range || !plain) {
    throw new SyntaxError(`must be a range such as 10.0.0.0/8 or fd00::/8, not ${JSON.stringify(text)}`);
  }
  const { base, bits } = range;
  for (let bit = bits; bit < base.length * 8; bit++) {
    if ((base[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) {
      throw new SyntaxError(`has address bits beyond its prefix of ${bits}: ${JSON.stringify(text)}`);
    }
  }
  return range;
}

/** The range that is one address. */
function parseAddress(text: string): IpRange | undefined {
  const base = parseIp(text);
  return base && { base, bits: base.length * 8 };
}

/** Whether an IP address lies in one of `ranges`. An IPv4 address that IPv6 carries (`::ffff:10.0.0.1`) is the IPv4 one. */
export function inRanges(address: string, ranges: readonly IpRange[]): boolean {
  const ip = parseIp(address.replace(/%.*$/, ""));
  return ip !== undefined && ranges.some((range) => inRange(ip, range));
}
