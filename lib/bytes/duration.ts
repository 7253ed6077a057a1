/**
 * Times that a user gives.
 *
 * @module
 */

/**
 * Checks a number of milliseconds from outside: `Infinity` is for ever. What is no time would be a timer that fires at once, and
 * again and again.
 *
 * @param what What the number is called in the error: the name of an option.
 * @returns The number.
 * @throws {RangeError} If it is `NaN`, negative, or no number.
 */
export function checkDuration(what: string, milliseconds: number): number {
  if (typeof milliseconds === "number" && milliseconds >= 0) return milliseconds;
  throw new RangeError(`${what}: ${String(milliseconds)} is not a time in milliseconds`);
}
