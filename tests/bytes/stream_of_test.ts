/** A stream of what can be iterated over, as `ReadableStream.from()` makes one. */
import { assertEquals, assertRejects } from "@std/assert";
import { streamOf } from "../../lib/bytes/mod.ts";

for (const [name, make] of [["streamOf", streamOf], ["ReadableStream.from", ReadableStream.from]] as const) {
  Deno.test(`${name}() gives what there is, one by one, and its end or what broke it`, async () => {
    assertEquals(await Array.fromAsync(make([1, 2, 3])), [1, 2, 3]);
    let asked = 0;
    async function* source(): AsyncGenerator<number> {
      for (const value of [1, 2]) {
        asked++;
        yield await Promise.resolve(value);
      }
      throw new Error("it broke");
    }
    const reader = make(source()).getReader();
    assertEquals([asked, await reader.read(), asked], [0, { done: false, value: 1 }, 1]);
    assertEquals(await reader.read(), { done: false, value: 2 });
    await assertRejects(() => reader.read(), Error, "it broke");
  });

  Deno.test(`${name}() leaves its source when it is cancelled`, async () => {
    let left = false;
    function* source(): Generator<number> {
      try {
        yield 1;
        yield 2;
      } finally {
        left = true;
      }
    }
    const reader = make(source()).getReader();
    await reader.read();
    await reader.cancel("enough");
    assertEquals([left, (await reader.read()).done], [true, true]);
  });
}
