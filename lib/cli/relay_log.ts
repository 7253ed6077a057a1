/**
 * The relay's log, which nothing waits for.
 *
 * @module
 */
import { pause } from "../bytes/mod.ts";
import { type ByteSink, writeAll } from "./standard_streams.ts";

/** The most that may wait to be read, in bytes. */
const MAX_WAITING = 64 * 1024;

/** How long the end waits for whoever reads the log, in milliseconds. */
const LAST_WAIT = 500;

/** Writes lines in the background: a reader that stalls (a full pipe, a stopped terminal) loses lines and stalls nothing. */
export class RelayLog {
  readonly #sink: ByteSink;
  #lines: Uint8Array[] = [];
  #size = 0;
  #lost = 0;
  #writing: Promise<void> | undefined;

  /** A log to `sink`. */
  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  /** Writes a line, or counts it as lost. */
  say(text: string): void {
    const line = new TextEncoder().encode(`${text}\n`);
    if (this.#size + line.length > MAX_WAITING) {
      this.#lost++;
      return;
    }
    this.#lines.push(line);
    this.#size += line.length;
    this.#writing ??= this.#write();
  }

  /** Waits until all is written, but not for long. */
  async flush(): Promise<void> {
    const written = new AbortController();
    await Promise.race([this.#writing, pause(LAST_WAIT, written.signal)]);
    written.abort();
  }

  async #write(): Promise<void> {
    for (let line = this.#lines.shift(); line; line = this.#lines.shift()) {
      await writeAll(this.#sink, line).catch(() => {}); // Nobody is left to be told.
      this.#size -= line.length;
      if (this.#lines.length > 0 || this.#lost === 0) continue;
      const lost = this.#lost;
      this.#lost = 0;
      this.say(`${lost} ${lost === 1 ? "line is" : "lines are"} missing here: the log was not read`);
    }
    this.#writing = undefined;
  }
}
