/**
 * How far a copy is: bars on a terminal, a line a file, or JSON, on stderr.
 *
 * @module
 */
import type { CopyEvent } from "../client/mod.ts";
import { countRows, cutBeginning, cutEnd, textWidth } from "./display_width.ts";
import { readChoice } from "./flags.ts";

/** How to show it. */
const PROGRESS_MODES = ["auto", "bar", "json", "none"] as const;

/** Between two pictures of the same copy, in milliseconds. */
const INTERVAL = 100;

/** How many files are shown. */
const FILES = 5;

/** The columns of a name and of a bar: how many they may have, and how few are still worth it. */
const NAME = { most: 40, least: 12 };
const BAR = { most: 24, least: 6 };

/** The columns of `100% of 1023.9 MiB, 59m59s left`: kept free for it, so that nothing moves to and fro. */
const TAIL = 31;

/** The columns of a terminal that does not tell. */
const COLUMNS = 80;

/** Shows how far one run of `podwire cp` is. */
export class Progress implements Disposable {
  readonly #mode: "bar" | "json" | "none";
  readonly #lines: boolean;
  readonly #write: (text: string) => void;
  readonly #columns: () => number;
  readonly #now: () => number;
  readonly #started: number;
  /** The files that are on their way. */
  readonly #active = new Map<string, CopyEvent>();
  #files = 0;
  #bytes = 0;
  /** Bytes that there are to copy, roughly. */
  #expected: number | undefined = 0;
  #shown = -Infinity;
  /** The lines of the picture that is to be seen. */
  #drawn: readonly string[] = [];

  /**
   * @param mode What `--progress` says.
   * @param options.lines Whether each file gets a line when it is done.
   * @param options.terminal Whether `write` leads to a terminal.
   * @param options.columns How wide that is now.
   * @throws {UsageError} If there is no such mode.
   */
  constructor(
    mode: string,
    { lines, terminal, write, columns = terminalColumns, now = () => performance.now() }: {
      readonly lines: boolean;
      readonly terminal: boolean;
      readonly write: (text: string) => void;
      readonly columns?: () => number;
      readonly now?: () => number;
    },
  ) {
    const known = readChoice("--progress", mode, PROGRESS_MODES);
    this.#mode = known === "auto" ? (terminal ? "bar" : "none") : known;
    this.#lines = lines;
    this.#write = write;
    this.#columns = columns;
    this.#now = now;
    this.#started = now();
  }

  /** Whether there are bars to be seen, which tell how much is left. */
  get bars(): boolean {
    return this.#mode === "bar";
  }

  /** So many bytes are to come; `undefined` if nobody knows. */
  expect(bytes: number | undefined): void {
    this.#expected = bytes === undefined || this.#expected === undefined ? undefined : this.#expected + bytes;
  }

  /** Takes what happens to a file; `name` is what to call it. */
  update(event: CopyEvent, name: string): void {
    const { done, bytes, size } = event;
    if (done) {
      this.#active.delete(name);
      this.#files++;
      this.#bytes += bytes;
    } else this.#active.set(name, event);
    if (this.#mode === "json") {
      if (done || this.#due()) this.#json({ path: name, bytes, ...(size !== undefined && { size }), done });
      return;
    }
    if (done && this.#lines) {
      this.#erase();
      this.#write(`${name} (${formatBytes(bytes)})\n`);
    }
    if (this.#mode === "bar" && this.#due()) this.#draw();
  }

  /** Writes a line among the bars. */
  note(text: string): void {
    this.#erase();
    this.#write(`${text}\n`);
  }

  /** Shows how it ended. */
  [Symbol.dispose](): void {
    this.#active.clear();
    if (this.#mode === "bar" && this.#files > 0) {
      this.#expected = 0; // Nothing is left.
      this.#draw();
      this.#drawn = []; // It stays.
    }
    if (this.#mode === "json") this.#json({ files: this.#files, bytes: this.#bytes, seconds: this.#seconds });
  }

  get #seconds(): number {
    return (this.#now() - this.#started) / 1000;
  }

  #due(): boolean {
    const now = this.#now();
    if (now - this.#shown < INTERVAL) return false;
    this.#shown = now;
    return true;
  }

  #json(value: unknown): void {
    this.#write(`${JSON.stringify(value)}\n`);
  }

  #draw(): void {
    this.#erase();
    const width = this.#columns() - 1; // In the last column some terminals wrap already.
    const total = this.#bytes + sum(this.#active.values());
    const rate = total / Math.max(this.#seconds, 0.001);
    const lines = [...this.#active].slice(0, FILES).map(([name, event]) => fileLine(name, event, rate, width));
    lines.push(fitParts([
      this.#files === 1 ? "1 file" : `${this.#files} files`,
      `, ${formatBytes(total)}`,
      this.#expected ? ` of ${formatBytes(Math.max(total, this.#expected))}` : "",
      `, ${formatBytes(rate)}/s`,
      this.#expected ? `, ${timeLeft(this.#expected - total, rate)} left` : `, ${formatTime(this.#seconds)}`,
    ], width));
    this.#write(lines.map((line) => `${line}\n`).join(""));
    this.#drawn = lines;
  }

  /** Goes up as many rows as the picture takes now: a terminal that became narrower has wrapped it. */
  #erase(): void {
    const columns = this.#columns();
    let rows = 0;
    for (const line of this.#drawn) rows += countRows(line, columns);
    if (rows > 0) this.#write(`\x1b[${rows}A\x1b[J`);
    this.#drawn = [];
  }
}

function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns || COLUMNS;
  } catch {
    return COLUMNS; // No terminal, for all that `--progress bar` was given.
  }
}

function sum(events: Iterable<CopyEvent>): number {
  let total = 0;
  for (const { bytes } of events) total += bytes;
  return total;
}

function fileLine(name: string, { bytes, size }: CopyEvent, rate: number, width: number): string {
  const columns = layOut(width);
  const short = cutBeginning(name.replaceAll(/\p{Cc}/gu, "?"), columns.name);
  const parts = [short + " ".repeat(columns.name - textWidth(short))];
  if (!size) return fitParts([...parts, ` ${formatBytes(bytes)}`], width);
  const share = Math.min(1, bytes / size);
  if (columns.bar > 0) parts.push(` [${"#".repeat(Math.round(share * columns.bar)).padEnd(columns.bar, ".")}]`);
  parts.push(` ${Math.floor(share * 100)}%`, ` of ${formatBytes(size)}`, `, ${timeLeft(size - bytes, rate)} left`);
  return fitParts(parts, width);
}

/** The columns of a name and of a bar: first the name gives way, then the bar. */
function layOut(width: number): { readonly name: number; readonly bar: number } {
  const room = width - TAIL - " ".length;
  const withBar = room - " []".length;
  const clampName = (columns: number) => Math.max(NAME.least, Math.min(NAME.most, columns));
  const name = clampName(withBar - BAR.most);
  const bar = Math.min(BAR.most, withBar - name);
  return bar < BAR.least ? { name: clampName(room), bar: 0 } : { name, bar };
}

/** As many whole parts as fit, the first one cut if it must be. */
function fitParts([first = "", ...others]: readonly string[], width: number): string {
  let line = cutEnd(first, width);
  for (const part of others) {
    if (textWidth(line) + textWidth(part) > width) break;
    line += part;
  }
  return line;
}

function timeLeft(bytes: number, rate: number): string {
  return rate > 0 ? formatTime(Math.max(0, bytes) / rate) : "?";
}

/** Bytes for a person: `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Seconds for a person: `1m05s`. */
export function formatTime(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  return whole < 3600
    ? `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`
    : `${Math.floor(whole / 3600)}h${String(Math.floor(whole % 3600 / 60)).padStart(2, "0")}m`;
}
