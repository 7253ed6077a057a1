/** The encoder: bytes on the wire. */
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { FrameEncoder } from "../../lib/websocket/encoder.ts";
import { applyMask, encodeClosePayload, Opcode } from "../../lib/websocket/frame.ts";
import { concat, decodeAll, hex, pattern, utf8 } from "./harness.ts";

function encode(encoder: FrameEncoder, opcode: Opcode, payload: Uint8Array): Uint8Array {
  const pieces: Uint8Array[] = [];
  assert(encoder.start(opcode, payload.length));
  for (let added = 0; added < payload.length;) {
    added += encoder.add(payload.subarray(added));
    if (added < payload.length) pieces.push(encoder.take().slice());
  }
  pieces.push(encoder.take().slice());
  return concat(...pieces);
}

Deno.test("FrameEncoder writes the unmasked examples of RFC 6455 5.7", () => {
  const encoder = new FrameEncoder("server");
  assertEquals(encode(encoder, Opcode.TEXT, utf8("Hello")), hex("81 05 48 65 6c 6c 6f"));
  assertEquals(encode(encoder, Opcode.PING, utf8("Hello")), hex("89 05 48 65 6c 6c 6f"));
  assertEquals(encode(encoder, Opcode.BINARY, pattern(256)), concat(hex("82 7e 01 00"), pattern(256)));
  assertEquals(
    encode(encoder, Opcode.BINARY, pattern(65536)),
    concat(hex("82 7f 00 00 00 00 00 01 00 00"), pattern(65536)),
  );
});

Deno.test("FrameEncoder masks a client's frames with a fresh key each", () => {
  const encoder = new FrameEncoder("client");
  const keys = new Set<string>();
  for (let i = 0; i < 1000; i++) {
    const bytes = encode(encoder, Opcode.TEXT, utf8("Hello"));
    assertEquals(decodeAll(bytes, true), { events: ["Hello"] });
    keys.add(String(bytes.slice(2, 6)));
  }
  assert(keys.size > 990, `${keys.size} different keys`);
});

Deno.test("FrameEncoder writes what a plain decoder reads, for lengths around each border", () => {
  for (const role of ["client", "server"] as const) {
    const encoder = new FrameEncoder(role);
    for (const length of [0, 1, 3, 31, 32, 33, 125, 126, 127, 65535, 65536, 65537, 200_000]) {
      const payload = pattern(length);
      const { events, error } = decodeAll(encode(encoder, Opcode.BINARY, payload), role === "client");
      assertEquals([events, error], [[payload], undefined], `${role}, ${length} bytes`);
    }
  }
});

Deno.test("FrameEncoder gathers small frames and says when it is full", () => {
  const encoder = new FrameEncoder("client");
  let frames = 0;
  while (encoder.start(Opcode.BINARY, 100)) {
    if (encoder.add(pattern(100)) < 100) break;
    frames++;
  }
  assert(frames > 500, `${frames} frames`);
  const { events } = decodeAll(encoder.take().slice(), true);
  assertEquals(events, Array.from({ length: frames }, () => pattern(100)));
  assertEquals(encoder.size, 0);
});

Deno.test("applyMask() masks by words as by bytes, at every alignment and phase", () => {
  const key = hex("37 fa 21 3d");
  for (let start = 0; start < 8; start++) {
    for (let phase = 0; phase < 4; phase++) {
      for (const length of [0, 1, 5, 31, 32, 33, 34, 35, 64, 99]) {
        const bytes = pattern(128);
        const expected = bytes.map((byte, i) =>
          i >= start && i < start + length ? byte ^ key[(i - start + phase) % 4]! : byte
        );
        applyMask(bytes, start, start + length, key, phase);
        assertEquals(bytes, expected, `start ${start}, phase ${phase}, length ${length}`);
      }
    }
  }
});

Deno.test("encodeClosePayload() writes code and reason, or nothing for 1005", () => {
  assertEquals(encodeClosePayload(1000, ""), hex("03 e8"));
  assertEquals(encodeClosePayload(4999, "é"), hex("13 87 c3 a9"));
  assertEquals(encodeClosePayload(1005, ""), hex(""));
  assertNotEquals(encodeClosePayload(1000, "x".repeat(123)).length, 0);
});

Deno.test("encodeClosePayload() refuses what may not be sent", () => {
  for (const code of [0, 999, 1004, 1006, 1015, 1016, 2999, 5000]) {
    assertThrows(() => encodeClosePayload(code, ""), RangeError);
  }
  assertThrows(() => encodeClosePayload(1005, "why"), RangeError);
  assertThrows(() => encodeClosePayload(1000, "é".repeat(62)), RangeError);
});
