/** IP addresses and their ranges. */
import { assertEquals } from "@std/assert";
import { inRange, isLoopback, parseCidr, parseIp } from "../../lib/dial/ip.ts";

const hex = (bytes: Uint8Array | undefined) => bytes?.toHex() ?? "";

Deno.test("parseIp() reads the forms of RFC 4291 section 2.2", () => {
  assertEquals(hex(parseIp("2001:DB8:0:0:8:800:200C:417A")), "20010db80000000000080800200c417a");
  assertEquals(hex(parseIp("2001:DB8::8:800:200C:417A")), "20010db80000000000080800200c417a");
  assertEquals(hex(parseIp("::1")), "00000000000000000000000000000001");
  assertEquals(hex(parseIp("::")), "0".repeat(32));
  assertEquals(hex(parseIp("64:ff9b::192.0.2.33")), "0064ff9b0000000000000000c0000221");
  assertEquals(hex(parseIp("1:2:3:4:5:6:7")), "");
});

Deno.test("parseIp() gives an IPv4 address four bytes, however it is carried", () => {
  for (const text of ["10.1.2.3", "::ffff:10.1.2.3", "::FFFF:a01:203", "0:0:0:0:0:ffff:10.1.2.3"]) {
    assertEquals(hex(parseIp(text)), "0a010203", text);
  }
  for (const text of ["::fffe:10.1.2.3", "::10.1.2.3", "1::ffff:10.1.2.3"]) {
    assertEquals(parseIp(text)?.length, 16, text);
  }
});

Deno.test("parseIp() refuses what is no address", () => {
  for (
    const text of [
      "",
      "1",
      "10.1.2",
      "10.1.2.256",
      "010.1.2.3",
      "localhost",
      "[::1]",
      "::1]/x",
      "fe80::1%eth0",
      "1::2::3",
      ":::",
      ":1",
      "::12345",
      "::1.2.3.256",
      "1:2:3:4:5:6:7::8",
    ]
  ) {
    assertEquals(parseIp(text), undefined, text);
  }
});

Deno.test("parseCidr() reads a range of IPv4 addresses that IPv6 carries as one of IPv4", () => {
  const range = (text: string) => {
    const { base, bits } = parseCidr(text)!;
    return `${hex(base)}/${bits}`;
  };
  assertEquals(range("10.0.0.0/8"), "0a000000/8");
  assertEquals(range("::ffff:10.0.0.0/104"), "0a000000/8");
  assertEquals(range("::ffff:10.0.0.0/96"), "0a000000/0");
  assertEquals(range("::ffff:10.0.0.0/8"), "00000000000000000000ffff0a000000/8", "more than the addresses of IPv4");
  assertEquals(range("fd00::/8"), `fd${"0".repeat(30)}/8`);
  for (
    const text of ["", "10.0.0.0", "10.0.0.0/33", "::/129", "::ffff:10.0.0.0/129", "10.0.0.0/", "/8", "1.2.3.4/5/6"]
  ) {
    assertEquals(parseCidr(text), undefined, text);
  }
});

Deno.test("inRange() looks at the leading bits, and at nothing of the other family", () => {
  const inside = (ip: string, range: string) => inRange(parseIp(ip)!, parseCidr(range)!);
  for (
    const [ip, range] of [
      ["10.255.0.1", "10.0.0.0/8"],
      ["10.1.2.5", "10.1.2.4/31"],
      ["::ffff:10.1.2.3", "10.0.0.0/8"],
      ["10.1.2.3", "::ffff:10.0.0.0/104"],
      ["255.255.255.255", "0.0.0.0/0"],
      ["fd7f::", "fd00::/9"],
      ["::1", "::1/128"],
    ] as const
  ) assertEquals(inside(ip, range), true, `${ip} in ${range}`);
  for (
    const [ip, range] of [
      ["11.0.0.0", "10.0.0.0/8"],
      ["10.1.2.6", "10.1.2.4/31"],
      ["fd80::", "fd00::/9"],
      ["::1", "0.0.0.0/0"],
      ["10.1.2.3", "::/0"],
      ["10.1.2.3", "::ffff:10.0.0.0/8"],
    ] as const
  ) assertEquals(inside(ip, range), false, `${ip} in ${range}`);
});

Deno.test("isLoopback() knows the loopback of both families", () => {
  for (const ip of ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]) {
    assertEquals(isLoopback(parseIp(ip)!), true, ip);
  }
  for (const ip of ["128.0.0.1", "0.0.0.0", "::", "::2", "1::1"]) assertEquals(isLoopback(parseIp(ip)!), false, ip);
});
