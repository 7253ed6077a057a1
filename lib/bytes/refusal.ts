/**
 * The text of an answer that is an error.
 *
 * @module
 */

/** As much of it is read, in characters. */
const MAX_TEXT = 64 * 1024;

/**
 * The text of `body`, at most 64 KiB of it, as far as it came: of a refusal whose body breaks off the rest still counts.
 *
 * @throws The reason of `signal`.
 */
export async function readRefusal(
  body: ReadableStream<Uint8Array> | null,
  signal?: AbortSignal,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const piece of body ?? []) {
      text += decoder.decode(piece, { stream: true });
      if (text.length >= MAX_TEXT) break;
    }
  } catch {
    signal?.throwIfAborted();
  }
  return text.slice(0, MAX_TEXT);
}
