/**
 * Throws random and mutated frame streams at the decoder and compares it with the naive one of the tests.
 *
 *     deno run -A tests/fuzz/websocket_fuzz.ts [inputs] [seed]
 *
 * The default is 20,000 inputs, a few seconds; 1000000 is the full run. Every input is
 * decoded in random pieces. It must give what the naive decoder gives, end only in a `WebSocketProtocolError`,
 * take no more steps than it has bytes, and hold no more memory than a small multiple of what arrived. A failure
 * prints the seed of its input: give it back with `1 SEED` to see it again.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { FrameDecoder } from "../../lib/websocket/decoder.ts";
import { type Role, WebSocketProtocolError } from "../../lib/websocket/mod.ts";
import { concat, decodeAll, encodeFrame, type Meaning, type RawFrame, utf8 } from "../websocket/harness.ts";
import { feed, type Pieces } from "./feed.ts";
import { mutate, Random } from "./random.ts";
import { runInTenths, type Tally } from "./tenths.ts";

interface Input extends Pieces {
  readonly role: Role;
  readonly maxMessageSize: number;
  readonly reuseBuffer: boolean;
}

function payload(random: Random, opcode: number): Uint8Array {
  if (opcode === 8) {
    const code = random.pick([1000, 1001, 1005, 1007, 1014, 1015, 2999, 3000, 4999, 5000, random.below(65536)]);
    return random.oneIn(4)
      ? random.bytes(random.below(4))
      : concat(Uint8Array.of(code >> 8, code & 255), utf8(random.pick(["", "bye", "größer €😀"])));
  }
  if (opcode > 8) return random.bytes(random.oneIn(20) ? 120 + random.below(10) : random.below(20));
  // Now and then a character is cut in two, which the next fragment may or may not repair.
  if (random.oneIn(2)) {
    return utf8("aé€😀".repeat(random.below(8))).slice(0, random.oneIn(3) ? random.below(40) : undefined);
  }
  const size = random.oneIn(300)
    ? 65_530 + random.below(70_000)
    : random.oneIn(8)
    ? random.below(600)
    : random.below(20);
  return new Uint8Array(size).fill(random.below(128));
}

function frame(random: Random, role: Role, inMessage: boolean): RawFrame {
  const opcode = random.oneIn(100)
    ? random.below(16)
    : random.pick(inMessage ? [0, 0, 0, 0, 9, 10] : [1, 2, 1, 2, 1, 2, 9, 10, 8]);
  const masked = random.oneIn(200) ? random.oneIn(2) : role === "server";
  return {
    opcode,
    fin: opcode > 7 ? !random.oneIn(100) : !random.oneIn(3),
    rsv: random.oneIn(200) ? random.below(8) : 0,
    payload: payload(random, opcode),
    ...(masked ? { mask: [...random.bytes(4)] as [number, number, number, number] } : {}),
    ...(random.oneIn(200) ? { lengthBytes: random.pick([3, 9] as const) } : {}),
  };
}

/** The input that belongs to `seed`. */
export function generate(seed: number): Input {
  const random = new Random(seed);
  const role = random.pick(["client", "server"] as const);
  let bytes: Uint8Array;
  if (random.oneIn(20)) bytes = random.bytes(random.below(200));
  else {
    const frames: Uint8Array[] = [];
    let inMessage = false;
    for (let i = random.below(12); i >= 0; i--) {
      const next = frame(random, role, inMessage);
      frames.push(encodeFrame(next));
      if (next.opcode < 8) inMessage = next.fin === false;
    }
    bytes = concat(...frames);
    if (random.oneIn(3)) mutate(random, bytes);
    if (random.oneIn(5)) bytes = bytes.slice(0, random.below(bytes.length + 1));
  }
  const pieces: number[] = [];
  const largest = random.pick([1, 3, 20, 1000, 100_000]);
  for (let left = bytes.length; left > 0;) {
    const piece = Math.min(left, largest === 1 && bytes.length > 2000 ? 50 : 1 + random.below(largest));
    pieces.push(piece);
    left -= piece;
  }
  return { role, bytes, pieces, maxMessageSize: random.pick([10, 100, 1000, 2 ** 25]), reuseBuffer: random.oneIn(2) };
}

/** Decodes `input` with the real decoder, and watches what it takes. */
export function run(input: Input): Meaning {
  const decoder = new FrameDecoder(input);
  const events: Meaning["events"][number][] = [];
  try {
    feed(decoder, input, () => {
      for (let decoded; (decoded = decoder.next()) !== undefined;) {
        if (decoded instanceof Uint8Array) events.push(input.reuseBuffer ? decoded.slice() : decoded);
        else if (typeof decoded === "string") events.push(decoded);
        else if (decoded.type === "close") events.push(["close", decoded.info.closeCode, decoded.info.reason]);
        else events.push([decoded.type, decoded.data]);
        assert(events.length <= input.bytes.length, "more events than bytes");
      }
    });
    return { events };
  } catch (error) {
    if (error instanceof WebSocketProtocolError) return { events, error: error.closeCode };
    throw error;
  }
}

/** Runs `count` inputs from `seed` on; returns how many were decoded to their end and how many were refused. */
export function fuzz(count: number, seed: number): Tally {
  const result = { whole: 0, refused: 0, events: 0 };
  for (let i = 0; i < count; i++) {
    const input = generate(seed + i);
    try {
      const actual = run(input);
      assertEquals(actual, decodeAll(input.bytes, input.role === "server", input.maxMessageSize));
      if (actual.error === undefined) result.whole++;
      else result.refused++;
      result.events += actual.events.length;
    } catch (cause) {
      throw new Error(`input with seed ${seed + i} (${input.bytes.length} bytes, ${input.role})`, { cause });
    }
  }
  return result;
}

if (import.meta.main) await runInTenths(fuzz);
