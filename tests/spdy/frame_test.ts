/** Frames as bytes: every recorded one is written as it was recorded. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  encodeDataHead,
  encodeGoAway,
  encodePing,
  encodeRstStream,
  encodeSynReply,
  encodeSynStream,
  MAX_LENGTH,
  MAX_STREAM_ID,
} from "../../lib/spdy/frame.ts";
import { CLIENT, type Golden, SERVER } from "./golden.ts";
import { concat, hex, toHex } from "./harness.ts";

/** Writes what a recorded frame says; its header block is taken from it. */
function encode({ frame, bytes }: Golden): Uint8Array {
  const id = frame.streamId as number;
  const fin = frame.fin === true;
  switch (frame.type) {
    case "syn_stream":
      return encodeSynStream(id, bytes.subarray(18), fin);
    case "syn_reply":
      return encodeSynReply(id, bytes.subarray(12), fin);
    case "data": {
      const data = frame.data as Uint8Array;
      return concat(encodeDataHead(id, data.length, fin), data);
    }
    case "rst_stream":
      return encodeRstStream(id, frame.status as number);
    case "ping":
      return encodePing(frame.id as number);
    default:
      return encodeGoAway(frame.lastStreamId as number, frame.status as number);
  }
}

for (const golden of [...CLIENT, ...SERVER]) {
  Deno.test(`the recorded ${golden.name} (${golden.bytes.length} bytes) is written in the same bytes`, () => {
    assertEquals(toHex(encode(golden)), toHex(golden.bytes));
  });
}

Deno.test("encode…() put FIN, the highest numbers and statuses where they belong", () => {
  assertEquals(
    toHex(encodeSynStream(MAX_STREAM_ID, hex("aa"), true)),
    "80030001" + "0100000b" + "7fffffff00000000" + "0000aa",
  );
  assertEquals(toHex(encodeSynReply(2, hex("aabb"), true)), "80030002" + "01000006" + "00000002" + "aabb");
  assertEquals(toHex(encodeDataHead(MAX_STREAM_ID, MAX_LENGTH, true)), "7fffffff" + "01ffffff");
  assertEquals(toHex(encodeRstStream(MAX_STREAM_ID, 11)), "80030003" + "00000008" + "7fffffff" + "0000000b");
  assertEquals(toHex(encodePing(0xffff_ffff)), "80030006" + "00000004" + "ffffffff");
  assertEquals(toHex(encodeGoAway(MAX_STREAM_ID, 2)), "80030007" + "00000008" + "7fffffff" + "00000002");
});

Deno.test("encodeSynStream() and encodeSynReply() refuse a block that no frame can hold", () => {
  assertThrows(() => encodeSynStream(1, new Uint8Array(MAX_LENGTH - 9), false), RangeError);
  assertThrows(() => encodeSynReply(1, new Uint8Array(MAX_LENGTH - 3), false), RangeError);
  assertEquals(encodeSynReply(1, new Uint8Array(MAX_LENGTH - 4), false).length, 8 + MAX_LENGTH);
});
