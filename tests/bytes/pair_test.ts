import { assertEquals, assertRejects } from "@std/assert";
import { duplexPair, PodwireError } from "../../lib/bytes/mod.ts";

Deno.test("duplexPair() ends its two directions separately", async () => {
  const [left, right] = duplexPair();
  const buffer = new Uint8Array(8);
  await left.write(new Uint8Array([1, 2]));
  await left.closeWrite();
  assertEquals(await right.read(buffer), 2);
  assertEquals(await right.read(buffer), null);
  await right.write(new Uint8Array([3]));
  assertEquals(await left.read(buffer), 1);
});

Deno.test("duplexPair() keeps what was written when the writer reuses its buffer", async () => {
  const [left, right] = duplexPair();
  const data = new Uint8Array([1]);
  await left.write(data);
  data[0] = 9;
  const buffer = new Uint8Array(1);
  await right.read(buffer);
  assertEquals(buffer[0], 1);
});

Deno.test("duplexPair() tells a writer that the other end is closed", async () => {
  const [left, right] = duplexPair();
  right.close();
  await assertRejects(() => left.write(new Uint8Array(1)), PodwireError, "closed");
});
