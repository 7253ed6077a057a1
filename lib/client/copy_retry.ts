/**
 * How often, and after what wait, a copy goes on after its connection broke.
 *
 * @module
 */
import { pause } from "../bytes/mod.ts";
import { DisconnectedError } from "../channels/mod.ts";
import { DialError, HttpBreakError } from "../dial/mod.ts";
import { UpgradeError } from "./errors.ts";

/** The first wait and the longest, in milliseconds. */
const FIRST_WAIT = 100;
const LONGEST_WAIT = 10_000;

/** Breaks of one copy: each is waited for longer than the one before, unless bytes have passed in between. */
export class Retries {
  readonly #limit: number;
  readonly #signal: AbortSignal | undefined;
  readonly #onRetry: ((retry: number, limit: number, error: unknown) => void) | undefined;
  #inRow = 0;

  /**
   * @param limit How many breaks in a row to survive; negative for any number.
   * @param onRetry Is told before each wait.
   */
  constructor(
    limit: number,
    signal: AbortSignal | undefined,
    onRetry?: (retry: number, limit: number, error: unknown) => void,
  ) {
    this.#limit = limit;
    this.#signal = signal;
    this.#onRetry = onRetry;
  }

  /** Says that bytes have arrived: the next break is the first of its row. */
  progressed(): void {
    this.#inRow = 0;
  }

  /**
   * Waits before the next attempt.
   *
   * @throws `error` if it is not one of a connection, or the last that may be retried; the signal's reason.
   */
  async wait(error: unknown): Promise<void> {
    this.#signal?.throwIfAborted();
    if (!isBreak(error) || (this.#limit >= 0 && this.#inRow >= this.#limit)) throw error;
    const time = Math.min(FIRST_WAIT * 2 ** this.#inRow, LONGEST_WAIT);
    this.#inRow++;
    this.#onRetry?.(this.#inRow, this.#limit, error);
    await pause(time, this.#signal);
    this.#signal?.throwIfAborted();
  }

  /** Runs `work` until it ends without a break. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        await this.wait(error);
      }
    }
  }
}

/** Whether another attempt may fare better: the connection broke, or the server was not there or not able. */
function isBreak(error: unknown): boolean {
  if (error instanceof UpgradeError) return error.code >= 500 || error.code === 429;
  return [DisconnectedError, DialError, HttpBreakError].some((type) => error instanceof type) || isReset(error);
}

/** Whether the network broke a handshake: its own error, that of Node or Deno. */
function isReset(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return RESETS.has(error.name) || ("code" in error && RESETS.has(error.code));
}

/** `UnexpectedEof` is Deno's for TLS that ended in the middle. */
const RESETS: ReadonlySet<unknown> = new Set(["ECONNRESET", "ECONNABORTED", "EPIPE", "ETIMEDOUT", "UnexpectedEof"]);
