/**
 * What a program in a container prints for podwire itself to read.
 *
 * @module
 */

/** As much of it is kept, in characters: it may print without an end. */
const MAX_PRINTED = 64 * 1024;

/** In the place of what is not kept: a line of its own. */
const CUT = "…\n";

/** What a program prints to its end. Of much the end: there it says how it ended. */
export async function readPrinted(output: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of output) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MAX_PRINTED) text = CUT + text.slice(-MAX_PRINTED);
  }
  return text + decoder.decode();
}
