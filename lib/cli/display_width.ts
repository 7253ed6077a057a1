/**
 * How much room a text takes on a terminal.
 *
 * @module
 */

/** What takes no place of its own: combining marks, joiners. */
const ZERO = /^[\p{Mn}\p{Me}\p{Cf}]$/u;

/** U+FE0F makes the character before it an emoji, a column wider. */
const WIDENS = "\ufe0f";

/** What takes two columns: most of what Unicode's EastAsianWidth.txt calls W or F. */
const WIDE =
  /^[\p{Emoji_Presentation}\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\u3000-\u303e\u30fb\u30fc\uff01-\uff60\uffe0-\uffe6]$/u;

/** Katakana in half of its width. */
const HALF = /^[\uff61-\uffdc]$/;

/** The columns that one character of a text takes. */
function characterWidth(character: string): number {
  if (character === WIDENS) return 1;
  if (ZERO.test(character)) return 0;
  return WIDE.test(character) && !HALF.test(character) ? 2 : 1;
}

/** The columns that `text` takes in one line. */
export function textWidth(text: string): number {
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

/** The beginning of `text` that fits into `columns`. */
export function cutEnd(text: string, columns: number): string {
  let width = 0;
  let kept = "";
  for (const character of text) {
    width += characterWidth(character);
    if (width > columns) break;
    kept += character;
  }
  return kept;
}

/** `text` itself, or the end of it that fits into `columns` behind an ellipsis. */
export function cutBeginning(text: string, columns: number): string {
  if (textWidth(text) <= columns) return text;
  let width = textWidth(ELLIPSIS);
  let kept = "";
  for (const character of [...text].reverse()) {
    width += characterWidth(character);
    if (width > columns) break;
    kept = character + kept;
  }
  return cutEnd(ELLIPSIS + kept, columns);
}

const ELLIPSIS = "…";

/** The rows that a line takes where it has `columns`. */
export function countRows(line: string, columns: number): number {
  let rows = 1;
  let used = 0;
  for (const character of line) {
    const width = characterWidth(character);
    if (used + width > columns) { // A wide character is not divided.
      rows++;
      used = 0;
    }
    used += width;
  }
  return rows;
}
