import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ByteQueue } from "../../lib/bytes/mod.ts";

const bytes = (...values: number[]) => new Uint8Array(values);

/** Whether `promise` is still pending after everything that can run has run. */
async function pending(promise: Promise<unknown>): Promise<boolean> {
  const marker = {};
  for (let i = 0; i < 20; i++) await Promise.resolve();
  return await Promise.race([promise, Promise.resolve(marker)]) === marker;
}

Deno.test("ByteQueue.read() joins small chunks and splits large ones", async () => {
  const queue = new ByteQueue();
  queue.write(bytes(1, 2));
  queue.write(bytes(3));
  queue.write(bytes(4, 5, 6));
  const into = new Uint8Array(4);
  assertEquals(await queue.read(into), 4);
  assertEquals(into, bytes(1, 2, 3, 4));
  assertEquals(queue.size, 2);
  assertEquals(await queue.read(into), 2);
  assertEquals(into.subarray(0, 2), bytes(5, 6));
});

Deno.test("ByteQueue.write() waits while the queue is full, until all of it is in", async () => {
  const queue = new ByteQueue({ capacity: 4 });
  assertEquals(queue.write(bytes(1, 2, 3, 4)), undefined);
  const waiting = queue.write(bytes(5, 6));
  assert(waiting instanceof Promise);
  assert(await pending(waiting));
  const into = new Uint8Array(4);
  await queue.read(into.subarray(0, 1));
  assert(await pending(waiting), "one more byte has no room");
  assertEquals(queue.size, 4);
  await queue.read(into.subarray(0, 1));
  await waiting;
  assertEquals(await queue.read(into), 4);
  assertEquals(into, bytes(3, 4, 5, 6), "across the ring's end");
});

Deno.test("ByteQueue.read() waits for a first byte", async () => {
  const queue = new ByteQueue();
  const reading = queue.read(new Uint8Array(8));
  assert(await pending(reading));
  queue.write(bytes(7));
  assertEquals(await reading, 1);
});

Deno.test("ByteQueue.close() gives the rest, then null", async () => {
  const queue = new ByteQueue();
  queue.write(bytes(1));
  queue.close();
  assertEquals(await queue.read(new Uint8Array(8)), 1);
  assertEquals(await queue.read(new Uint8Array(8)), null);
  assertThrows(() => queue.write(bytes(2)), TypeError, "closed");
});

Deno.test("ByteQueue.fail() gives the rest, then the reason, and frees the writer", async () => {
  const queue = new ByteQueue({ capacity: 1 });
  const waiting = assertRejects(async () => await queue.write(bytes(1, 2)));
  const reason = new Error("broken");
  queue.fail(reason);
  assertEquals(await waiting, reason);
  assertEquals(await queue.read(new Uint8Array(8)), 1);
  assertEquals(await assertRejects(() => queue.read(new Uint8Array(8))), reason);
  assertEquals(assertThrows(() => queue.write(bytes(2))), reason);
});

Deno.test("ByteQueue.cancel() drops what is queued and what comes, and frees the writer", async () => {
  const queue = new ByteQueue({ capacity: 1 });
  const waiting = queue.write(bytes(1, 2));
  queue.cancel();
  await waiting;
  assertEquals(queue.size, 0);
  assertEquals(queue.write(bytes(2)), undefined);
  assertEquals(queue.size, 0);
  assertEquals(await queue.read(new Uint8Array(8)), null);
});

Deno.test("ByteQueue.readable() delivers everything to default and BYOB readers", async () => {
  for (const byob of [false, true]) {
    const queue = new ByteQueue({ capacity: 1000 });
    const writing = (async () => {
      for (let i = 0; i < 300; i++) await queue.write(new Uint8Array(77).fill(i));
      queue.close();
    })();
    const readable = queue.readable();
    let total = 0;
    if (byob) {
      const reader = readable.getReader({ mode: "byob" });
      let buffer = new Uint8Array(500);
      for (;;) {
        const { value, done } = await reader.read(buffer);
        if (done) break;
        total += value.length;
        buffer = new Uint8Array(value.buffer);
      }
    } else {
      for await (const chunk of readable) total += chunk.length;
    }
    await writing;
    assertEquals(total, 300 * 77);
  }
});

Deno.test("ByteQueue.readable() errors with the reason and passes a cancel on", async () => {
  const failing = new ByteQueue();
  failing.fail(new Error("broken"));
  await assertRejects(() => new Response(failing.readable()).text(), Error, "broken");

  const cancelled = new ByteQueue();
  await cancelled.readable().cancel();
  assert(cancelled.cancelled);
});

Deno.test("ByteQueue.readable() reads nothing ahead", async () => {
  const queue = new ByteQueue({ capacity: 1 });
  const readable = queue.readable();
  const waiting = queue.write(bytes(1, 2));
  assert(waiting instanceof Promise);
  assert(await pending(waiting), "nobody has read yet");
  const reader = readable.getReader();
  await reader.read();
  await waiting;
});
