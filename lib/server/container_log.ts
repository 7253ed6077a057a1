/**
 * What a container has written, as far back as is kept.
 *
 * @module
 */
import { Wakeup } from "../bytes/mod.ts";

/** A line, or a part of one that is very long. */
export interface LogEntry {
  /** When its last byte came. */
  readonly time: Date;
  /** The bytes, with the line's end. Without it, the next entry of the same output goes on. */
  readonly data: Uint8Array;
  /** Whether a line starts here. */
  readonly starts: boolean;
}

/** Which output. */
export type LogStream = "stdout" | "stderr";

/** Options of {@linkcode ContainerLog.read}. */
export interface LogReadOptions {
  /** Goes on with what comes, until the container ends. */
  readonly follow: boolean;
  /** Only the last so many entries of what is there. */
  readonly tail?: number | undefined;
  /** Nothing from before. */
  readonly since?: Date | undefined;
  /** Ends the reading. */
  readonly signal: AbortSignal;
}

/** The log of one run of a container: whole lines, the oldest of which leave when there are too many. */
export class ContainerLog {
  readonly #entries: LogEntry[] = [];
  /** How many entries have left. */
  #dropped = 0;
  #size = 0;
  #ended = false;
  /** What has come since the last line's end. */
  readonly #open: Record<LogStream, { data: Uint8Array; starts: boolean }> = {
    stdout: { data: NOTHING, starts: true },
    stderr: { data: NOTHING, starts: true },
  };
  readonly #more = new Wakeup();

  /** Takes what the container writes; the bytes are copied. */
  append(stream: LogStream, data: Uint8Array): void {
    for (let rest = data; rest.length > 0;) {
      const open = this.#open[stream];
      const end = rest.indexOf(NEWLINE) + 1;
      const size = Math.min(end || rest.length, MAX_LINE - open.data.length);
      const joined = new Uint8Array(open.data.length + size);
      joined.set(open.data);
      joined.set(rest.subarray(0, size), open.data.length);
      open.data = joined;
      rest = rest.subarray(size);
      if (joined.at(-1) === NEWLINE || joined.length === MAX_LINE) this.#cut(stream);
    }
    this.#more.wake();
  }

  /** The container has ended. */
  end(): void {
    for (const stream of ["stdout", "stderr"] as const) {
      if (this.#open[stream].data.length > 0) this.#cut(stream);
    }
    this.#ended = true;
    this.#more.wake();
  }

  /** Reads it. A reader who is so slow that entries leave before he has come to them goes on with the oldest that is there. */
  async *read({ follow, tail, since, signal }: LogReadOptions): AsyncGenerator<readonly LogEntry[]> {
    let next = tail === undefined ? 0 : Math.max(0, this.#dropped + this.#entries.length - tail);
    for (;;) {
      const from = Math.max(0, next - this.#dropped);
      const batch = this.#entries.slice(from, from + MAX_BATCH);
      next = this.#dropped + from + batch.length;
      const wanted = since ? batch.filter(({ time }) => time >= since) : batch;
      if (wanted.length > 0) yield wanted;
      else if (batch.length === 0 && (!follow || this.#ended || !await this.#more.wait(signal))) return;
    }
  }

  /** Makes an entry of what is open. */
  #cut(stream: LogStream): void {
    const { data, starts } = this.#open[stream];
    this.#entries.push({ time: new Date(), data, starts });
    this.#open[stream] = { data: NOTHING, starts: data.at(-1) === NEWLINE };
    this.#size += data.length + ENTRY_SIZE;
    while (this.#size > MAX_SIZE) {
      this.#size -= this.#entries.shift()!.data.length + ENTRY_SIZE;
      this.#dropped++;
    }
  }
}

const NOTHING = new Uint8Array(0);
const NEWLINE = 0x0a;

/** A longer line is several entries, in bytes (containerd `max_container_log_line_size`). */
const MAX_LINE = 16 * 1024;

/** What is kept of one run, in bytes. */
const MAX_SIZE = 1024 * 1024;

/** What an entry takes beside its bytes, about. */
const ENTRY_SIZE = 100;

/** Entries that are read at once, about 256 KiB at most where lines are not short. */
const MAX_BATCH = 256;
