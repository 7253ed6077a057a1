/** A short run of the fuzzer; `deno run -A tests/fuzz/websocket_fuzz.ts 1000000` is the long one. */
import { assert } from "@std/assert";
import { fuzz } from "../fuzz/websocket_fuzz.ts";

Deno.test("FrameDecoder decodes 20,000 random and mutated streams as the naive decoder does", () => {
  const { whole, refused, events } = fuzz(20_000, 1);
  assert(whole > 2000 && refused > 2000 && events > 20_000, `${whole} whole, ${refused} refused, ${events} events`);
});
