/**
 * This process's own standard streams: every byte written, and a reader that went away noticed.
 *
 * @module
 */

import { PodwireError, systemText } from "../bytes/mod.ts";

/** Nobody reads our output any more (`podwire … | head -1`): a quiet end, not a failure to tell of. */
export class OutputClosedError extends Error {
  /** The class's name. */
  override name = "OutputClosedError";
}

/** A place for bytes, as `Deno.stdout` is one. */
export interface ByteSink {
  /** Writes some of `bytes`; how many is what it resolves to. */
  write(bytes: Uint8Array): Promise<number>;
}

/**
 * Writes all of `bytes`, in as many steps as it takes.
 *
 * @throws {OutputClosedError} If the reader has gone.
 */
export async function writeAll(sink: ByteSink, bytes: Uint8Array): Promise<void> {
  try {
    for (let written = 0; written < bytes.length;) written += await sink.write(bytes.subarray(written));
  } catch (cause) {
    if (cause instanceof Deno.errors.BrokenPipe) throw new OutputClosedError("standard output was closed", { cause });
    const name = sink === Deno.stdout ? "standard output" : sink === Deno.stderr ? "standard error" : undefined;
    if (name) throw new PodwireError(`cannot write ${name}: ${systemText(cause)}`, { cause });
    throw cause;
  }
}

/** Writes all of `text`, as UTF-8. */
export async function writeText(sink: ByteSink, text: string): Promise<void> {
  await writeAll(sink, new TextEncoder().encode(text));
}

/** Whether the terminal here is raw: a line feed alone does not go back to its first column. */
let isRaw = false;

/** Tells that the terminal here has become raw, or no longer is. */
export function setRawLines(raw: boolean): void {
  isRaw = raw;
}

/** `text` as stderr takes it now. */
export function stderrText(text: string): string {
  return isRaw && Deno.stderr.isTerminal() ? text.replaceAll("\n", "\r\n") : text;
}

/** Writes `text` to stderr at once: what is only queued would be lost at the process's end. */
export function warn(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(stderrText(text)));
  } catch {
    // Nobody is left to be told.
  }
}

/** The buffer of one copy, in bytes: fewer and larger writes cost less. */
const BUFFER_SIZE = 256 * 1024;

/** Pieces smaller than this many bytes gather for this many milliseconds: a write costs a thread's wake-up. */
const GATHER_BELOW = 64 * 1024;
const GATHER_TIME = 1;

/**
 * Writes everything from `source` to `sink`.
 *
 * @throws {OutputClosedError} If the sink's reader has gone; `source` is cancelled then.
 */
export async function copyAll(source: ReadableStream<Uint8Array>, sink: ByteSink): Promise<void> {
  const reader = source.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(BUFFER_SIZE);
  try {
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done) return;
      await writeAll(sink, value);
      buffer = value.buffer;
      // A small piece says that the source is the slower one: its next pieces gather for a moment, for one write.
      if (value.length < GATHER_BELOW) await new Promise((resolve) => setTimeout(resolve, GATHER_TIME));
    }
  } catch (error) {
    reader.cancel(error).catch(() => {}); // It broke by itself: the error says so.
    throw error;
  }
}
