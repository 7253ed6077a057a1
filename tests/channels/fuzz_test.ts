/** A taste of tests/fuzz/channels_fuzz.ts. */
import { assertGreater } from "@std/assert";
import { fuzz } from "../fuzz/channels_fuzz.ts";

Deno.test("ChannelCodec, parseStatus() and ResizeDecoder give what was encoded or a typed error, whatever comes", () => {
  const { decoded, refused } = fuzz(5000, 1);
  assertGreater(decoded, 1000);
  assertGreater(refused, 500);
});
