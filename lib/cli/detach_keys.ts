/**
 * The keys that leave an attached terminal without ending what runs there (moby/term `ascii.go`, `proxy.go`).
 *
 * @module
 */
import { UsageError } from "./flags.ts";

/** Control characters by their code, 0 to 31. */
const CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_";

/**
 * Reads `--detach-keys`: keys with commas between them, each one character, `ctrl-` and a character, or `DEL`.
 *
 * @throws {UsageError} If a key is none of those.
 */
export function parseDetachKeys(text: string): Uint8Array {
  return Uint8Array.from(text.split(","), (key) => {
    const code = key.charCodeAt(0);
    if (key.length === 1 && code < 128) return code;
    if (key === "DEL") return 127;
    const control = key.startsWith("ctrl-") && key.length === 6 ? CONTROLS.indexOf(key.charAt(5)) : -1;
    if (control < 0) throw new UsageError(`could not bind detach keys: Unknown character: '${key}'`);
    return control;
  });
}

/** Looks for a key sequence in what is typed, across chunks. */
export class DetachKeys {
  readonly #keys: Uint8Array;
  #matched = 0;

  /** Looks for `keys`. */
  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  /**
   * Takes what was typed next.
   *
   * @returns What goes on to the container, and whether the sequence was completed; what follows it is dropped. The beginning
   * of a sequence is held back until it is clear that it is none.
   */
  filter(typed: Uint8Array): { passed: Uint8Array; detached: boolean } {
    const passed: number[] = [];
    for (const key of typed) {
      if (key !== this.#keys[this.#matched]) {
        passed.push(...this.#keys.subarray(0, this.#matched));
        this.#matched = 0;
        if (key !== this.#keys[0]) {
          passed.push(key);
          continue;
        }
      }
      this.#matched++;
      if (this.#matched === this.#keys.length) return { passed: Uint8Array.from(passed), detached: true };
    }
    return { passed: Uint8Array.from(passed), detached: false };
  }

  /** Gives back what is held: at the end of what is typed it is no beginning of the sequence. */
  flush(): Uint8Array {
    const held = this.#keys.slice(0, this.#matched);
    this.#matched = 0;
    return held;
  }
}
