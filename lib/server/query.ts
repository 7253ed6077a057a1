/**
 * Query strings as the API server reads them.
 *
 * @module
 */

/** The parameters of a query, in order. */
export class Query {
  readonly #pairs: ReadonlyArray<readonly [string, string]>;

  /** Parses what follows the `?`. As in Go, a pair with a raw `;` or a malformed escape does not count. */
  constructor(text: string) {
    this.#pairs = text.split("&").filter((pair) => pair !== "" && !pair.includes(";")).flatMap(parsePair);
  }

  /** The first value of a parameter. */
  get(name: string): string | undefined {
    return this.getAll(name)[0];
  }

  /** All values of a parameter. */
  getAll(name: string): string[] {
    return this.#pairs.filter(([key]) => key === name).map(([, value]) => value);
  }

  /** A flag: everything but `0` and `false` is true, also nothing (apimachinery `runtime/conversion.go`). */
  flag(name: string): boolean {
    const value = this.get(name);
    return value !== undefined && value !== "0" && value.toLowerCase() !== "false";
  }
}

function parsePair(pair: string): Array<readonly [string, string]> {
  const at = pair.indexOf("=");
  const [key, value] = at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
  try {
    return [[unescape(key), unescape(value)]];
  } catch {
    return []; // A malformed escape.
  }
}

function unescape(text: string): string {
  return decodeURIComponent(text.replaceAll("+", " "));
}
