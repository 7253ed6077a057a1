/**
 * Lines of text for a reader who may be slow, or gone.
 *
 * @module
 */
import { within } from "../bytes/mod.ts";
import { type ByteSink, OutputClosedError, writeAll } from "./standard_streams.ts";

/** How many bytes may wait for the reader. Further lines are dropped: nobody stops for a log. */
const MAX_WAITING = 64 * 1024;

/** How long {@linkcode Lines.flush} waits by default, in milliseconds. */
const FLUSH_TIMEOUT = 1_000;

/** What becomes of lines that are not written. */
export interface LinesOptions {
  /**
   * Is told, once, why nothing can be written any more; not if only the reader has gone. Without it a line that cannot be written
   * is lost, and the next one is tried.
   */
  readonly onFailure?: (error: unknown) => void;
  /** Is told how many lines were dropped, once all that waited has been taken. */
  readonly onLost?: (lines: number) => void;
}

/** Writes lines in their order, each in one piece, without keeping anybody waiting. */
export class Lines {
  readonly #sink: ByteSink;
  readonly #options: LinesOptions;
  #waiting = 0;
  #lost = 0;
  #closed = false;
  #last: Promise<void> = Promise.resolve();

  /** Lines for `sink`. */
  constructor(sink: ByteSink, options: LinesOptions = {}) {
    this.#sink = sink;
    this.#options = options;
  }

  /** Writes `line` and a line end. */
  print(line: string): void {
    const bytes = new TextEncoder().encode(`${line}\n`);
    if (this.#closed) return;
    if (this.#waiting + bytes.length > MAX_WAITING) return void this.#lost++;
    this.#waiting += bytes.length;
    this.#last = this.#last.then(async () => {
      try {
        if (!this.#closed) await writeAll(this.#sink, bytes);
      } catch (error) {
        const { onFailure } = this.#options;
        this.#closed = onFailure !== undefined;
        if (!(error instanceof OutputClosedError)) onFailure?.(error);
      } finally {
        this.#waiting -= bytes.length;
      }
      if (this.#waiting === 0) this.#tellLost();
    });
  }

  /** Waits for what was printed, unless the reader takes longer than `timeout` milliseconds. */
  async flush(timeout: number = FLUSH_TIMEOUT): Promise<void> {
    await within(timeout, this.#written());
  }

  /** Waits for what was printed, and for what is printed meanwhile. */
  async #written(): Promise<void> {
    for (let last; last !== this.#last;) await (last = this.#last);
  }

  #tellLost(): void {
    const lost = this.#lost;
    this.#lost = 0;
    if (lost > 0) this.#options.onLost?.(lost);
  }
}
