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

Deno.test("ByteQueue.peek() shows the oldest bytes without a copy, consume() removes them", async () => {
  const queue = new ByteQueue({ capacity: 8 });
  assertEquals(queue.peek(), bytes());
  queue.write(bytes(1, 2, 3, 4, 5, 6));
  const view = queue.peek();
  assertEquals([view, queue.size], [bytes(1, 2, 3, 4, 5, 6), 6]);
  queue.consume(4);
  assertEquals([queue.peek(), queue.size], [bytes(5, 6), 2]);
  queue.write(bytes(7, 8, 9, 10));
  assertEquals(queue.peek(), bytes(5, 6, 7, 8), "up to the ring's end");
  queue.consume(4);
  assertEquals(queue.peek(), bytes(9, 10));
  queue.consume(1);
  assertEquals(await queue.read(new Uint8Array(8)), 1);
  assertEquals([queue.peek(), queue.size], [bytes(), 0]);
});

Deno.test("ByteQueue.peek()'s view stays as it is while more is written, also when the ring grows", async () => {
  const queue = new ByteQueue();
  queue.write(new Uint8Array(3000).fill(1));
  queue.consume(2000);
  const view = queue.peek();
  for (let i = 2; i < 30; i++) queue.write(new Uint8Array(5000).fill(i));
  assertEquals(view, new Uint8Array(1000).fill(1));
  queue.consume(1000);
  const into = new Uint8Array(5000);
  for (let i = 2; i < 30; i++) {
    let size = 0;
    while (size < 5000) size += (await queue.read(into.subarray(size)))!;
    assertEquals(into, new Uint8Array(5000).fill(i));
  }
  assertEquals(queue.size, 0);
});

Deno.test("ByteQueue.consume() makes room for a writer that waits", async () => {
  const queue = new ByteQueue({ capacity: 4 });
  const writing = queue.write(bytes(1, 2, 3, 4, 5, 6));
  assert(writing instanceof Promise);
  assertEquals(queue.peek(), bytes(1, 2, 3, 4));
  queue.consume(3);
  await writing;
  assertEquals(queue.peek(), bytes(4));
  queue.consume(1);
  assertEquals(queue.peek(), bytes(5, 6));
});

Deno.test("ByteQueue.ready() tells what is there from the end, and waits for either", async () => {
  const queue = new ByteQueue();
  const waiting = queue.ready();
  assert(await pending(waiting));
  queue.write(bytes(1));
  assertEquals([await waiting, await queue.ready()], [true, true]);
  queue.close();
  assertEquals(await queue.ready(), true, "not the end yet");
  queue.consume(1);
  assertEquals(await queue.ready(), false);
  const failing = new ByteQueue();
  const rejecting = assertRejects(() => failing.ready(), Error, "broken");
  failing.fail(new Error("broken"));
  await rejecting;
});

Deno.test("ByteQueue.cancel() while a view is lent out: consume() and peek() find nothing", () => {
  const queue = new ByteQueue();
  queue.write(bytes(1, 2, 3));
  const view = queue.peek();
  queue.cancel();
  queue.consume(view.length);
  assertEquals([queue.size, queue.peek(), view], [0, bytes(), bytes(1, 2, 3)]);
});

Deno.test("ByteQueue grows with what waits in it, never beyond its capacity, and keeps every byte in its place", async () => {
  const payload = Uint8Array.from({ length: 500_000 }, (_, i) => i ^ i >> 8);
  for (const capacity of [1000, 4096, 5000, 256 * 1024, 300_000]) {
    const queue = new ByteQueue({ capacity });
    const writing = (async () => {
      for (let at = 0, size = 0; at < payload.length; at += size, size = (size * 7 + 13) % 30_011) {
        await queue.write(payload.subarray(at, at + size));
      }
      queue.close();
    })();
    const received = new Uint8Array(payload.length);
    let read = 0;
    for (let turn = 0; await queue.ready(); turn++) {
      assert(queue.size <= capacity);
      const view = queue.peek();
      // Now all of it, now half.
      const part = view.subarray(0, turn % 3 === 0 ? Math.ceil(view.length / 2) : view.length);
      received.set(part, read);
      queue.consume(part.length);
      read += part.length;
    }
    await writing;
    assertEquals([read, received.every((byte, i) => byte === payload[i])], [payload.length, true], `${capacity}`);
  }
});

Deno.test("ByteQueue.read() that is about to take what a cancel drops is at the end", async () => {
  const queue = new ByteQueue();
  queue.write(new Uint8Array(2));
  const reading = queue.read(new Uint8Array(4));
  queue.cancel();
  assertEquals(await reading, null);
});

Deno.test("ByteQueue.readable() hands out what there is or ends, whenever a cancel comes", async () => {
  for (let turns = 0; turns < 8; turns++) {
    const queue = new ByteQueue();
    queue.write(new Uint8Array(2));
    const reading = queue.readable().getReader().read();
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    queue.cancel();
    const { done, value } = await reading;
    assertEquals(done ? 0 : value.length, done ? 0 : 2, `after ${turns} turns`);
  }
});
