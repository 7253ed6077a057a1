/** moby/spdystream's reader and ours, given the same connections. Needs Go (Debian's `golang-go`). */
import { assert, assertEquals } from "@std/assert";
import { type Frame, FrameDecoder } from "../../../lib/spdy/decoder.ts";
import { SpdyProtocolError } from "../../../lib/spdy/mod.ts";
import { frames as randomFrames } from "../../fuzz/spdy_fuzz.ts";
import { Random } from "../../fuzz/random.ts";
import { toHex } from "../../spdy/harness.ts";
import { buildPeer } from "./peer.ts";

/** What a reader makes of a connection; an empty error if it was read to its end. */
interface Meaning {
  readonly frames: readonly unknown[];
  readonly error: string;
}

/** Where we are stricter than Go on purpose. */
const STRICTER = /header without a name|invalid header "host"|bytes too many/;

/**
 * Where Go is stricter: names that are not UTF-8, which never equal their lower-case form, and names that begin with no
 * letter and come twice.
 */
const LAXER = /header was not lowercased|multiple headers with same name/;

async function theirs(inputs: readonly Uint8Array[]): Promise<Meaning[]> {
  const child = new Deno.Command(await buildPeer(), { args: ["frames"], stdin: "piped", stdout: "piped" }).spawn();
  const output = child.output();
  const lines = inputs.map((bytes) => `${toHex(bytes)}\n`).join("");
  await new Blob([lines]).stream().pipeTo(child.stdin);
  const { success, stdout } = await output;
  assert(success);
  return new TextDecoder().decode(stdout).trim().split("\n").map((line) => {
    const { frames, error } = JSON.parse(line) as Meaning;
    return { frames, error: error === "EOF" ? "" : error };
  });
}

function ours(bytes: Uint8Array): Meaning {
  const decoder = new FrameDecoder();
  const frames: unknown[] = [];
  try {
    for (let at = 0; at < bytes.length;) {
      const space = decoder.buffer();
      const n = Math.min(space.length, bytes.length - at);
      space.set(bytes.subarray(at, at + n));
      decoder.advance(n);
      at += n;
      for (let frame; (frame = decoder.next()) !== undefined;) frames.push(describe(frame));
    }
    return { frames, error: "" };
  } catch (error) {
    if (!(error instanceof SpdyProtocolError)) throw error;
    return { frames, error: error.message };
  }
}

/** As the Go program describes it. */
function describe(frame: Frame): unknown {
  switch (frame.type) {
    case "syn_stream":
      return [frame.type, frame.streamId, Number(frame.fin) + 2 * Number(frame.unidirectional), { ...frame.headers }];
    case "syn_reply":
    case "headers":
      return [frame.type, frame.streamId, Number(frame.fin), { ...frame.headers }];
    case "rst_stream":
      return [frame.type, frame.streamId, frame.status];
    case "settings":
      return [frame.type, frame.count];
    case "ping":
      return [frame.type, frame.id];
    case "goaway":
      return [frame.type, frame.lastStreamId, frame.status];
    case "window_update":
      return [frame.type, frame.streamId, frame.delta];
    case "data":
      return [frame.type, frame.streamId, Number(frame.fin), toHex(frame.data)];
  }
}

Deno.test("FrameDecoder accepts and refuses 5,000 random connections as moby/spdystream does", async () => {
  const inputs = Array.from({ length: 5_000 }, (_, i) => randomFrames(new Random(i + 1), false))
    .filter((bytes) => bytes.length < 100_000); // What fits into our buffer comes as whole frames.
  let [whole, refused, stricter, laxer] = [0, 0, 0, 0];
  for (const [i, go] of (await theirs(inputs)).entries()) {
    const own = ours(inputs[i]!);
    const count = Math.min(own.frames.length, go.frames.length);
    assertEquals(own.frames.slice(0, count), go.frames.slice(0, count), `connection ${i}`);
    if (go.frames.length > count || own.error && !go.error) {
      assert(STRICTER.test(own.error), `connection ${i}: refused after ${count} frames: ${own.error}`);
      stricter++;
    } else if (own.frames.length > count || go.error && !own.error) {
      assert(
        LAXER.test(go.error),
        `connection ${i}: Go refuses it after ${count} frames: ${go.error}`,
      );
      laxer++;
    } else if (own.error) refused++;
    else whole++;
  }
  assert(whole > 500 && refused > 500, `${whole} read by both, ${refused} refused by both`);
  assert(stricter < 1000 && laxer < 500, `${stricter} refused by us alone, ${laxer} by Go alone`);
});
