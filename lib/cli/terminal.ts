/**
 * The terminal that this process runs in: raw mode, which is always taken back, and its size.
 *
 * @module
 */
import type { TerminalSize } from "../channels/mod.ts";
import { setRawLines } from "./standard_streams.ts";

/** What ends the process from outside and would leave the terminal raw: Deno restores it at an exit or an uncaught error only. */
const SIGNALS: readonly Deno.Signal[] = ["SIGHUP", "SIGINT", "SIGTERM", "SIGQUIT"];

/**
 * Raw mode, from construction to disposal: every key reaches the command, Ctrl-C too. On
 * SIGHUP, SIGINT, SIGTERM and SIGQUIT the terminal is restored and the process exits with 1, as kubectl does.
 */
export class RawTerminal implements Disposable {
  readonly #watchers: Array<() => void> = [];
  readonly #exit = () => {
    this[Symbol.dispose]();
    Deno.exit(1);
  };

  /** Takes standard input, which must be a terminal, into raw mode. */
  constructor() {
    Deno.stdin.setRaw(true);
    setRawLines(true);
    leaveOutputAlone();
    for (const signal of handledSignals()) Deno.addSignalListener(signal, this.#exit);
  }

  /** Calls `listener` whenever the size has changed, the first time if it is no longer `last`. */
  watchSize(last: TerminalSize | undefined, listener: (size: TerminalSize) => void): void {
    const check = () => {
      const size = terminalSize();
      if (!size || (size.columns === last?.columns && size.rows === last.rows)) return;
      last = size;
      listener(size);
    };
    if (Deno.build.os === "windows") { // It has no SIGWINCH.
      const timer = setInterval(check, 250);
      this.#watchers.push(() => clearInterval(timer));
    } else {
      Deno.addSignalListener("SIGWINCH", check);
      this.#watchers.push(() => Deno.removeSignalListener("SIGWINCH", check));
    }
    check(); // After the listener is there: no change falls between.
  }

  /** Restores the terminal. */
  [Symbol.dispose](): void {
    for (const stop of this.#watchers.splice(0)) stop();
    for (const signal of handledSignals()) Deno.removeSignalListener(signal, this.#exit);
    setRawLines(false);
    try {
      Deno.stdin.setRaw(false);
    } catch {
      // After a hang-up there is no terminal left to restore.
    }
  }
}

/** The terminal's size in characters; `undefined` if it does not tell. */
export function terminalSize(): TerminalSize | undefined {
  try {
    const { columns, rows } = Deno.consoleSize();
    return columns > 0 && rows > 0 ? { columns, rows } : undefined;
  } catch {
    return undefined; // Neither stdin, stdout nor stderr tells it.
  }
}

/**
 * Deno's raw mode still turns each LF into CR LF, which a full-screen program that moves the cursor down by a bare LF does
 * not survive. `stty` turns that off, if it may be run; restoring the terminal brings it back.
 */
function leaveOutputAlone(): void {
  if (Deno.build.os === "windows") return;
  if (Deno.permissions.querySync({ name: "run", command: "stty" }).state !== "granted") return;
  try {
    new Deno.Command("stty", { args: ["-opost"], stdin: "inherit", stdout: "null", stderr: "null" }).outputSync();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error; // Without it most programs look right all the same.
  }
}

function handledSignals(): readonly Deno.Signal[] {
  return Deno.build.os === "windows" ? ["SIGINT"] : SIGNALS;
}
