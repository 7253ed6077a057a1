/**
 * Lines of text for a reader who may be slow, or gone.
 *
 * @module
 */
import { type ByteSink, OutputClosedError, writeAll } from "./standard_streams.ts";

/** How many bytes may wait for the reader. Further lines are dropped: a forward does not stop for its log. */
const MAX_WAITING = 64 * 1024;

/** How long {@linkcode Lines.flush} waits, in milliseconds. */
const FLUSH_TIMEOUT = 1_000;

/** Writes lines in their order, each in one piece, without keeping anybody waiting. */
export class Lines {
  readonly #sink: ByteSink;
  readonly #onFailure: (error: unknown) => void;
  #waiting = 0;
  #closed = false;
  #last: Promise<void> = Promise.resolve();

  /**
   * Lines for `sink`.
   *
   * @param onFailure Is told, once, why nothing can be written any more; not if only the reader has gone.
   */
  constructor(sink: ByteSink, onFailure: (error: unknown) => void) {
    this.#sink = sink;
    this.#onFailure = onFailure;
  }

  /** Writes `line` and a line end. */
  print(line: string): void {
    const bytes = new TextEncoder().encode(`${line}\n`);
    if (this.#closed || this.#waiting + bytes.length > MAX_WAITING) return;
    this.#waiting += bytes.length;
    this.#last = this.#last.then(async () => {
      try {
        if (!this.#closed) await writeAll(this.#sink, bytes);
      } catch (error) {
        this.#closed = true;
        if (!(error instanceof OutputClosedError)) this.#onFailure(error);
      } finally {
        this.#waiting -= bytes.length;
      }
    });
  }

  /** Waits for what was printed, unless the reader takes too long. */
  async flush(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, FLUSH_TIMEOUT);
    await Promise.race([this.#last, late]);
    clearTimeout(timer);
  }
}
