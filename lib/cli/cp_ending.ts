/**
 * How `podwire cp` ends before its time.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";

/** Not SIGHUP: who starts the command with nohup wants it to live on. */
const ENDINGS: ReadonlyArray<readonly [signal: Deno.Signal, number: number]> = Deno.build.os === "windows"
  ? [["SIGINT", 2], ["SIGBREAK", 21]]
  : [["SIGINT", 2], ["SIGTERM", 15]];

/**
 * Listens for Ctrl-C and requests to end: the first aborts, so that what was staged is removed; the second ends the
 * process at once.
 */
export class Ending implements Disposable {
  readonly #ended = new AbortController();
  readonly #listeners = new Map<Deno.Signal, () => void>();
  #code: number | undefined;

  /** @param onEnd Is told of the first signal. */
  constructor(onEnd: () => void) {
    for (const [signal, number] of ENDINGS) {
      const listener = () => {
        if (this.#code !== undefined) Deno.exit(this.#code);
        this.#code = 128 + number;
        onEnd();
        this.#ended.abort(new PodwireError(`the copy was ended by ${signal}`));
      };
      this.#listeners.set(signal, listener);
      Deno.addSignalListener(signal, listener);
    }
  }

  /** Aborts at the first signal. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** What a shell expects of a command that a signal has ended; `undefined` if none has come. */
  get code(): number | undefined {
    return this.#code;
  }

  /** Signals do again what they did before. */
  [Symbol.dispose](): void {
    for (const [signal, listener] of this.#listeners) Deno.removeSignalListener(signal, listener);
  }
}
