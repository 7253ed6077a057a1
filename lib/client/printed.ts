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
  const reader = output.getReader(); // Not every browser iterates over a stream.
  for (let text = "";;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value, { stream: true });
    if (text.length > MAX_PRINTED) text = CUT + text.slice(-MAX_PRINTED);
  }
}
