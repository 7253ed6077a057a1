/**
 * How much room a text takes on a terminal.
 *
 * @module
 */
import textWidth from "string-width";

export { textWidth };

/** What a reader takes for one character: it is not divided. */
const characters = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** The beginning of `text` that fits into `columns`. */
export function cutEnd(text: string, columns: number): string {
  let width = 0;
  let kept = "";
  for (const { segment } of characters.segment(text)) {
    width += textWidth(segment);
    if (width > columns) break;
    kept += segment;
  }
  return kept;
}

/** `text` itself, or the end of it that fits into `columns` behind an ellipsis. */
export function cutBeginning(text: string, columns: number): string {
  if (textWidth(text) <= columns) return text;
  let width = textWidth(ELLIPSIS);
  let kept = "";
  for (const { segment } of [...characters.segment(text)].reverse()) {
    width += textWidth(segment);
    if (width > columns) break;
    kept = segment + kept;
  }
  return cutEnd(ELLIPSIS + kept, columns);
}

const ELLIPSIS = "…";

/** The rows that a line takes where it has `columns`. */
export function countRows(line: string, columns: number): number {
  let rows = 1;
  let used = 0;
  for (const { segment } of characters.segment(line)) {
    const width = textWidth(segment);
    if (used + width > columns) { // A wide character is not divided.
      rows++;
      used = 0;
    }
    used += width;
  }
  return rows;
}
