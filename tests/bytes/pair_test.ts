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

Deno.test("duplexPair() rejects what waits at both ends when one closes", async () => {
  const [left, right] = duplexPair({ capacity: 1 });
  const reading = right.read(new Uint8Array(1));
  const writing = left.write(new Uint8Array(2));
  await reading;
  const late = right.read(new Uint8Array(1));
  await late;
  await writing;
  const waiting = right.read(new Uint8Array(1));
  right.close();
  await assertRejects(() => waiting, PodwireError, "closed");
  await assertRejects(() => left.write(new Uint8Array(1)), PodwireError, "closed");
  assertEquals(await left.read(new Uint8Array(1)), null);
});
