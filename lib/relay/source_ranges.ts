/**
 * Ranges of IP addresses, as CIDR writes them (RFC 4632, RFC 4291 section 2.3).
 *
 * @module
 */
import { isIpv4 } from "./address.ts";

/** A range of addresses. */
export interface SourceRange {
  /** Its first address: 4 or 16 bytes. */
  readonly base: Uint8Array;
  /** How many leading bits an address shares with it. */
  readonly bits: number;
}

/**
 * Reads `10.0.0.0/8`, `fd00::/8`, or one address.
 *
 * @throws {SyntaxError} If it is none of these, or has bits beyond its prefix.
 */
export function parseRange(text: string): SourceRange {
  const [, address = "", , prefix] = /^([^/]+)(\/(\d{1,3}))?$/.exec(text) ?? [];
  const base = parseIp(address);
  if (!base) throw new SyntaxError(`must be a range such as 10.0.0.0/8 or fd00::/8, not ${JSON.stringify(text)}`);
  const bits = prefix === undefined ? base.length * 8 : Number(prefix);
  if (bits > base.length * 8) throw new SyntaxError(`has a prefix of ${bits} bits, more than ${base.length * 8}`);
  for (let bit = bits; bit < base.length * 8; bit++) {
    if ((base[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) {
      throw new SyntaxError(`has address bits beyond its prefix of ${bits}: ${JSON.stringify(text)}`);
    }
  }
  return { base, bits };
}

/** Whether an IP address lies in one of `ranges`. An IPv4 address that IPv6 carries (`::ffff:10.0.0.1`) is the IPv4 one. */
export function inRanges(address: string, ranges: readonly SourceRange[]): boolean {
  const bytes = parseIp(address.replace(/%.*$/, ""));
  return bytes !== undefined && ranges.some((range) => contains(range, bytes));
}

/** The bytes of an IP address, 4 or 16, or `undefined` if it is none; a mapped IPv4 address has 4. */
export function parseIp(text: string): Uint8Array | undefined {
  if (isIpv4(text)) return Uint8Array.from(text.split("."), Number);
  const words = ipv6Words(text);
  if (!words) return undefined;
  const bytes = new Uint8Array(16);
  words.forEach((word, i) => {
    bytes[2 * i] = word >> 8;
    bytes[2 * i + 1] = word & 0xff;
  });
  const mapped = words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff;
  return mapped ? bytes.slice(12) : bytes;
}

function ipv6Words(text: string): number[] | undefined {
  const tail = /(^|:)(\d+\.\d+\.\d+\.\d+)$/.exec(text)?.[2];
  if (tail !== undefined) {
    if (!isIpv4(tail)) return undefined;
    const [a = 0, b = 0, c = 0, d = 0] = tail.split(".").map(Number);
    text = text.slice(0, -tail.length) + `${(a << 8 | b).toString(16)}:${(c << 8 | d).toString(16)}`;
  }
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head = [], rest] = halves.map((half) => half === "" ? [] : half.split(":"));
  if (![...head, ...rest ?? []].every((word) => /^[0-9a-fA-F]{1,4}$/.test(word))) return undefined;
  const missing = 8 - head.length - (rest?.length ?? 0);
  if (rest ? missing < 1 : missing !== 0) return undefined;
  return [...head, ...Array<string>(missing).fill("0"), ...rest ?? []].map((word) => parseInt(word, 16));
}

function contains({ base, bits }: SourceRange, address: Uint8Array): boolean {
  if (base.length !== address.length) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (base[i] !== address[i]) return false;
  const mask = 0xff00 >> (bits & 7) & 0xff;
  return mask === 0 || ((base[whole] ?? 0) & mask) === ((address[whole] ?? 0) & mask);
}
