/** The decoder: RFC 6455's own examples, every split, every violation, bounds. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Decoded, FrameDecoder, type FrameDecoderOptions } from "../../lib/websocket/decoder.ts";
import { WebSocketProtocolError } from "../../lib/websocket/mod.ts";
import { concat, encodeFrame, hex, pattern, utf8 } from "./harness.ts";

/** Feeds `bytes` in pieces of `size` and returns everything decoded. */
function decode(decoder: FrameDecoder, bytes: Uint8Array, size = Infinity): Decoded[] {
  const decoded: Decoded[] = [];
  for (let at = 0; at < bytes.length;) {
    const space = decoder.buffer();
    const piece = bytes.subarray(at, at + Math.min(size, space.length));
    space.set(piece);
    decoder.advance(piece.length);
    at += piece.length;
    for (let next; (next = decoder.next()) !== undefined;) decoded.push(next);
  }
  return decoded;
}

function closeCodeOf(role: "client" | "server", bytes: Uint8Array, options: Partial<FrameDecoderOptions> = {}): number {
  const error = assertThrows(() => decode(new FrameDecoder({ role, ...options }), bytes), WebSocketProtocolError);
  return error.closeCode;
}

const PING_HELLO = { type: "ping", data: utf8("Hello") };

// RFC 6455 section 5.7, in its order.
const EXAMPLES: readonly [name: string, role: "client" | "server", bytes: Uint8Array, decoded: unknown[]][] = [
  ["a single-frame unmasked text message", "client", hex("81 05 48 65 6c 6c 6f"), ["Hello"]],
  ["a single-frame masked text message", "server", hex("81 85 37 fa 21 3d 7f 9f 4d 51 58"), ["Hello"]],
  ["a fragmented unmasked text message", "client", hex("01 03 48 65 6c  80 02 6c 6f"), ["Hello"]],
  ["an unmasked Ping", "client", hex("89 05 48 65 6c 6c 6f"), [PING_HELLO]],
  ["a masked Pong", "server", hex("8a 85 37 fa 21 3d 7f 9f 4d 51 58"), [{ type: "pong", data: utf8("Hello") }]],
  ["256 bytes binary", "client", concat(hex("82 7e 01 00"), pattern(256)), [pattern(256)]],
  ["64 KiB binary", "client", concat(hex("82 7f 00 00 00 00 00 01 00 00"), pattern(65536)), [pattern(65536)]],
];

for (const [name, role, bytes, decoded] of EXAMPLES) {
  Deno.test(`FrameDecoder decodes RFC 6455 5.7: ${name}`, () => {
    assertEquals(decode(new FrameDecoder({ role }), bytes), decoded as Decoded[]);
    assertEquals(decode(new FrameDecoder({ role }), bytes, 1), decoded as Decoded[]);
  });
}

Deno.test("FrameDecoder decodes the same wherever the bytes are split", () => {
  const mask = [0x37, 0xfa, 0x21, 0x3d] as const;
  const stream = concat(
    encodeFrame({ opcode: 1, payload: utf8("Grüße"), mask }),
    encodeFrame({ opcode: 2, payload: pattern(5), fin: false, mask }),
    encodeFrame({ opcode: 9, payload: utf8("between"), mask }),
    encodeFrame({ opcode: 0, fin: false, mask }),
    encodeFrame({ opcode: 0, payload: pattern(200), mask }),
    encodeFrame({ opcode: 2, mask }),
    encodeFrame({ opcode: 8, payload: concat(hex("03e8"), utf8("bye")), mask }),
  );
  const expected: Decoded[] = [
    "Grüße",
    { type: "ping", data: utf8("between") },
    concat(pattern(5), pattern(200)),
    new Uint8Array(0),
    { type: "close", info: { closeCode: 1000, reason: "bye" } },
  ];
  for (const reuseBuffer of [false, true]) {
    for (let split = 0; split <= stream.length; split++) {
      const decoder = new FrameDecoder({ role: "server", reuseBuffer });
      const first = decode(decoder, stream.subarray(0, split)).map(copy);
      assertEquals([...first, ...decode(decoder, stream.subarray(split))], expected, `split at ${split}`);
    }
  }
});

function copy(decoded: Decoded): Decoded {
  return decoded instanceof Uint8Array ? decoded.slice() : decoded;
}

Deno.test("FrameDecoder keeps every message intact when its buffers are used up", () => {
  const decoder = new FrameDecoder({ role: "client" });
  const sizes = Array.from({ length: 300 }, (_, i) => i * 997 % 40_000);
  const stream = concat(...sizes.map((size) => encodeFrame({ opcode: 2, payload: pattern(size) })));
  const decoded = decode(decoder, stream, 50_000);
  assertEquals(decoded.length, sizes.length);
  sizes.forEach((size, i) => assertEquals(decoded[i], pattern(size), `message ${i}`));
});

Deno.test("FrameDecoder with reuseBuffer decodes the same, in one buffer", () => {
  const decoder = new FrameDecoder({ role: "client", reuseBuffer: true });
  const buffers = new Set<ArrayBufferLike>();
  for (let i = 0; i < 300; i++) {
    const payload = pattern(i * 997 % 40_000);
    const frame = encodeFrame({ opcode: 2, payload });
    for (let at = 0; at < frame.length;) {
      const space = decoder.buffer();
      buffers.add(space.buffer);
      const piece = frame.subarray(at, at + Math.min(30_000, space.length));
      space.set(piece);
      decoder.advance(piece.length);
      at += piece.length;
      if (at < frame.length) assertEquals(decoder.next(), undefined);
    }
    assertEquals(decoder.next(), payload);
  }
  assertEquals(buffers.size, 1);
});

Deno.test("FrameDecoder hands out messages without a copy", () => {
  const decoder = new FrameDecoder({ role: "client" });
  const space = decoder.buffer();
  space.set(hex("82 02 61 62"));
  decoder.advance(4);
  const message = decoder.next();
  assert(message instanceof Uint8Array);
  assertEquals(message.buffer, space.buffer);
});

Deno.test("FrameDecoder decodes a message of 16 MiB, whole and in fragments", () => {
  const payload = pattern(16 * 1024 * 1024);
  const whole = decode(new FrameDecoder({ role: "client" }), encodeFrame({ opcode: 2, payload }));
  assertEquals(whole.length, 1);
  assert(equal(whole[0], payload));
  const fragments: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += 65_000) {
    fragments.push(encodeFrame({
      opcode: at === 0 ? 2 : 0,
      fin: at + 65_000 >= payload.length,
      payload: payload.subarray(at, at + 65_000),
    }));
  }
  const joined = decode(new FrameDecoder({ role: "client" }), concat(...fragments));
  assertEquals(joined.length, 1);
  assert(equal(joined[0], payload));
});

function equal(actual: unknown, expected: Uint8Array): boolean {
  return actual instanceof Uint8Array && actual.length === expected.length &&
    actual.every((byte, i) => byte === expected[i]);
}

Deno.test("FrameDecoder grows with what has arrived, not with what a header claims", () => {
  const decoder = new FrameDecoder({ role: "client", maxMessageSize: Number.MAX_SAFE_INTEGER });
  decode(decoder, hex("82 7f 00 00 01 00 00 00 00 00")); // one TiB to come
  assert(decoder.buffer().buffer.byteLength <= 256 * 1024);
  for (let arrived = 0; arrived < 2 ** 20;) {
    const space = decoder.buffer();
    arrived += space.length;
    decoder.advance(space.length);
    assertEquals(decoder.next(), undefined);
  }
  assert(decoder.buffer().buffer.byteLength <= 4 * 2 ** 20);
});

type Violation = readonly [name: string, role: "client" | "server", bytes: string, closeCode: number];

const VIOLATIONS: readonly Violation[] = [
  ["RSV1", "client", "c1 00", 1002],
  ["RSV2", "client", "a1 00", 1002],
  ["RSV3", "client", "91 00", 1002],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) =>
    [`opcode ${opcode}`, "client", `8${opcode.toString(16)} 00`, 1002] satisfies Violation
  ),
  ["a masked frame of a server", "client", "81 80 00 00 00 00", 1002],
  ["an unmasked frame of a client", "server", "81 00", 1002],
  ["a fragmented Ping", "client", "09 00", 1002],
  ["a fragmented Pong", "client", "0a 00", 1002],
  ["a fragmented Close", "client", "08 00", 1002],
  ["a Ping of 126 bytes", "client", "89 7e 00 7e", 1002],
  ["a continuation of nothing", "client", "80 00", 1002],
  ["a continuation after the end", "client", "01 00 80 00 80 00", 1002],
  ["a new text message inside another", "client", "01 00 81 00", 1002],
  ["a new binary message inside another", "client", "02 00 82 00", 1002],
  ["a length of 125 in three bytes", "client", "82 7e 00 7d", 1002],
  ["a length of 0 in nine bytes", "client", "82 7f 00 00 00 00 00 00 00 00", 1002],
  ["a length of 65535 in nine bytes", "client", "82 7f 00 00 00 00 00 00 ff ff", 1002],
  ["a length of 2^63", "client", "82 7f 80 00 00 00 00 00 00 00", 1002],
  ["a length of 2^63 - 1", "client", "82 7f 7f ff ff ff ff ff ff ff", 1009],
  ["a length of 2^53", "client", "82 7f 00 20 00 00 00 00 00 00", 1009],
  ["a Close with one byte", "client", "88 01 03", 1002],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535].map((code) =>
    [`a Close with code ${code}`, "client", `88 02 ${code.toString(16).padStart(4, "0")}`, 1002] satisfies Violation
  ),
  ["a reason that is no UTF-8", "client", "88 04 03 e8 c3 28", 1007],
  ["text that is no UTF-8", "client", "81 02 c3 28", 1007],
  ["text that ends inside a character", "client", "81 02 e2 82", 1007],
  ["text with a surrogate", "client", "81 03 ed a0 80", 1007],
  ["text that is no UTF-8 across fragments", "client", "01 01 e2 00 01 82 80 01 41", 1007],
];

for (const [name, role, bytes, closeCode] of VIOLATIONS) {
  Deno.test(`FrameDecoder refuses ${name} with ${closeCode}`, () => {
    assertEquals(closeCodeOf(role, hex(bytes)), closeCode);
  });
}

Deno.test("FrameDecoder joins a character that is split across fragments", () => {
  assertEquals(decode(new FrameDecoder({ role: "client" }), hex("01 01 e2 00 01 82 80 01 ac")), ["€"]);
});

Deno.test("FrameDecoder keeps a byte order mark", () => {
  assertEquals(decode(new FrameDecoder({ role: "client" }), hex("81 04 ef bb bf 41")), ["\ufeffA"]);
});

for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]) {
  Deno.test(`FrameDecoder takes a Close with code ${code}`, () => {
    const bytes = hex(`88 02 ${code.toString(16).padStart(4, "0")}`);
    const expected: Decoded[] = [{ type: "close", info: { closeCode: code, reason: "" } }];
    assertEquals(decode(new FrameDecoder({ role: "client" }), bytes), expected);
  });
}

Deno.test("FrameDecoder reports 1005 for a Close without a code", () => {
  const expected: Decoded[] = [{ type: "close", info: { closeCode: 1005, reason: "" } }];
  assertEquals(decode(new FrameDecoder({ role: "client" }), hex("88 00")), expected);
});

Deno.test("FrameDecoder counts the fragments of a message together against maxMessageSize", () => {
  const options = { maxMessageSize: 10 };
  const ten = concat(
    encodeFrame({ opcode: 2, fin: false, payload: pattern(6) }),
    encodeFrame({ opcode: 0, payload: pattern(4) }),
    encodeFrame({ opcode: 2, payload: pattern(10) }),
  );
  assertEquals(decode(new FrameDecoder({ role: "client", ...options }), ten).length, 2);
  const eleven = concat(encodeFrame({ opcode: 2, fin: false, payload: pattern(6) }), hex("80 05"));
  assertEquals(closeCodeOf("client", eleven, options), 1009);
  assertEquals(closeCodeOf("client", hex("82 0b"), options), 1009);
});

Deno.test("FrameDecoder does not count control frames against maxMessageSize", () => {
  const decoder = new FrameDecoder({ role: "client", maxMessageSize: 1 });
  assertEquals(decode(decoder, encodeFrame({ opcode: 9, payload: utf8("Hello") })), [PING_HELLO as Decoded]);
});
