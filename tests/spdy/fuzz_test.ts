/** A short run of the fuzzer; `deno run -A tests/fuzz/spdy_fuzz.ts 1000000` is the long one. */
import { assert } from "@std/assert";
import { fuzz } from "../fuzz/spdy_fuzz.ts";

Deno.test("FrameDecoder and SpdySession survive 8,000 random and mutated connections from seed 1", async () => {
  const { whole, refused, events } = await fuzz(8_000, 1);
  assert(whole > 800 && refused > 800 && events > 8_000, `${whole} whole, ${refused} refused, ${events} events`);
});
