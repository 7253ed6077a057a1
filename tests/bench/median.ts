/**
 * What several measurements come to.
 *
 * @module
 */

/** The median of `values`; NaN of none. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}
