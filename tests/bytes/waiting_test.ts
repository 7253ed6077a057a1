/** Waiting, and what ends it. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { MAX_DELAY, pause, withDeadline, within } from "../../lib/bytes/mod.ts";

const never = new Promise<never>(() => {});
const broken = new Error("it broke");
const breaks = () => Promise.reject(broken);

/** Longer than any timer can wait. */
const LONG = 2 * MAX_DELAY;

/** Work that goes on until its signal aborts. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason));
  });
}

/** Calls `wait`, which takes no time, and gives how long the timers that it set would have run, and how many are left. */
async function timersOf(wait: () => Promise<unknown>): Promise<{ delays: number[]; left: number }> {
  const { setTimeout, clearTimeout } = globalThis;
  const delays: number[] = [];
  const left = new Set<unknown>();
  globalThis.setTimeout = ((_: () => void, delay: number) => {
    left.add(delays.push(delay));
    return delays.length;
  }) as unknown as typeof setTimeout;
  globalThis.clearTimeout = (id) => void left.delete(id);
  try {
    await wait();
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout });
  }
  return { delays, left: left.size };
}

Deno.test("within() gives what the work comes to, or what there is instead once it is late", async () => {
  assertEquals(await within(LONG, pause(1).then(() => 1), () => 2), 1);
  assertEquals(await within(1, never), undefined);
  assertEquals(await within(1, never, () => 2), 2);
});

Deno.test("within() rejects as the work does, or with what is thrown once it is late", async () => {
  assertEquals(await assertRejects(() => within(LONG, breaks())), broken);
  const late = () => {
    throw broken;
  };
  assertEquals(await assertRejects(() => within(1, never, late)), broken);
});

Deno.test("within() keeps to itself that late work fails", async () => {
  const work = Promise.withResolvers<void>();
  await within(1, work.promise);
  work.reject(broken); // If nobody took it, the test would fail.
  await pause(0);
});

Deno.test("withDeadline() aborts the work when it is late, for a reason that is made then", async () => {
  for (const signal of [undefined, new AbortController().signal]) {
    const reasons: Error[] = [];
    const late = () => reasons[reasons.length] = new Error("late");
    const error = await assertRejects(() => withDeadline(1, late, signal, aborted));
    assertEquals(reasons.length, 1);
    assert(error === reasons[0]);
  }
});

Deno.test("withDeadline() aborts the work with its caller", async () => {
  const controller = new AbortController();
  const working = withDeadline(LONG, () => "late", controller.signal, aborted);
  controller.abort(broken);
  assertEquals(await assertRejects(() => working), broken);
  assertEquals(await assertRejects(() => withDeadline(LONG, () => "late", controller.signal, aborted)), broken);
});

Deno.test("within() and withDeadline() wait no longer than a timer can, and clear it however the work ends", async () => {
  const once = { delays: [MAX_DELAY], left: 0 };
  for (const work of [() => Promise.resolve(1), breaks]) {
    assertEquals(await timersOf(() => within(LONG, work()).catch(() => {})), once);
    assertEquals(await timersOf(() => withDeadline(LONG, () => "late", undefined, work).catch(() => {})), once);
  }
});

Deno.test("pause() ends after its time, or early at an abort", async () => {
  await pause(1);
  const controller = new AbortController();
  const pausing = pause(60_000, controller.signal);
  controller.abort();
  await pausing;
  await pause(60_000, controller.signal);
});
