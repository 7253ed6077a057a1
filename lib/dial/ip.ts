/**
 * IP addresses and ranges of them, as they are written (RFC 4291 sections 2.2 and 2.3, RFC 4632).
 *
 * @module
 */

/** A range of IP addresses. */
export interface IpRange {
  /** One of them: 4 or 16 bytes. */
  readonly base: Uint8Array;
  /** How many leading bits all of them share. */
  readonly bits: number;
}

/** Whether `text` is an IPv4 address. */
export function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
}

/**
 * The bytes of an IP address, 4 or 16, or `undefined` if it is none. An IPv4 address that IPv6 carries has 4.
 *
 * @example
 * ```ts
 * import { parseIp } from "./ip.ts";
 *
 * parseIp("10.0.0.1"); // Uint8Array [10, 0, 0, 1]
 * parseIp("::ffff:10.0.0.1"); // the same
 * parseIp("[::1]"); // undefined
 * ```
 */
export function parseIp(text: string): Uint8Array | undefined {
  const ip = bytesOf(text);
  return ip && isMapped(ip) ? ip.slice(12) : ip;
}

/**
 * Reads `address/bits`; `undefined` if it is none. A range of IPv4 addresses that IPv6 carries is one of IPv4.
 *
 * @example
 * ```ts
 * import { inRange, parseCidr, parseIp } from "./ip.ts";
 *
 * inRange(parseIp("10.1.2.3")!, parseCidr("::ffff:10.0.0.0/104")!); // true
 * ```
 */
export function parseCidr(text: string): IpRange | undefined {
  const [, address = "", digits] = /^([^/]+)\/(\d+)$/.exec(text) ?? [];
  const base = bytesOf(address);
  const bits = Number(digits);
  if (!base || bits > base.length * 8) return undefined;
  return isMapped(base) && bits >= 96 ? { base: base.slice(12), bits: bits - 96 } : { base, bits };
}

/** Whether `ip`, as {@linkcode parseIp} has it, is one of the range. */
export function inRange(ip: Uint8Array, { base, bits }: IpRange): boolean {
  if (ip.length !== base.length) return false;
  for (let i = 0; i * 8 < bits; i++) {
    const mask = 0xff << Math.max(0, 8 - (bits - i * 8)) & 0xff;
    if ((ip[i]! & mask) !== (base[i]! & mask)) return false;
  }
  return true;
}

/** Whether `ip`, as {@linkcode parseIp} has it, is this machine's own for every machine. */
export function isLoopback(ip: Uint8Array): boolean {
  return ip.length === 4 ? ip[0] === 127 : ip.every((byte, i) => byte === (i === 15 ? 1 : 0));
}

/** The bytes of an address, as many as it is written with. */
function bytesOf(text: string): Uint8Array | undefined {
  if (isIpv4(text)) return Uint8Array.from(text.split("."), Number);
  const words = ipv6Words(text);
  return words && Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]));
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

/** Whether these are the bytes of an IPv4 address that IPv6 carries (RFC 4291 section 2.5.5.2). */
function isMapped(ip: Uint8Array): boolean {
  return ip.length === 16 && ip.subarray(0, 12).every((byte, i) => byte === (i < 10 ? 0 : 0xff));
}
