/**
 * Stands in for `jsr:@std/assert` where JSR is out of reach: the functions that
 * the tests use, with the documented signatures and semantics.
 *
 * @module
 */
import { isDeepStrictEqual } from "node:util";

/** What every assertion throws. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

// deno-lint-ignore no-explicit-any -- a constructor of any arguments, as in @std/assert
type Class<T> = abstract new (...args: any[]) => T;

function show(value: unknown): string {
  return Deno.inspect(value, { depth: 8, iterableLimit: 200, strAbbreviateSize: 2000 });
}

function check(ok: boolean, text: string, msg?: string): void {
  if (!ok) throw new AssertionError(msg ? `${msg}: ${text}` : text);
}

/** Passes when `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg || "Expected a truthy value");
}

/** Passes when the two values are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  check(
    isDeepStrictEqual(actual, expected),
    `Values are not equal.\nactual:   ${show(actual)}\nexpected: ${show(expected)}`,
    msg,
  );
}

/** Passes when the two values are not deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  check(!isDeepStrictEqual(actual, expected), `Both are ${show(actual)}`, msg);
}

/** Passes when the two values are the same (`Object.is`). */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  check(Object.is(actual, expected), `${show(actual)} is not ${show(expected)}`, msg);
}

/** Passes when the value is neither `undefined` nor `null`. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  check(actual !== undefined && actual !== null, `Got ${show(actual)}`, msg);
}

/** Passes when `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  check(actual.includes(expected), `${show(actual)} does not include ${show(expected)}`, msg);
}

/** Passes when `actual` matches `expected`. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  check(expected.test(actual), `${show(actual)} does not match ${expected}`, msg);
}

/** Passes when `actual` does not match `expected`. */
export function assertNotMatch(actual: string, expected: RegExp, msg?: string): void {
  check(!expected.test(actual), `${show(actual)} matches ${expected}`, msg);
}

/** Passes when `actual` is an instance of `expectedType`. */
export function assertInstanceOf<T>(
  actual: unknown,
  expectedType: Class<T>,
  msg?: string,
): asserts actual is T {
  check(actual instanceof expectedType, `${show(actual)} is not a ${expectedType.name}`, msg);
}

/** Passes when `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  check(actual > expected, `${show(actual)} is not greater than ${show(expected)}`, msg);
}

/** Passes when `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  check(actual >= expected, `${show(actual)} is less than ${show(expected)}`, msg);
}

/** Passes when `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  check(actual < expected, `${show(actual)} is not less than ${show(expected)}`, msg);
}

/** Passes when `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  check(actual <= expected, `${show(actual)} is greater than ${show(expected)}`, msg);
}

/** Fails. */
export function fail(msg?: string): never {
  throw new AssertionError(`Failed assertion${msg ? `: ${msg}` : "."}`);
}

function judge<E extends Error>(error: unknown, type?: Class<E>, includes?: string, msg?: string): void {
  check(error instanceof Error, `A non-Error was thrown: ${show(error)}`, msg);
  if (type) check(error instanceof type, `Expected ${type.name}, got ${show(error)}`, msg);
  if (includes !== undefined) assertStringIncludes((error as Error).message, includes, msg);
}

/** Passes when `fn` throws (an `ErrorClass` whose message includes `msgIncludes`); returns the error. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error>(
  fn: () => unknown,
  classOrMsg?: Class<E> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  try {
    fn();
  } catch (error) {
    if (typeof classOrMsg === "function") judge(error, classOrMsg, msgIncludes, msg);
    return error;
  }
  throw new AssertionError(typeof classOrMsg === "string" ? classOrMsg : msg ?? "Expected function to throw.");
}

/** Passes when `fn` rejects (with an `ErrorClass` whose message includes `msgIncludes`); returns the error. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: Class<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  classOrMsg?: Class<E> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  try {
    await fn();
  } catch (error) {
    if (typeof classOrMsg === "function") judge(error, classOrMsg, msgIncludes, msg);
    return error;
  }
  throw new AssertionError(typeof classOrMsg === "string" ? classOrMsg : msg ?? "Expected function to reject.");
}
