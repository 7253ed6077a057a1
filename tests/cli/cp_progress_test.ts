// What podwire cp shows of its way, on a terminal that wraps as real ones do.
import { assertEquals, assertThrows } from "@std/assert";
import { formatBytes, formatTime, Progress } from "../../lib/cli/cp_progress.ts";
import { countRows, cutBeginning, cutEnd, textWidth } from "../../lib/cli/display_width.ts";
import { UsageError } from "../../lib/cli/flags.ts";

interface Row {
  /** A cell a column; a wide character has an empty one behind it. */
  cells: string[];
  /** Whether the next row goes on with the same line. */
  wrapped: boolean;
}

/** As much of a terminal (ECMA-48, behind a driver that makes CR LF of LF) as bars need, of endless height. */
class Terminal {
  #columns: number;
  #rows: Row[] = [{ cells: [], wrapped: false }];
  #row = 0;
  #column = 0;

  constructor(columns: number) {
    this.#columns = columns;
  }

  get columns(): number {
    return this.#columns;
  }

  /** What is to be seen, without the empty row that the cursor is in. */
  get screen(): string[] {
    const texts = this.#rows.map(({ cells }) => cells.join(""));
    return texts.at(-1) === "" ? texts.slice(0, -1) : texts;
  }

  /** Whether no line took more than a row. */
  get flat(): boolean {
    return this.#rows.every(({ wrapped }) => !wrapped);
  }

  write(text: string): void {
    // deno-lint-ignore no-control-regex -- Control characters are what a terminal is about.
    for (const [part, count, control] of text.matchAll(/\x1b\[(\d*)([AJ])|\x1b|[^]/gu)) {
      if (control === "A") this.#row = Math.max(0, this.#row - Number(count || 1)); // CUU
      else if (control === "J") this.#eraseBelow(); // ED
      else if (part === "\n") this.#feed();
      else if (part === "\r") this.#column = 0;
      else if (part < " ") throw new Error(`not a control of this terminal: ${JSON.stringify(part)}`);
      else this.#print(part);
    }
  }

  /** Gets another width, and wraps anew what is there, as most terminals do. */
  resize(columns: number): void {
    this.#columns = columns;
    const lines: string[][] = [];
    let goesOn = false;
    for (const { cells, wrapped } of this.#rows) {
      if (goesOn) lines.at(-1)?.push(...cells);
      else lines.push([...cells]);
      goesOn = wrapped;
    }
    this.#rows = [{ cells: [], wrapped: false }];
    this.#row = this.#column = 0;
    for (const [i, cells] of lines.entries()) {
      if (i > 0) this.#feed();
      this.write(cells.join(""));
    }
  }

  #print(character: string): void {
    const width = /[\u0300-\u036f]/.test(character) ? 0 : /[\u4e00-\u9fff\u{1f300}-\u{1f6ff}]/u.test(character) ? 2 : 1;
    const { cells } = this.#rows[this.#row]!;
    if (width === 0) return void (cells[cells.length - 1] += character);
    if (this.#column + width > this.#columns) {
      this.#rows[this.#row]!.wrapped = true;
      this.#feed();
    }
    this.#rows[this.#row]!.cells.splice(this.#column, width, character, ...(width === 2 ? [""] : []));
    this.#column += width;
  }

  #feed(): void {
    this.#row++;
    this.#column = 0;
    this.#rows[this.#row] ??= { cells: [], wrapped: false };
  }

  #eraseBelow(): void {
    this.#rows[this.#row]!.cells.length = this.#column;
    this.#rows.length = this.#row + 1;
  }
}

function progress(mode: string, options: { lines?: boolean; terminal?: boolean; now?: () => number } = {}) {
  const written: string[] = [];
  let time = 0;
  const shown = new Progress(mode, {
    lines: false,
    terminal: false,
    write: (text) => written.push(text),
    columns: () => 80,
    now: () => time += 1000,
    ...options,
  });
  return { shown, text: () => written.join("") };
}

Deno.test("Progress shows bars on a terminal only, and a line a file when it is told to", () => {
  const event = { path: "a", bytes: 512, size: 1024, done: false };
  const quiet = progress("auto");
  quiet.shown.update(event, "a");
  quiet.shown.update({ ...event, bytes: 1024, done: true }, "a");
  quiet.shown[Symbol.dispose]();
  assertEquals(quiet.text(), "");

  const bars = progress("auto", { terminal: true });
  bars.shown.update(event, "a\nb");
  assertEquals(bars.text().includes("a?b"), true, "no name moves the cursor");
  assertEquals(bars.text().includes("[############............] 50% of 1.0 KiB"), true, bars.text());

  const lines = progress("none", { lines: true });
  lines.shown.update({ ...event, bytes: 1024, done: true }, "a");
  assertEquals(lines.text(), "a (1.0 KiB)\n");
});

Deno.test("Progress tells how long all of it takes, if that is known of every source", () => {
  const half = { path: "a", bytes: 1024, size: 1024, done: true };
  let now = 0;
  const bars = progress("bar", { now: () => now });
  bars.shown.expect(1024);
  bars.shown.expect(1024);
  now = 2000;
  bars.shown.update(half, "a");
  assertEquals(bars.text(), "1 file, 1.0 KiB of 2.0 KiB, 512 B/s, 2s left\n");

  const stdin = progress("bar", { now: () => now });
  stdin.shown.expect(1024);
  stdin.shown.expect(undefined);
  now = 4000;
  stdin.shown.update(half, "a");
  assertEquals(stdin.text(), "1 file, 1.0 KiB, 512 B/s, 2s\n");
});

Deno.test("Progress writes JSON for programs", () => {
  const { shown, text } = progress("json");
  shown.update({ path: "a", bytes: 10, size: undefined, done: false }, "a");
  shown.update({ path: "a", bytes: 20, size: 20, done: true }, "a");
  shown[Symbol.dispose]();
  assertEquals(text().trim().split("\n").map((line) => JSON.parse(line)), [
    { path: "a", bytes: 10, done: false },
    { path: "a", bytes: 20, size: 20, done: true },
    { files: 1, bytes: 20, seconds: 2 },
  ]);
  assertThrows(() => progress("loud"), UsageError, "--progress must be one of");
});

Deno.test("formatBytes() and formatTime() are for people", () => {
  assertEquals([0, 1023, 1536, 5 << 20, 3 * 2 ** 40].map(formatBytes), [
    "0 B",
    "1023 B",
    "1.5 KiB",
    "5.0 MiB",
    "3.0 TiB",
  ]);
  assertEquals([0, 59, 65, 3700].map(formatTime), ["0s", "59s", "1m05s", "1h01m"]);
});

const LONG = "deeply/nested/folder/of/a/project/with-a-name-that-does-not-end.tar.gz";
const WIDE_NAME = "資料/報告書/🚀e\u0301te\u0301/最終版最終版最終版最終版.pdf";
const GIB = 2 ** 30;

/** Bars on a terminal, of which each call of `step` draws a picture. */
function barsOn(terminal: Terminal) {
  let now = 0;
  const bars = new Progress("bar", {
    lines: true,
    terminal: true,
    write: (text) => terminal.write(text),
    columns: () => terminal.columns,
    now: () => now,
  });
  bars.expect(300 * GIB);
  const step = (name: string, share: number) => {
    now += 1000;
    bars.update({ path: name, bytes: share * 100 * GIB, size: 100 * GIB, done: share === 1 }, name);
  };
  return { bars, step };
}

for (const columns of [10, 30, 60, 80, 120]) {
  Deno.test(`Progress leaves no stale line on a terminal of ${columns} columns`, () => {
    const terminal = new Terminal(columns);
    const { bars, step } = barsOn(terminal);
    for (let share = 0; share < 1; share += 1 / 16) {
      for (const name of [LONG, WIDE_NAME, "c"]) step(name, share);
      assertEquals(terminal.screen.length, 4, terminal.screen.join("\n"));
      assertEquals(terminal.flat, true, terminal.screen.join("\n"));
    }
    bars.note("n");
    step("c", 1);
    assertEquals(terminal.screen.filter((line) => line.startsWith("1 file")).length, 1);
    assertEquals(terminal.screen[0], "n");
    bars[Symbol.dispose]();
    assertEquals(terminal.screen.at(-1)?.slice(0, 6), "1 file");
    assertEquals(terminal.screen.filter((line) => line.includes("%")), []);
  });
}

Deno.test("Progress follows a terminal that changes its width", () => {
  const terminal = new Terminal(100);
  const { step } = barsOn(terminal);
  for (const columns of [100, 50, 120, 40, 30]) {
    terminal.resize(columns);
    for (const name of [LONG, WIDE_NAME, "c"]) step(name, columns / 200);
    assertEquals(terminal.screen.length, 4, terminal.screen.join("\n"));
  }
});

Deno.test("Progress gives up the name first, then the bar, then what is last", () => {
  const at = (columns: number) => {
    const terminal = new Terminal(columns);
    const { step } = barsOn(terminal);
    step("a.txt", 1 / 4);
    for (let i = 1; i <= 4; i++) step(LONG, i / 8);
    return terminal.screen;
  };
  assertEquals(at(120), [
    "a.txt                                    [######..................] 25% of 100.0 GiB, 5s left",
    "…ct/with-a-name-that-does-not-end.tar.gz [############............] 50% of 100.0 GiB, 3s left",
    "0 files, 75.0 GiB of 300.0 GiB, 15.0 GiB/s, 15s left",
  ]);
  assertEquals(at(80), [
    "a.txt                [######..................] 25% of 100.0 GiB, 5s left",
    "…does-not-end.tar.gz [############............] 50% of 100.0 GiB, 3s left",
    "0 files, 75.0 GiB of 300.0 GiB, 15.0 GiB/s, 15s left",
  ]);
  assertEquals(at(60), [
    "a.txt        [###.........] 25% of 100.0 GiB, 5s left",
    "…-end.tar.gz [######......] 50% of 100.0 GiB, 3s left",
    "0 files, 75.0 GiB of 300.0 GiB, 15.0 GiB/s, 15s left",
  ]);
  assertEquals(at(30), [
    "a.txt        25% of 100.0 GiB",
    "…-end.tar.gz 50% of 100.0 GiB",
    "0 files, 75.0 GiB",
  ]);
});

Deno.test("display widths: wide characters are two columns, combining ones none", () => {
  const rows: Array<[text: string, width: number]> = [
    ["", 0],
    ["abc", 3],
    ["e\u0301", 1],
    ["資料", 4],
    ["한글ｱ", 5],
    ["！", 2],
    ["🚀", 2],
    ["❤\ufe0f", 2],
    ["ünïcode", 7],
  ];
  for (const [text, width] of rows) assertEquals(textWidth(text), width, text);
  assertEquals(cutEnd("a資料", 4), "a資");
  assertEquals([5, 4, 1, 0].map((columns) => cutBeginning("abcdef", columns)), ["…cdef", "…def", "…", ""]);
  assertEquals(cutBeginning("報告.pdf", 6), "….pdf");
  assertEquals(["", "abcd", "abcde", "a資料"].map((line) => countRows(line, 4)), [1, 1, 2, 2]);
});
