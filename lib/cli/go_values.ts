/**
 * Flag values as Go's standard library reads them, with its error texts: kubectl prints those.
 *
 * @module
 */

import { MAX_DELAY } from "../bytes/mod.ts";

/** A value that cannot be read; the text is Go's. */
export class ValueError extends Error {
  /** The class's name. */
  override name = "ValueError";
}

/**
 * Reads a boolean (Go `strconv.ParseBool`).
 *
 * @throws {ValueError} If `text` is none.
 */
export function parseBoolean(text: string): boolean {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  throw new ValueError(`strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
}

/**
 * Reads a 32-bit decimal integer (Go `strconv.ParseInt`).
 *
 * @throws {ValueError} If `text` is none.
 */
export function parseInteger(text: string): number {
  if (!/^[+-]?\d+$/.test(text)) {
    throw new ValueError(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  const value = Number(text);
  if (Math.abs(value) > 0x7fffffff) {
    throw new ValueError(`strconv.ParseInt: parsing ${JSON.stringify(text)}: value out of range`);
  }
  return value;
}

const MILLISECONDS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "µs": 1e-3, // U+00B5
  "μs": 1e-3, // U+03BC
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * Reads a duration such as `1m30s`, `1.5h` or `0` (Go `time.ParseDuration`).
 *
 * @returns Milliseconds, at most {@linkcode MAX_DELAY}: no timer waits longer.
 * @throws {ValueError} If `text` is none.
 */
export function parseDuration(text: string): number {
  const quoted = JSON.stringify(text);
  const sign = text.startsWith("-") ? -1 : 1;
  let rest = text.replace(/^[+-]/, "");
  if (rest === "0") return 0;
  if (rest === "") throw new ValueError(`time: invalid duration ${quoted}`);
  let total = 0;
  while (rest !== "") {
    const [part, number = "", unit = ""] = /^(\d+\.?\d*|\.\d+)([^\d.]*)/.exec(rest) ?? [];
    if (part === undefined) throw new ValueError(`time: invalid duration ${quoted}`);
    if (unit === "") throw new ValueError(`time: missing unit in duration ${quoted}`);
    const scale = MILLISECONDS[unit];
    if (scale === undefined) {
      throw new ValueError(`time: unknown unit ${JSON.stringify(unit)} in duration ${quoted}`);
    }
    total += Number(number) * scale;
    rest = rest.slice(part.length);
  }
  return Math.min(sign * total, MAX_DELAY);
}

/**
 * Reads `--request-timeout`: a duration, or a bare number of seconds (client-go `tools/clientcmd`).
 *
 * @returns Milliseconds, at most {@linkcode MAX_DELAY}; 0 is no limit.
 * @throws {ValueError} If `text` is neither.
 */
export function parseRequestTimeout(text: string): number {
  if (text === "") return 0;
  if (/^\+?\d+$/.test(text)) return Math.min(Number(text) * 1000, MAX_DELAY);
  try {
    return parseDuration(text);
  } catch (cause) {
    const error = new ValueError(
      "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a " +
        `corresponding time unit (e.g. 1s | 2m | 3h): --request-timeout=${text}`,
    );
    error.cause = cause;
    throw error;
  }
}
