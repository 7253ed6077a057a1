/** A user's function that throws: reported, and of no consequence. */
import { assertEquals, assertThrows } from "@std/assert";
import { checkDuration, tell } from "../../lib/bytes/mod.ts";
import { Reported } from "../support/reported.ts";
import { until } from "../support/until.ts";

Deno.test("tell() calls the function, if there is one", () => {
  const told: unknown[] = [];
  tell((...what: [number, string]) => void told.push(what), 1, "two");
  tell(undefined, 1, "two");
  assertEquals(told, [[1, "two"]]);
});

Deno.test("tell() reports what the function throws, as is an event listener's error", () => {
  using reported = new Reported();
  const bug = new Error("a bug");
  const listener = () => {
    throw bug;
  };
  tell(listener);
  const target = new EventTarget();
  target.addEventListener("x", listener);
  target.dispatchEvent(new Event("x"));
  assertEquals(reported.errors, [bug, bug]);
});

Deno.test("tell() reports where there is no reportError, as in Node", async () => {
  using reported = new Reported();
  const { reportError } = globalThis;
  const bug = new Error("a bug");
  try {
    Reflect.deleteProperty(globalThis, "reportError");
    tell(() => {
      throw bug;
    });
    assertEquals(reported.errors, []);
    await until("it is reported", () => reported.errors.length > 0);
    assertEquals(reported.errors, [bug]);
  } finally {
    globalThis.reportError = reportError;
  }
});

Deno.test("checkDuration() takes a time, and refuses what is none", () => {
  for (const time of [0, 0.5, 1e12, Infinity]) assertEquals(checkDuration("timeout", time), time);
  for (const time of [NaN, -1, -Infinity, "5", null] as number[]) {
    assertThrows(() => checkDuration("timeout", time), RangeError, `timeout: ${time} is not a time in milliseconds`);
  }
});
