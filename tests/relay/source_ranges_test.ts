/** Ranges of addresses. */
import { assertEquals, assertThrows } from "@std/assert";
import { inRanges, parseRange } from "../../lib/relay/source_ranges.ts";

Deno.test("inRanges() finds IPv4 and IPv6 addresses in their ranges, and IPv4 in IPv6's clothes", () => {
  const ranges = ["10.0.0.0/8", "192.168.1.7", "fd00::/9", "2001:db8::5/128"].map(parseRange);
  const inside = ["10.0.0.0", "10.255.255.255", "192.168.1.7", "::ffff:10.1.2.3", "fd7f:1::", "2001:db8:0::5"];
  const outside = [
    "9.255.255.255",
    "11.0.0.0",
    "192.168.1.8",
    "::ffff:11.0.0.1",
    "fd80::",
    "2001:db8::6",
    "::",
    "x",
    "",
  ];
  for (const address of inside) assertEquals(inRanges(address, ranges), true, address);
  for (const address of outside) assertEquals(inRanges(address, ranges), false, address);
  assertEquals(inRanges("1.2.3.4", [parseRange("0.0.0.0/0")]), true);
  assertEquals(inRanges("::1", [parseRange("0.0.0.0/0")]), false);
  assertEquals(inRanges("fe80::1%eth0", [parseRange("fe80::/10")]), true);
});

Deno.test("parseRange() refuses what is no range", () => {
  for (
    const text of [
      "",
      "10.0.0.0/33",
      "10.0.0.1/8",
      "::/129",
      "10.0.0/8",
      "010.0.0.0/8",
      "1::2::3/64",
      "a/8",
      "::1/",
      "10.0.0.0/-1",
      "10.0.0.0/08",
      "::ffff:10.0.0.1",
      "::ffff:10.0.0.0/104",
      "::ffff:10.0.0.0/8",
      "fe80::1%eth0",
    ]
  ) {
    assertThrows(() => parseRange(text), SyntaxError, undefined, text);
  }
});
