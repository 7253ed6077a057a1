/** What counts as bytes, whatever a stream's type says. */
import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { toBytes } from "../../lib/bytes/mod.ts";

Deno.test("toBytes() takes an ArrayBuffer and every view for the bytes that they are, without a copy", () => {
  const bytes = Uint8Array.from({ length: 32 }, (_, i) => i);
  const { buffer } = bytes;
  assertStrictEquals(toBytes(bytes), bytes);
  const rows: Array<[ArrayBuffer | ArrayBufferView, first: number, length: number]> = [
    [buffer, 0, 32],
    [new DataView(buffer, 3, 5), 3, 5],
    [new Uint16Array(buffer, 2, 4), 2, 8],
    [new Float64Array(buffer, 8, 2), 8, 16],
    [new Uint8ClampedArray(buffer, 1, 2), 1, 2],
    [new Uint8Array(buffer, 4, 3), 4, 3],
    [new ArrayBuffer(0), 0, 0],
  ];
  for (const [chunk, first, length] of rows) {
    const taken = toBytes(chunk);
    assertEquals(taken, bytes.subarray(first, first + length));
    assertEquals([taken.buffer, taken.byteOffset], ["buffer" in chunk ? chunk.buffer : chunk, first]);
  }
});

Deno.test("toBytes() refuses everything else, as Deno's own sinks do", () => {
  for (const chunk of ["text", 7, null, undefined, [1, 2], { length: 3 }, new Blob(["x"]), new SharedArrayBuffer(1)]) {
    assertThrows(() => toBytes(chunk), TypeError, "Expected ArrayBuffer or ArrayBufferView");
  }
});
