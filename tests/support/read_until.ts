/**
 * Reading what a program prints while it runs.
 *
 * @module
 */

/** Reads until `isEnough` is content with the text so far, or the end; gives that text. The stream stays open. */
export async function readUntil(
  stream: ReadableStream<Uint8Array>,
  isEnough: (text: string) => boolean,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const part of stream.values({ preventCancel: true })) {
    text += decoder.decode(part, { stream: true });
    if (isEnough(text)) break;
  }
  return text;
}
