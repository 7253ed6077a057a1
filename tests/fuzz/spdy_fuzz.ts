/**
 * Throws random and mutated SPDY at the decoder and at sessions.
 *
 *     deno run -A tests/fuzz/spdy_fuzz.ts [inputs] [seed]
 *
 * The default is 20,000 inputs, some seconds; 1000000 is the full run. The decoder must give the same for an input in one
 * piece and in random pieces, end only in a `SpdyProtocolError`, and hold no more than a small multiple of what arrived. A session must
 * end, and settle everything that waits on it, with errors of its family. A failure prints the seed of its
 * input: give it back with `1 SEED` to see it again.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type Duplex, PodwireError } from "../../lib/bytes/mod.ts";
import { type Frame, FrameDecoder } from "../../lib/spdy/decoder.ts";
import { SpdyProtocolError, SpdySession, type SpdyStream } from "../../lib/spdy/mod.ts";
import { CLIENT, SERVER } from "../spdy/golden.ts";
import { concat, control, data, type Field, plain, StoredBlocks, u32 } from "../spdy/harness.ts";
import { feed, type Pieces } from "./feed.ts";
import { mutate, Random } from "./random.ts";
import { runInTenths, type Tally } from "./tenths.ts";

const NAMES = ["streamtype", "port", "requestid", "a", "", "host", "A", "__proto__", "\xff", "n".repeat(300)];
const VALUES = ["error", "data", "80", "", "x\0y", "\0", "\xc3\xb6", "\xff\xfe", "v".repeat(5000)];

/** Header fields before compression, nearly right. */
function fields(random: Random): Uint8Array<ArrayBuffer> {
  const list = Array.from({ length: random.below(4) }, (): Field => [
    random.oneIn(4) ? random.pick(NAMES) : random.pick(NAMES.slice(0, 4)),
    random.pick(VALUES),
  ]);
  const bytes = plain(list, random.oneIn(30) ? random.pick([0, 1001, 0xffff_ffff, list.length + 1]) : list.length);
  if (random.oneIn(30)) mutate(random, bytes);
  if (random.oneIn(50)) return bytes.slice(0, random.below(bytes.length));
  return random.oneIn(50) ? concat(bytes, random.bytes(3)) : bytes;
}

/** A frame that is right or nearly right; only a `broken` one may claim another length than it has. */
function frame(random: Random, blocks: StoredBlocks, broken: boolean): Uint8Array {
  const id = random.oneIn(10) ? random.pick([0, 0x7fff_ffff, random.below(2 ** 31)]) : 1 + random.below(12);
  const flags = random.oneIn(4) ? random.pick([1, 1, 1, 2, 3, 255]) : 0;
  const type = random.oneIn(200) ? random.below(65536) : random.pick([0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 6, 6, 7, 8, 9]);
  const length = broken && random.oneIn(300) ? { length: random.below(2 ** random.below(24)) } : {};
  const options = { flags, ...length };
  const block = () => broken && random.oneIn(100) ? random.bytes(random.below(40)) : blocks.raw(fields(random));
  const number = () => random.oneIn(10) ? random.below(2 ** 32) : random.below(12);
  switch (type) {
    case 0: {
      const size = random.oneIn(200) ? 600_000 : random.oneIn(20) ? random.below(40_000) : random.below(20);
      return data(id, new Uint8Array(size).fill(id), flags);
    }
    case 1:
      return control(1, concat(u32(id), u32(0), new Uint8Array(2), block()), options);
    case 2:
    case 8:
      return control(type, concat(u32(id), block()), options);
    case 4: {
      const count = random.below(4);
      return control(4, concat(u32(broken && random.oneIn(20) ? number() : count), new Uint8Array(8 * count)), options);
    }
    case 6:
      return control(6, u32(number()), { ...options, flags: random.oneIn(20) ? flags : 0 });
    case 7:
      return control(7, concat(u32(id), u32(random.below(3))), { ...options, flags: random.oneIn(20) ? flags : 0 });
    case 9:
      return control(9, concat(u32(id), u32(number())), { ...options, flags: random.oneIn(20) ? flags : 0 });
    default:
      return control(type, concat(u32(id), u32(number())), options);
  }
}

/** Up to a dozen frames, one behind the other. */
export function frames(random: Random, broken: boolean): Uint8Array<ArrayBuffer> {
  const blocks = new StoredBlocks();
  return concat(...Array.from({ length: 1 + random.below(12) }, () => frame(random, blocks, broken)));
}

/** The bytes of one input. */
function stream(random: Random): Uint8Array<ArrayBuffer> {
  if (random.oneIn(30)) return random.bytes(random.below(200));
  const parts: Uint8Array[] = [];
  if (random.oneIn(2)) {
    // The recordings, now and then with a frame missing, twice, or of the other side.
    for (const golden of random.pick([CLIENT, SERVER])) {
      if (random.oneIn(40)) continue;
      parts.push(golden.bytes);
      if (random.oneIn(40)) parts.push(random.pick([...CLIENT, ...SERVER]).bytes);
    }
  } else {
    parts.push(frames(random, true));
  }
  const bytes = concat(...parts);
  if (random.oneIn(2)) mutate(random, bytes);
  return random.oneIn(5) ? bytes.slice(0, random.below(bytes.length + 1)) : bytes;
}

function generate(random: Random): Pieces {
  const bytes = stream(random);
  const pieces: number[] = [];
  const largest = random.pick([1, 3, 20, 1000, 100_000]);
  for (let left = bytes.length; left > 0;) {
    const piece = Math.min(left, bytes.length > 500 * largest ? 1000 : 1 + random.below(largest));
    pieces.push(piece);
    left -= piece;
  }
  return { bytes, pieces };
}

/** What frames say; consecutive DATA of a stream counts as one, however it was cut. */
class Meaning {
  readonly events: unknown[] = [];
  refused: string | undefined;
  #data: { streamId: number; size: number; hash: number; fin: boolean } | undefined;

  add(frame: Frame): void {
    if (frame.type !== "data") {
      this.#data = undefined;
      this.events.push("headers" in frame ? { ...frame, headers: Object.entries(frame.headers) } : frame);
      return;
    }
    let data = this.#data;
    if (!data || data.streamId !== frame.streamId || data.fin) {
      data = this.#data = { streamId: frame.streamId, size: 0, hash: 0, fin: false };
      this.events.push(data);
    }
    data.size += frame.data.length;
    data.fin = frame.fin;
    for (const byte of frame.data) data.hash = (data.hash * 31 + byte) | 0;
  }
}

function decode(input: Pieces): Meaning {
  const decoder = new FrameDecoder();
  const meaning = new Meaning();
  let frames = 0;
  try {
    feed(decoder, input, () => {
      for (let frame; (frame = decoder.next()) !== undefined;) {
        meaning.add(frame);
        assert(++frames <= input.bytes.length, "more frames than bytes");
      }
    });
  } catch (error) {
    if (!(error instanceof SpdyProtocolError)) throw error;
    meaning.refused = error.message;
  }
  return meaning;
}

function fuzzDecoder(random: Random, tally: Tally): void {
  const input = generate(random);
  const meaning = decode(input);
  assertEquals(meaning, decode({ ...input, pieces: [input.bytes.length] }));
  if (meaning.refused === undefined) tally.whole++;
  else tally.refused++;
  tally.events += meaning.events.length;
}

/** A connection on which the input arrives, and which ends or breaks after it. */
function connection(random: Random, { bytes, pieces }: Pieces): Duplex {
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  const [breaks, stuck, silent] = [random.oneIn(8), random.oneIn(20), random.oneIn(40)];
  let at = 0;
  let next = 0;
  let left = pieces[0] ?? 0;
  return {
    async read(into) {
      if (random.oneIn(20)) await new Promise((resolve) => setTimeout(resolve));
      if (at === bytes.length) {
        if (silent) await closed;
        if (silent || breaks) throw new Error("the connection broke");
        return null;
      }
      const n = Math.min(left, into.length);
      into.set(bytes.subarray(at, at + n));
      at += n;
      left -= n;
      if (left === 0) left = pieces[++next] ?? 0;
      return n;
    },
    async write() {
      if (stuck) await closed;
      if (stuck || random.oneIn(100)) throw new Error("nothing can be written");
    },
    closeWrite: () => Promise.resolve(),
    close,
  };
}

/** Does something or other with a stream; resolves when all of it has settled. */
async function use(random: Random, stream: SpdyStream, role: "client" | "server"): Promise<void> {
  const drain = async () => {
    const buffer = new Uint8Array(1 + random.below(100_000));
    while (await stream.read(buffer) !== null);
  };
  const turns = async () => {
    for (let i = random.below(5); i > 0; i--) await undefined;
  };
  const jobs: Promise<unknown>[] = [];
  if (role === "server" && !random.oneIn(3)) stream.reply({ a: "b" });
  if (random.oneIn(2)) jobs.push(stream.write(new Uint8Array(random.below(100_000))));
  if (random.oneIn(3)) jobs.push(turns().then(() => stream.closeWrite()));
  if (random.oneIn(4)) jobs.push(turns().then(() => stream.reset()));
  if (random.oneIn(8)) jobs.push(turns().then(() => stream.incoming.cancel()));
  jobs.push(turns().then(drain), stream.opened);
  for (const result of await Promise.allSettled(jobs)) {
    if (result.status === "fulfilled") continue;
    const { reason } = result;
    const expected = reason instanceof PodwireError || reason instanceof TypeError ||
      reason instanceof Error && reason.message === "nothing can be written";
    if (!expected) throw reason;
  }
}

async function fuzzSession(random: Random, tally: Tally): Promise<void> {
  const input = generate(random);
  const role = random.pick(["client", "server"] as const);
  const streams: Promise<void>[] = [];
  const session = new SpdySession(connection(random, input), {
    role,
    closeTimeout: CLOSE_TIMEOUT,
    openTimeout: random.pick([1, 1000]),
    ...(random.oneIn(10) ? {} : {
      onStream: (stream) => {
        tally.events++;
        // Not at once: a rejection must find its handler.
        streams.push(use(random, stream, "server"));
      },
    }),
    ...(random.oneIn(3) ? { ping: { interval: 1, timeout: 3, stallTimeout: 5 } } : {}),
  });
  for (let i = random.below(5); i > 0 && !session.isClosed; i--) {
    streams.push(use(random, session.open({ streamtype: "data" }, { fin: random.oneIn(4) }), "client"));
  }
  const ended = session.closed.catch((reason) => reason);
  if (random.oneIn(5)) await session.close();
  else if (random.oneIn(10)) session.abort();
  // Who is silent for ever is left at last.
  const patience = setTimeout(() => session.abort(), 50);
  const reason = await ended;
  clearTimeout(patience);
  if (reason !== undefined && !(reason instanceof PodwireError)) throw reason;
  await Promise.all(streams);
  assertEquals([session.streamCount, session.isClosed, session.stall], [0, true, undefined]);
  if (reason instanceof SpdyProtocolError) tally.refused++;
  else tally.whole++;
}

/** One input. */
async function check(seed: number, tally: Tally): Promise<void> {
  const random = new Random(seed);
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    if (random.oneIn(2)) return fuzzDecoder(random, tally);
    const late = new Promise<never>((_, reject) => timer = setTimeout(() => reject(new Error("no end in 5 s")), 5000));
    await Promise.race([fuzzSession(random, tally), late]);
  } catch (cause) {
    throw new Error(`input with seed ${seed}`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `count` inputs from `seed` on, some at once: sessions wait now and then. */
export async function fuzz(count: number, seed: number): Promise<Tally> {
  const tally: Tally = { whole: 0, refused: 0, events: 0 };
  for (let done = 0; done < count; done += AT_ONCE) {
    const inputs = Math.min(AT_ONCE, count - done);
    await Promise.all(Array.from({ length: inputs }, (_, i) => check(seed + done + i, tally)));
  }
  // The last connections still close.
  await new Promise((resolve) => setTimeout(resolve, CLOSE_TIMEOUT + 1));
  return tally;
}

/** How long a session waits for a peer that takes nothing, in milliseconds. */
const CLOSE_TIMEOUT = 1;

const AT_ONCE = 64;

if (import.meta.main) await runInTenths(fuzz);
