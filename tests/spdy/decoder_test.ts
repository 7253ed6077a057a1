/** The decoder: every recorded frame, cut anywhere; what spdystream accepts and refuses. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Frame, FrameDecoder } from "../../lib/spdy/decoder.ts";
import { SpdyProtocolError } from "../../lib/spdy/mod.ts";
import { CLIENT, SERVER } from "./golden.ts";
import { concat, control, data, decode, fin, goAway, hex, pattern, ping, StoredBlocks } from "./harness.ts";
import { rstStream, synReply, synStream, u32 } from "./harness.ts";

/** Plain objects, whose headers have a prototype. */
function plainFrames(frames: readonly Frame[]): unknown[] {
  return frames.map((frame) => "headers" in frame ? { ...frame, headers: { ...frame.headers } } : frame);
}

/** The DATA of a stream as one, however it was cut. */
function joinData(frames: readonly Frame[]): Frame[] {
  const joined: Frame[] = [];
  for (const frame of frames) {
    const last = joined.at(-1);
    if (frame.type === "data" && last?.type === "data" && last.streamId === frame.streamId && !last.fin) {
      joined[joined.length - 1] = { ...frame, data: concat(last.data, frame.data) };
    } else joined.push(frame);
  }
  return joined;
}

function refuses(bytes: Uint8Array, message = ""): void {
  assertThrows(() => decode(bytes), SpdyProtocolError, message);
}

const block = () => new StoredBlocks().of(["a", "b"]);

for (const [side, golden] of [["client", CLIENT], ["server", SERVER]] as const) {
  const bytes = concat(...golden.map((one) => one.bytes));
  const frames = golden.map((one) => one.frame);
  const joined = joinData(frames as unknown as Frame[]);

  Deno.test(`FrameDecoder reads the recorded ${side} in one piece`, () => {
    assertEquals(plainFrames(decode(bytes)), frames);
  });

  Deno.test(`FrameDecoder reads the recorded ${side} in pieces of every size`, () => {
    for (let size = 1; size < bytes.length; size++) {
      assertEquals(plainFrames(joinData(decode(bytes, size))), joined, `pieces of ${size}`);
    }
  });

  Deno.test(`FrameDecoder reads the recorded ${side} cut in two at every byte`, () => {
    for (let cut = 0; cut <= bytes.length; cut++) {
      const decoder = new FrameDecoder();
      const read = [...decode(bytes.slice(0, cut), cut, decoder), ...decode(bytes.slice(cut), bytes.length, decoder)];
      assertEquals(plainFrames(joinData(read)), joined, `cut after ${cut}`);
      assert(decoder.betweenFrames);
    }
  });

  Deno.test(`FrameDecoder knows where the frames of the recorded ${side} end`, () => {
    const ends = new Set([0]);
    for (const one of golden) ends.add(Math.max(...ends) + one.bytes.length);
    const decoder = new FrameDecoder();
    for (let at = 0; at < bytes.length; at++) {
      assertEquals(decoder.betweenFrames, ends.has(at), `after ${at} bytes`);
      decode(bytes.slice(at, at + 1), 1, decoder);
    }
  });
}

Deno.test("FrameDecoder hands DATA on as it arrives, FIN with its last part", () => {
  const decoder = new FrameDecoder();
  const frame = data(3, "hello", 1);
  assertEquals(decode(frame.slice(0, 8), 8, decoder), []);
  assertEquals(decode(frame.slice(8, 10), 8, decoder), [
    { type: "data", streamId: 3, data: hex("6865"), fin: false },
  ]);
  assertEquals(decode(frame.slice(10), 8, decoder), [
    { type: "data", streamId: 3, data: hex("6c6c6f"), fin: true },
  ]);
});

Deno.test("FrameDecoder reads DATA of 2^24 - 1 bytes without holding it", () => {
  const payload = pattern(0xff_ffff);
  const bytes = data(1, payload, 1);
  const decoder = new FrameDecoder();
  let received = 0;
  let largest = 0;
  let ended = false;
  for (let at = 0; at < bytes.length;) {
    const space = decoder.buffer();
    largest = Math.max(largest, space.buffer.byteLength);
    const n = Math.min(space.length, bytes.length - at);
    space.set(bytes.subarray(at, at + n));
    decoder.advance(n);
    at += n;
    for (let frame; (frame = decoder.next()) !== undefined;) {
      assert(frame.type === "data" && !ended);
      for (let i = 0; i < frame.data.length; i += 997) assertEquals(frame.data[i], payload[received + i]);
      received += frame.data.length;
      ended = frame.fin;
    }
  }
  assertEquals([received, ended], [0xff_ffff, true]);
  assert(largest <= 256 * 1024, `a buffer of ${largest} bytes`);
});

Deno.test("FrameDecoder holds of a control frame what has arrived, not what its head claims", () => {
  const decoder = new FrameDecoder();
  decode(control(1, hex("00000001 00000000 0000"), { length: 0xff_ffff }), 100, decoder);
  assert(decoder.buffer().buffer.byteLength <= 256 * 1024);
  decode(new Uint8Array(300_000), 65_536, decoder);
  assert(decoder.buffer().buffer.byteLength <= 1024 * 1024);
});

Deno.test("FrameDecoder reads a control frame of more than a mebibyte, and lets go of its buffer", () => {
  const value = "v".repeat(1 << 20);
  const decoder = new FrameDecoder();
  const bytes = synStream(1, new StoredBlocks().of(["a", value], ["b", value]));
  const [frame] = decode(concat(bytes, ping(2)), 65_536, decoder);
  assert(frame?.type === "syn_stream" && frame.headers.a === value && frame.headers.b === value);
  assert(decoder.buffer().buffer.byteLength <= 256 * 1024);
});

Deno.test("FrameDecoder reads the flags of SYN_STREAM, SYN_REPLY and HEADERS", () => {
  const blocks = new StoredBlocks();
  const bytes = concat(
    synStream(1, blocks.of(), 1),
    synStream(3, blocks.of(), 2),
    synStream(5, blocks.of(), 3),
    synReply(7, blocks.of(), 1),
    control(8, concat(u32(9), blocks.of(["a", "b"])), { flags: 1 }),
  );
  assertEquals(plainFrames(decode(bytes)), [
    { type: "syn_stream", streamId: 1, headers: {}, fin: true, unidirectional: false },
    { type: "syn_stream", streamId: 3, headers: {}, fin: false, unidirectional: true },
    { type: "syn_stream", streamId: 5, headers: {}, fin: true, unidirectional: true },
    { type: "syn_reply", streamId: 7, headers: {}, fin: true },
    { type: "headers", streamId: 9, headers: { a: "b" }, fin: true },
  ]);
});

Deno.test("FrameDecoder reads SETTINGS and WINDOW_UPDATE", () => {
  const settings = control(4, concat(u32(2), hex("01000004 00000064"), hex("00000007 00010000")), { flags: 1 });
  const update = control(9, concat(u32(1), u32(0x7fff_ffff)));
  assertEquals(decode(concat(settings, control(4, u32(0)), update)), [
    { type: "settings", count: 2 },
    { type: "settings", count: 0 },
    { type: "window_update", streamId: 1, delta: 0x7fff_ffff },
  ]);
});

Deno.test("FrameDecoder does not look at the version", () => {
  for (const version of [0, 2, 4, 0x7fff]) {
    assertEquals(decode(control(6, u32(1), { version })), [{ type: "ping", id: 1 }], `version ${version}`);
  }
});

Deno.test("FrameDecoder takes any flags of RST_STREAM and unknown flags of DATA", () => {
  assertEquals(decode(control(3, concat(u32(1), u32(5)), { flags: 0xff })), [
    { type: "rst_stream", streamId: 1, status: 5 },
  ]);
  assertEquals(decode(data(1, "x", 0xfe)), [{ type: "data", streamId: 1, data: hex("78"), fin: false }]);
});

Deno.test("FrameDecoder takes statuses that nobody has defined", () => {
  assertEquals(decode(concat(rstStream(1, 0xffff_ffff), goAway(0, 77))), [
    { type: "rst_stream", streamId: 1, status: 0xffff_ffff },
    { type: "goaway", lastStreamId: 0, status: 77 },
  ]);
});

Deno.test("FrameDecoder refuses stream 0, ping 0 and reset status 0", () => {
  refuses(synStream(0, block()), "stream 0");
  refuses(synReply(0, block()), "stream 0");
  refuses(control(8, concat(u32(0), block())), "stream 0");
  refuses(rstStream(0), "stream 0");
  refuses(data(0, "x"), "stream 0");
  refuses(fin(0), "stream 0");
  refuses(ping(0), "PING 0");
  refuses(rstStream(1, 0), "status 0");
});

Deno.test("FrameDecoder refuses GOAWAY, WINDOW_UPDATE and PING of another length or with flags", () => {
  refuses(control(7, u32(1)), "invalid control frame"); // the form of SPDY/2
  refuses(control(7, new Uint8Array(12)), "invalid control frame");
  refuses(control(7, concat(u32(1), u32(0)), { flags: 1 }), "invalid control frame");
  refuses(control(9, u32(1)), "invalid control frame");
  refuses(control(9, new Uint8Array(9)), "invalid control frame");
  refuses(control(9, concat(u32(1), u32(1)), { flags: 2 }), "invalid control frame");
  refuses(control(6, u32(1), { flags: 1 }), "invalid control frame");
  refuses(control(6, new Uint8Array(3)), "invalid control frame");
  refuses(control(6, concat(u32(1), u32(1))), "invalid control frame");
});

Deno.test("FrameDecoder refuses SETTINGS that claim more entries than they have room for", () => {
  refuses(control(4, u32(1)), "invalid control frame");
  refuses(control(4, concat(u32(0xffff_ffff), new Uint8Array(8))), "invalid control frame");
  refuses(control(4, concat(u32(0x2000_0000), new Uint8Array(16))), "invalid control frame"); // 8 times it is 2^32
  refuses(control(4, hex("0000")), "invalid control frame");
  refuses(control(4, hex("")), "invalid control frame");
});

Deno.test("FrameDecoder refuses frames without room for their ids", () => {
  for (const type of [1, 2, 3, 8]) {
    for (const length of [0, 3]) refuses(control(type, new Uint8Array(length)), "invalid control frame");
  }
  refuses(control(1, new Uint8Array(9)), "invalid control frame");
  refuses(control(3, new Uint8Array(7)), "invalid control frame");
});

Deno.test("FrameDecoder refuses control frames that it does not know", () => {
  for (const type of [0, 5, 10, 11, 0xffff]) refuses(control(type, new Uint8Array(8)), "invalid control frame");
});

Deno.test("FrameDecoder refuses control frames with a wrong header block", () => {
  refuses(synStream(1, new StoredBlocks().of(["Upper", "x"])), "header was not lowercased");
  refuses(synStream(1, new StoredBlocks().of(["connection", "x"])), "frame contained invalid header");
  refuses(synStream(1, new Uint8Array(0)), "header block");
  refuses(synReply(1, hex("78f9e3c6a7c2")), "header block");
  const blocks = new StoredBlocks();
  refuses(concat(synStream(1, blocks.of()), synStream(3, new Uint8Array(0))), "header block");
});

Deno.test("FrameDecoder has one compression context for SYN_STREAM, SYN_REPLY and HEADERS", () => {
  // The C blocks, in frames of other types: they only make sense one after the other.
  const blocks = CLIENT.filter(({ frame }) => "headers" in frame);
  const bytes = blocks.map(({ bytes }, i) => {
    const body = bytes.slice(18);
    if (i % 3 === 0) return synReply(2 * i + 1, body);
    return i % 3 === 1 ? control(8, concat(u32(2 * i + 1), body)) : synStream(2 * i + 1, body);
  });
  const headers = decode(concat(...bytes)).map((frame) => "headers" in frame ? { ...frame.headers } : frame);
  assertEquals(headers, blocks.map(({ frame }) => frame.headers));
});
