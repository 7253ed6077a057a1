/**
 * The terminal's size on channel 4.
 *
 * @module
 */

/** The size of a terminal, in character cells, as `Deno.consoleSize()` gives it. */
export interface TerminalSize {
  /** Cells in a row. */
  readonly columns: number;
  /** Rows. */
  readonly rows: number;
}

/**
 * Checks a size from outside: Kubernetes reads no more sizes behind one that is none.
 *
 * @throws {TypeError} If `columns` or `rows` is no number.
 * @throws {RangeError} If one of them is not a whole number from 0 to 65 535.
 */
export function checkSize({ columns, rows }: TerminalSize): void {
  for (const [name, value] of Object.entries({ columns, rows })) {
    if (typeof value !== "number") throw new TypeError(`${name}: expected a number, and not ${String(value)}`);
    if (!isU16(value)) throw new RangeError(`${name}: ${value} is not a whole number from 0 to 65535`);
  }
}

/** A size as client-go sends it: capitalised keys, a line feed behind (`tools/remotecommand/resize.go`). */
export function encodeResize(size: TerminalSize): Uint8Array {
  return new TextEncoder().encode(
    `{"Width":${size.columns},"Height":${size.rows}}\n`,
  );
}

/**
 * Reads sizes from channel 4 on the server's side, where it is a stream of JSON values
 * that messages may split or join. What cannot be a size is skipped.
 */
export class ResizeDecoder {
  #text = "";
  readonly #decoder = new TextDecoder();

  /** The sizes that are complete with `data`. */
  decode(data: Uint8Array): TerminalSize[] {
    this.#text += this.#decoder.decode(data, { stream: true });
    const sizes: TerminalSize[] = [];
    for (
      let end = this.#text.indexOf("}");
      end >= 0;
      end = this.#text.indexOf("}")
    ) {
      // From the last brace on, so that whatever stands in front costs no size.
      const size = parseSize(this.#text.slice(Math.max(0, this.#text.lastIndexOf("{", end)), end + 1));
      this.#text = this.#text.slice(end + 1);
      if (size) sizes.push(size);
    }
    // No size is this long: the peer sends something else.
    if (this.#text.length > MAX_SIZE_LENGTH) this.#text = "";
    return sizes;
  }
}

const MAX_SIZE_LENGTH = 1024;

function parseSize(json: string): TerminalSize | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined; // Upstream stops reading sizes here; one bad size should not cost the later ones.
  }
  if (typeof value !== "object" || value === null) return undefined;
  let columns: unknown;
  let rows: unknown;
  for (const [key, entry] of Object.entries(value)) {
    // Go's decoder matches keys in any case.
    if (key.toLowerCase() === "width") columns = entry;
    if (key.toLowerCase() === "height") rows = entry;
  }
  return isU16(columns) && isU16(rows) ? { columns, rows } : undefined;
}

function isU16(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 &&
    (value as number) <= 0xffff;
}
