/**
 * Throws random and mutated input at the decoders of channel messages, statuses and terminal sizes.
 *
 *     deno run -A tests/fuzz/channels_fuzz.ts [inputs] [seed]
 *
 * The default is 20,000 inputs, about a second; 1000000 is the full run. Decoders must give what was encoded, or end in the
 * errors that their documentation names, and hold on to nothing. A failure prints the seed of its input: give it back
 * with `1 SEED` to see it again.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import {
  ChannelCodec,
  ChannelProtocolError,
  encodeResize,
  exitCodeOf,
  parseStatus,
  REMOTE_COMMAND_PROTOCOLS,
  RemoteCommandError,
  ResizeDecoder,
  type TerminalSize,
} from "../../lib/channels/mod.ts";
import { Random } from "./random.ts";

/** How many inputs were decoded, and how many were refused. */
export interface Tally {
  decoded: number;
  refused: number;
}

/** What goes into statuses: right and wrong values of every kind. */
const VALUES: readonly unknown[] = [
  ...["Success", "Failure", "NonZeroExitCode", "ExitCode", "InternalError", "7", "255", "256", "-1", "", "7 ", "0x7"],
  ...[null, true, 0, 7, 1e300, [], [null], {}, { causes: 1 }, { causes: [null] }, { causes: "7" }, "\ud800"],
];

function value(random: Random, depth = 0): unknown {
  if (depth < 3 && random.oneIn(6)) {
    return Array.from({ length: random.below(3) }, () => value(random, depth + 1));
  }
  return random.pick(VALUES);
}

/** A status that is nearly right. */
function status(random: Random): string {
  const cause = {
    reason: random.oneIn(4) ? value(random) : "ExitCode",
    message: random.oneIn(2) ? value(random) : "7",
  };
  const details = random.oneIn(4)
    ? value(random)
    : { causes: random.oneIn(4) ? value(random) : [value(random), cause] };
  const text = JSON.stringify({
    metadata: {},
    status: random.oneIn(4) ? value(random) : random.pick(["Success", "Failure"]),
    message: value(random),
    reason: random.oneIn(3) ? value(random) : "NonZeroExitCode",
    details,
  });
  if (random.oneIn(4)) return text.slice(0, random.below(text.length));
  if (random.oneIn(10)) return new TextDecoder().decode(random.bytes(random.below(40)));
  return random.oneIn(10) ? JSON.stringify(value(random)) : text;
}

function fuzzStatus(random: Random, tally: Tally): void {
  const text = status(random);
  try {
    const code = exitCodeOf(parseStatus(text));
    assert(Number.isInteger(code) && code >= 0 && code <= 255, `exit code ${code} of ${text}`);
    tally.decoded++;
  } catch (error) {
    if (!(error instanceof ChannelProtocolError || error instanceof RemoteCommandError)) throw error;
    tally.refused++;
  }
}

function fuzzMessage(random: Random, tally: Tally): void {
  const codec = new ChannelCodec(random.pick(REMOTE_COMMAND_PROTOCOLS));
  const data = random.bytes(random.below(random.oneIn(20) ? 5000 : 20));
  const channel = random.below(codec.protocol.includes("base64") ? 10 : 255);
  const parts = codec.encode(channel, data);
  const message = typeof parts[0] === "string" ? parts[0] : concat(parts as readonly Uint8Array[]);
  assertEquals(codec.decode(message), { type: "data", channel, data });

  const mutated = random.oneIn(2) ? random.bytes(random.below(6)) : mutate(random, message);
  try {
    const decoded = codec.decode(mutated);
    if (decoded === undefined) assertEquals(mutated.length, 0);
    else if (decoded.type === "close") assertEquals([...mutated as Uint8Array], [255, decoded.channel]);
    else if (mutated instanceof Uint8Array && !codec.protocol.includes("base64")) {
      assertEquals(decoded, { type: "data", channel: mutated[0]!, data: mutated.subarray(1) });
    }
    tally.decoded++;
  } catch (error) {
    if (!(error instanceof ChannelProtocolError)) throw error;
    tally.refused++;
  }
}

function mutate(random: Random, message: Uint8Array | string): Uint8Array | string {
  if (typeof message === "string") {
    const at = random.below(message.length + 1);
    return message.slice(0, at) + random.pick(["", "=", " ", "\n", "é", "-", "\ud800", "0"]) + message.slice(at + 1);
  }
  if (random.oneIn(3)) return message.subarray(0, random.below(message.length));
  return message.with(random.below(message.length), random.pick([0, 3, 255, random.below(256)]));
}

function fuzzResize(random: Random, tally: Tally): void {
  const decoder = new ResizeDecoder();
  const expected: TerminalSize[] = [];
  const wire: Uint8Array[] = [];
  const garbage = random.oneIn(2);
  for (let i = random.below(5); i >= 0; i--) {
    const size = { columns: random.below(65536), rows: random.below(65536) };
    expected.push(size);
    wire.push(encodeResize(size));
    if (garbage) wire.push(random.oneIn(50) ? random.bytes(3000) : random.bytes(random.below(20)));
  }
  const bytes = concat(wire);
  const actual: TerminalSize[] = [];
  for (let at = 0; at < bytes.length;) {
    const n = 1 + random.below(random.pick([1, 10, 4000]));
    actual.push(...decoder.decode(bytes.subarray(at, at + n)));
    at += n;
  }
  for (const { columns, rows } of actual) {
    for (const n of [columns, rows]) assert(Number.isInteger(n) && n >= 0 && n <= 65535, `${columns}x${rows}`);
  }
  if (!garbage) assertEquals(actual, expected);
  if (actual.length === expected.length) tally.decoded++;
  else tally.refused++;
}

/** Runs `count` inputs from `seed` on. */
export function fuzz(count: number, seed: number): Tally {
  const tally: Tally = { decoded: 0, refused: 0 };
  for (let i = 0; i < count; i++) {
    try {
      const random = new Random(seed + i);
      random.pick([fuzzMessage, fuzzStatus, fuzzResize])(random, tally);
    } catch (cause) {
      throw new Error(`input with seed ${seed + i}`, { cause });
    }
  }
  return tally;
}

if (import.meta.main) {
  const count = Number(Deno.args[0] ?? 20_000);
  const seed = Number(Deno.args[1] ?? 1);
  const start = performance.now();
  const { decoded, refused } = fuzz(count, seed);
  const seconds = (performance.now() - start) / 1000;
  const line = `${count} inputs from seed ${seed}: ${decoded} decoded, ${refused} refused; ${seconds.toFixed(1)} s; ` +
    `${(Deno.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB resident\n`;
  Deno.stdout.writeSync(new TextEncoder().encode(line));
}
