/**
 * Words that a user gives.
 *
 * @module
 */

/**
 * Checks a word from outside, as Deno checks those of its own options. No type keeps a misspelt one out, and what is
 * only compared with each word in turn would be none of them in silence.
 *
 * @param what What the word is called in the error: the name of an option.
 * @returns The word.
 * @throws {TypeError} If it is none of `words`.
 */
export function oneOf<T extends string>(what: string, word: T, words: readonly T[]): T {
  if (words.includes(word)) return word;
  const expected = words.map((word) => `\`${word}\``).join(", ");
  throw new TypeError(`${what}: unknown variant \`${String(word)}\`, expected one of ${expected}`);
}
