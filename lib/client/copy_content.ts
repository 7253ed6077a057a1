/**
 * What is copied into a container: bytes that can be read again from where a copy broke off.
 *
 * @module
 */
import { concat, toBytes } from "../bytes/mod.ts";
import { CopyError } from "./copy_error.ts";

/** A source of bytes. */
export interface Content {
  /** How many, if that is known. */
  readonly size?: number | undefined;
  /** Whether it has holes worth keeping. */
  readonly sparse?: boolean;
  /** Whether it can be opened only once, at 0. */
  readonly once?: boolean;
  /**
   * Whether what it opens is a byte stream that fills its reader's own buffer (BYOB), and answers that at its end, too: not every one
   * does. One buffer is read into again and again then, which takes less time and memory.
   */
  readonly byob?: boolean;
  /** Reads from `offset` on. What was opened before has been read to its end by then, or cancelled. */
  open(offset: number): ReadableStream<Uint8Array>;
  /** Reads all of it at once, instead. */
  bytes?(): Promise<Uint8Array>;
}

/** What {@linkcode Pod.upload} takes. */
export type UploadSource = ReadableStream<Uint8Array> | Blob | ArrayBufferView | ArrayBuffer | Content;

/**
 * `source` as something that can be read again.
 *
 * @throws {TypeError} If it is no source.
 */
export function contentOf(source: UploadSource): Content {
  if (source instanceof ReadableStream) return new StreamContent(source);
  if (source instanceof Blob) return { size: source.size, open: (offset) => source.slice(offset).stream() };
  if (!isContent(source)) return contentOf(new Blob([new Uint8Array(toBytes(source))]));
  return source.once ? new StreamContent(source.open(0), source.size) : source;
}

function isContent(source: unknown): source is Content {
  return typeof source === "object" && source !== null && "open" in source;
}

/** How much of a stream is kept after it was sent, in bytes: more than all buffers on the way to a container hold. */
const KEPT = 32 * 1024 * 1024;

/** A stream, which gives its bytes once: the last of them are kept, for those that are lost on the way. */
export class StreamContent implements Content {
  readonly size: number | undefined;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #kept: Uint8Array[] = [];
  /** Where what is kept starts, and where it ends. */
  #start = 0;
  #end = 0;
  #turn = 0;
  #reading: Promise<boolean> | undefined;

  /** The bytes of `stream`, which is locked from now on. */
  constructor(stream: ReadableStream<Uint8Array>, size?: number) {
    this.size = size;
    this.#reader = stream.getReader();
  }

  /** Cancels the stream, and lets go of it. */
  async cancel(reason: unknown): Promise<void> {
    try {
      await this.#reader.cancel(reason);
    } finally {
      this.#reader.releaseLock();
    }
  }

  open(offset: number): ReadableStream<Uint8Array> {
    if (offset < this.#start || offset > this.#end) {
      throw new CopyError(
        `cannot go on at byte ${offset}: of this stream only the bytes from ${this.#start} on are kept. ` +
          "Copy from a file instead",
      );
    }
    const turn = ++this.#turn;
    let at = offset;
    return new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        while (at === this.#end) {
          this.#reading ??= this.#read();
          const more = await this.#reading;
          if (turn !== this.#turn) return controller.error(new CopyError("the stream is read elsewhere by now"));
          if (!more) return controller.close();
        }
        const chunk = this.#at(at);
        at += chunk.length;
        controller.enqueue(chunk);
      },
    }, { highWaterMark: 0 });
  }

  /** Reads a chunk; whether there was one. */
  async #read(): Promise<boolean> {
    const { done, value } = await this.#reader.read();
    if (done) return false; // And for ever: the promise stays.
    const chunk = toBytes(value);
    this.#kept.push(chunk);
    this.#end += chunk.length;
    while (this.#end - this.#start - this.#kept[0]!.length > KEPT) this.#start += this.#kept.shift()!.length;
    this.#reading = undefined;
    return true;
  }

  #at(offset: number): Uint8Array {
    let start = this.#start;
    for (const chunk of this.#kept) {
      if (offset < start + chunk.length) return chunk.subarray(offset - start);
      start += chunk.length;
    }
    throw new CopyError("the stream has no such byte");
  }
}

/** All of `content`, which is small. */
export async function readAll(content: Content): Promise<Uint8Array> {
  if (content.bytes) return toBytes(await content.bytes());
  const chunks: Uint8Array[] = [];
  for await (const chunk of content.open(0)) chunks.push(toBytes(chunk));
  return chunks.length === 1 ? chunks[0]! : concat(chunks);
}
