/**
 * How long a timer can wait.
 *
 * @module
 */

/**
 * The longest delay of `setTimeout` and `AbortSignal.timeout`, in milliseconds: 24.8 days. A longer one fires at once, so
 * who takes a time from outside has to cut it to this.
 */
export const MAX_DELAY: number = 2 ** 31 - 1;
