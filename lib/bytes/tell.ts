/**
 * Telling whoever uses podwire what happens, without being stopped by it.
 *
 * @module
 */

/**
 * Calls a function that a user gave to be told something, if there is one. What it throws is a bug of that function's
 * and no failure of what it was told of: it is reported as that of an event listener is, and goes nowhere else. Who listens
 * to `error` (in Node `uncaughtException`) hears of it; where nobody does, Deno and Node end the process with it, and a
 * browser shows it in its console.
 *
 * @example
 * ```ts
 * import { tell } from "./tell.ts";
 *
 * function dialed(options: { onEvent?: (event: string) => void }): void {
 *   tell(options.onEvent, "dialed");
 * }
 * ```
 */
export function tell<Args extends unknown[]>(
  listener: ((...args: Args) => void) | undefined,
  ...args: Args
): void {
  try {
    listener?.(...args);
  } catch (error) {
    report(error);
  }
}

function report(error: unknown): void {
  if (typeof globalThis.reportError === "function") return globalThis.reportError(error);
  queueMicrotask(() => { // Node has no reportError, and hears of what a microtask throws.
    throw error;
  });
}
