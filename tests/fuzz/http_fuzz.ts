/**
 * Throws random and mutated answers at the HTTP client, cut at random places.
 *
 *     deno run -A tests/fuzz/http_fuzz.ts [inputs] [seed]
 *
 * The default is 20,000 inputs, a few seconds. A well-formed answer must give exactly its body however it is cut, and the same
 * answer cut short or mutated must give a body or an `HttpError`, never another error, never a wait without end. A failure prints the
 * seed of its input: give it back with `1 SEED` to see it again.
 *
 * @module
 */
import { HttpConnection, HttpError, UpgradeRefusedError } from "../../lib/dial/mod.ts";
import { latin1, readAll, scripted } from "../dial/harness.ts";
import { Random } from "./random.ts";

interface Answer {
  readonly text: string;
  readonly body: string;
}

function word(random: Random, size: number): string {
  return String.fromCharCode(...random.bytes(random.below(size)));
}

/** An answer as RFC 9112 has it, and the body that is in it. */
function wellFormed(random: Random): Answer {
  const body = word(random, random.oneIn(20) ? 60_000 : 200);
  let text = "";
  while (random.oneIn(4)) text += "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n";
  text += `HTTP/1.${random.pick([0, 1])} ${random.pick([200, 201, 403, 500])}${
    random.pick(["", " ", " OK", " Not F\xf6und"])
  }\r\n`;
  for (let i = random.below(5); i > 0; i--) {
    text += `X-${i}:${random.pick(["", " ", "\t"])}${"v".repeat(random.below(99))} \r\n`;
  }
  const framing = random.below(3);
  if (framing === 0) text += `content-length: ${body.length}\r\n\r\n${body}`;
  else if (framing === 1) text += `\r\n${body}`;
  else {
    text += "Transfer-Encoding: chunked\r\n\r\n";
    for (let at = 0; at < body.length;) {
      const size = 1 + random.below(body.length - at);
      text += `${size.toString(16)}${random.pick(["", ";a=b", " "])}\r\n${body.slice(at, at + size)}\r\n`;
      at += size;
    }
    text += `0\r\n${random.pick(["", "Trailer: x\r\n"])}\r\n`;
  }
  return { text, body };
}

function mutated(random: Random, text: string): string {
  const at = random.below(text.length);
  switch (random.below(5)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + word(random, 5) + text.slice(at + random.below(3));
    case 2:
      return text.slice(0, at) + random.pick(["\r\n", "\n", ":", "\r", "\0", " ", "0", "f", "HTTP/1.1 "]) +
        text.slice(at);
    case 3:
      return text.slice(0, at) + text.slice(random.below(text.length));
    default:
      return word(random, 300);
  }
}

function cut(random: Random, text: string): string[] {
  const most = random.pick([1, 3, 100, 20_000]);
  if (text.length / most > 2000) return [text];
  const pieces = [];
  for (let at = 0; at < text.length;) {
    const size = 1 + random.below(most);
    pieces.push(text.slice(at, at + size));
    at += size;
  }
  return pieces;
}

/** What comes of an answer: its body, or its error. */
async function outcome(random: Random, text: string): Promise<string> {
  const connection = new HttpConnection(scripted(cut(random, text), { end: true }));
  const kind = random.below(3);
  const request = { method: "GET", target: "/", headers: [["Connection", "Upgrade"], ["Upgrade", "x"]] as const };
  try {
    if (kind === 0) {
      return `body ${await readBody((await connection.request(request)).body)}`;
    }
    if (kind === 1) return `duplex ${await readAll((await connection.upgrade(request)).duplex)}`;
    return `duplex ${await readAll(await connection.tunnel(request))}`;
  } catch (error) {
    if (error instanceof UpgradeRefusedError) return `refused ${error.status}`;
    if (error instanceof HttpError && error.message.length < 400) return "error";
    throw error;
  } finally {
    connection.close();
  }
}

async function readBody(body: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const piece of body) text += String.fromCharCode(...piece.subarray(0, 65536));
  return text;
}

/** One input; throws if anything is not as it must be. */
async function check(seed: number): Promise<string> {
  const random = new Random(seed);
  const { text, body } = wellFormed(random);
  if (latin1(text).length !== text.length) throw new Error("the generator made more than bytes");
  if (random.oneIn(2)) return await outcome(random, mutated(random, text));
  const connection = new HttpConnection(scripted(cut(random, text), { end: true }));
  const got = await readBody((await connection.request({ method: "GET", target: "/", headers: [] })).body);
  if (got !== body) throw new Error(`${JSON.stringify(text.slice(0, 500))} gave ${JSON.stringify(got.slice(0, 500))}`);
  return "well-formed";
}

if (import.meta.main) {
  const inputs = Number(Deno.args[0] ?? 20_000);
  const first = Number(Deno.args[1] ?? 1);
  const counts = new Map<string, number>();
  for (let seed = first; seed < first + inputs; seed++) {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const late = new Promise<never>((_, reject) =>
        timer = setTimeout(() => reject(new Error("no end in 5 s")), 5000)
      );
      const kind = (await Promise.race([check(seed), late])).split(" ")[0]!;
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    } finally {
      clearTimeout(timer);
    }
  }
  const line = [...counts].map(([kind, count]) => `${count} ${kind}`).join(", ");
  await Deno.stdout.write(new TextEncoder().encode(`${inputs} inputs from seed ${first}: ${line}\n`));
}
