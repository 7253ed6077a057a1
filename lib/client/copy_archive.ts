/**
 * Tar archives, by two libraries: `tar-stream` reads names in any encoding, so that none of their bytes is lost, but writes long or
 * foreign ones in pax headers only, which busybox does not know; `modern-tar` writes GNU's, which every `tar` knows, but
 * reads UTF-8 only. It reads where `tar-stream` cannot be loaded, which needs Node's `events`: in a browser.
 *
 * @module
 */
import type { TarHeader } from "modern-tar";
import { concat, streamOf, Wakeup } from "../bytes/mod.ts";
import type { Content } from "./copy_content.ts";
import { bytesOf, fromText } from "./copy_names.ts";
import { CopyError } from "./copy_error.ts";
import type { EntryType } from "./copy_tree.ts";

/** What an archive says of an entry. */
export interface ArchiveHeader {
  /** Its name, a byte string. */
  readonly name: string;
  /** What it is. */
  readonly type: EntryType;
  /** Its permissions. */
  readonly mode: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** The number of its owner. */
  readonly uid: number;
  /** The number of its group. */
  readonly gid: number;
  /** Bytes of content. */
  readonly size: number;
  /** What a link leads to, a byte string. */
  readonly target?: string;
}

/** An entry that is read. */
export interface ArchiveEntry {
  /** What the archive says of it. */
  readonly header: ArchiveHeader;
  /** Its content, once; of a small file what has been read of it already. */
  readonly content: readonly Uint8Array[] | AsyncIterable<Uint8Array>;
}

/** How much of an archive may wait for its reader, in bytes. */
const READ_AHEAD = 256 * 1024;

/** Content up to this size, in bytes, is gathered as it comes: to iterate over it takes longer than to copy it. */
const SMALL = 16 * 1024;

/** The longest header, in bytes: Linux' paths end at 4 KiB. The library holds all of one in memory. */
const MAX_LONG_HEADER = 1024 * 1024;

/** What `modern-tar` may have taken behind an entry that is not asked for yet, in bytes: its own bound, and room for a chunk. */
const TAKEN_AHEAD = 2 * 1024 * 1024;

/**
 * Reads an archive. What is not read of an entry is skipped.
 *
 * @throws {CopyError} If it holds a name that cannot be read, or a header that is longer than any name.
 */
export async function* readArchive(archive: ReadableStream<Uint8Array>): AsyncGenerator<ArchiveEntry> {
  const tar = await loadTarStream();
  if (!tar) return yield* readPlainArchive(archive);
  const extract = tar.extract({ filenameEncoding: "latin1", highWaterMark: READ_AHEAD });
  const reader = archive.getReader();
  const [drained, offered] = [new Wakeup(), new Wakeup()];
  const ready: ArchiveEntry[] = [];
  let ahead = 0;
  let goOn = () => {};
  let sinceEntry = 0;
  let gone = false;
  let failure: { readonly error: unknown } | undefined;
  const offer = (entry: ArchiveEntry, next: () => void) => {
    ready.push(entry);
    ahead += 512 + entry.header.size;
    if (ahead < READ_AHEAD) queueMicrotask(next);
    else goOn = next;
    offered.wake();
  };
  extract.on("entry", (headers, stream, next) => {
    stream.on("error", () => {}); // The archive has the same.
    try {
      const header = readHeader(headers);
      sinceEntry = -header.size;
      if (header.type === "file" && header.size > SMALL) return offer({ header, content: stream }, next);
      const content: Uint8Array[] = [];
      stream.on("data", (chunk) => void content.push(chunk));
      if (header.type !== "file") offer({ header, content }, next);
      else stream.on("end", () => offer({ header, content }, next));
    } catch (error) {
      extract.destroy(error as Error);
    }
  });
  extract.on("drain", () => drained.wake());
  extract.on("error", (error) => failure ??= { error });
  extract.on("close", () => {
    gone = true; // Nothing drains any more.
    drained.wake();
    offered.wake();
  });
  const pumped = (async () => {
    try {
      while (!gone) {
        const { done, value } = await reader.read();
        if (done) return extract.end();
        for (const piece of inPieces(value)) {
          sinceEntry += piece.length;
          if (sinceEntry > MAX_LONG_HEADER) throw new CopyError("tar contents corrupted: a header of more than 1 MiB");
          if (!extract.write(piece) && !gone) await drained.wait();
          if (gone) return;
        }
      }
    } catch (error) {
      failure ??= { error }; // It may be no Error: an abort may have any reason.
      extract.destroy(error as Error);
    }
  })();
  try {
    for (;;) {
      const entry = ready.shift();
      if (entry) {
        yield entry;
        if (!Array.isArray(entry.content)) (entry.content as EntryStream).resume();
      } else if (gone) {
        if (failure) throw failure.error;
        return;
      } else {
        ahead = 0;
        const next = goOn;
        goOn = () => {};
        next(); // What it leads to may be there at once.
        if (ready.length === 0 && !gone) await offered.wait();
      }
    }
  } finally {
    extract.destroy();
    await reader.cancel().catch(() => {}); // Its end, or what broke it, has been seen.
    await pumped;
  }
}

/** A chunk in pieces of which a header is no small part. */
function* inPieces(chunk: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < chunk.length; at += READ_AHEAD) yield chunk.subarray(at, at + READ_AHEAD);
}

async function loadTarStream(): Promise<TarStream["default"] | undefined> {
  try {
    const { default: tar } = await import("tar-stream") as unknown as TarStream;
    // A bundle gives, the second time, what there was when the first one failed.
    return typeof tar.extract === "function" ? tar : undefined;
  } catch {
    return undefined; // There are no `events` here.
  }
}

/** As {@linkcode readArchive}, of names that are UTF-8: in a browser. */
export async function* readPlainArchive(archive: ReadableStream<Uint8Array>): AsyncGenerator<ArchiveEntry> {
  const { createTarDecoder } = await import("modern-tar");
  const decoder = createTarDecoder({ strict: true });
  const reader = archive.getReader();
  const writer = decoder.writable.getWriter();
  const entries = decoder.readable.getReader();
  let sinceEntry = 0;
  const pumped = (async () => {
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return await writer.close();
        for (const piece of inPieces(value)) {
          sinceEntry += piece.length;
          if (sinceEntry > TAKEN_AHEAD + MAX_LONG_HEADER) {
            throw new CopyError("tar contents corrupted: a header of more than 1 MiB");
          }
          await writer.write(piece);
        }
      }
    } catch (error) {
      await writer.abort(error).catch(() => {}); // The entries end with it.
    }
  })();
  try {
    for (;;) {
      const { done, value } = await entries.read();
      if (done) return;
      const { header, body } = value;
      sinceEntry = -header.size;
      yield { header: readPlainHeader(header), content: body };
      // To cancel it may take the next one's content along (modern-tar 0.8.6). What breaks it breaks the archive.
      if (!body.locked) await body.pipeTo(new WritableStream()).catch(() => {});
    }
  } finally {
    await entries.cancel().catch(() => {}); // What broke it has been seen.
    await reader.cancel().catch(() => {});
    await pumped;
  }
}

/** An entry's content, which comes by once, as what is copied. */
export function passingContent(content: ArchiveEntry["content"], size: number): Content {
  return {
    size,
    once: true,
    open: () => content instanceof ReadableStream ? content : streamOf(content),
    bytes: () => readContent(content),
  };
}

/** All of an entry's content. */
async function readContent(content: ArchiveEntry["content"]): Promise<Uint8Array> {
  const chunks = Array.isArray(content) ? content : await Array.fromAsync(content);
  return chunks.length === 1 ? chunks[0]! : concat(chunks);
}

/** What is used of `tar-stream`, which brings no types. */
interface TarStream {
  readonly default: { extract(options: { filenameEncoding: string; highWaterMark: number }): Extract };
}

interface Extract {
  write(data: Uint8Array): boolean;
  end(): void;
  destroy(error?: Error): void;
  on(event: "drain" | "close", listener: () => void): void;
  on(event: "error", listener: (error: Error) => void): void;
  on(event: "entry", listener: (headers: Headers, content: EntryStream, next: () => void) => void): void;
}

interface EntryStream extends AsyncIterable<Uint8Array> {
  resume(): void;
  on(event: "data", listener: (chunk: Uint8Array) => void): void;
  on(event: "end" | "error", listener: () => void): void;
}

interface Headers {
  readonly name: string;
  readonly type: string | null;
  readonly linkname: string | null;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: Date;
  readonly pax: Readonly<Record<string, string>> | null;
}

const TYPES: Readonly<Record<string, EntryType>> = {
  "file": "file",
  "contiguous-file": "file",
  "directory": "directory",
  "symlink": "symlink",
  "link": "link",
};

function readHeader(header: Headers): ArchiveHeader {
  const pax = header.pax ?? {};
  const target = pax.linkpath === undefined ? header.linkname ?? undefined : fromPax(pax.linkpath);
  const numbers = {
    size: header.size,
    mtime: pax.mtime === undefined ? readTime(header.mtime) : Number(pax.mtime),
    uid: Number(pax.uid ?? header.uid),
    gid: Number(pax.gid ?? header.gid),
  };
  for (const [what, value] of Object.entries(numbers)) {
    if (!Number.isFinite(value) || what === "size" && !(Number.isSafeInteger(value) && value >= 0)) {
      throw new CopyError(`tar contents corrupted: ${value} is no ${what}`);
    }
  }
  return {
    name: pax.path === undefined ? header.name : fromPax(pax.path),
    type: TYPES[header.type ?? ""] ?? "other",
    mode: header.mode & 0o7777,
    ...numbers,
    ...(target !== undefined && { target }),
  };
}

/** A time before 1970 comes a second late: tar-stream 3.1.7 takes the two's complement of GNU's for the ones'. */
function readTime(mtime: Date): number {
  const seconds = mtime.getTime() / 1000;
  return seconds < 0 ? seconds - 1 : seconds;
}

function readPlainHeader({ name, type, linkname, mode, uid, gid, size, mtime, pax }: TarHeader): ArchiveHeader {
  return readHeader({
    name: fromPax(name),
    type: type ?? "file",
    linkname: linkname ? fromPax(linkname) : null,
    mode: mode ?? 0,
    uid: uid ?? 0,
    gid: gid ?? 0,
    size,
    mtime: mtime ?? new Date(0),
    pax: pax ?? null,
  });
}

/** The library has read it as UTF-8 by now. */
function fromPax(name: string): string {
  if (name.includes("\ufffd")) throw new CopyError(`the container's tar wrote a name that cannot be read: ${name}`);
  return fromText(name);
}

/** An entry to be written, with its content. */
export interface PackedEntry {
  /** What to say of it. */
  readonly header: ArchiveHeader;
  /** Its bytes. */
  readonly content?: Uint8Array | ReadableStream<Uint8Array>;
}

/** Whether a time, in seconds since 1970, fits into a header: it has eleven octal digits, and no sign. */
export function isPlainTime(mtime: number): boolean {
  return mtime >= 0 && mtime < 8 ** 11;
}

/**
 * Writes an archive. `precise` keeps fractions of a second, and times that fit into no header, in pax headers: for a `tar`
 * that knows them.
 */
export async function packArchive(
  entries: Iterable<PackedEntry>,
  precise: boolean,
): Promise<ReadableStream<Uint8Array>> {
  const { createTarPacker } = await import("modern-tar");
  const { readable, controller } = createTarPacker();
  const add = async (header: Parameters<typeof controller.add>[0], content?: PackedEntry["content"]) => {
    const sink = controller.add(header);
    if (content instanceof ReadableStream) return await content.pipeTo(sink);
    const writer = sink.getWriter();
    // The close says so if the write fails.
    if (content && content.length > 0) writer.write(content).catch(() => {});
    await writer.close();
  };
  void (async () => {
    try {
      for (const { header, content } of entries) {
        const { name, type, mode, uid, gid, size, target } = header;
        const mtime = isPlainTime(header.mtime) ? header.mtime : 0;
        const inPax = precise && (mtime !== header.mtime || mtime % 1 !== 0);
        if (!isPlain(name)) await add(longHeader("gnu-long-name", name), bytesOf(`${name}\0`));
        if (target !== undefined && !isPlain(target)) {
          await add(longHeader("gnu-long-link-name", target), bytesOf(`${target}\0`));
        }
        await add({
          name: isPlain(name) ? name : "podwire",
          type: type === "other" ? "file" : type,
          mode,
          size,
          uid,
          gid,
          mtime: new Date(Math.floor(mtime) * 1000),
          ...(target !== undefined && { linkname: isPlain(target) ? target : "podwire" }),
          ...(inPax && { pax: { mtime: header.mtime.toFixed(6) } }),
        }, content);
      }
      controller.finalize();
    } catch (error) {
      controller.error(error);
    }
  })();
  return readable;
}

/** Whether a name fits into a header as it is. */
function isPlain(name: string): boolean {
  return name.length <= 100 && !/[\x80-\xff]/.test(name);
}

function longHeader<T extends "gnu-long-name" | "gnu-long-link-name">(type: T, name: string) {
  return { name: "././@LongLink", type, size: name.length + 1, mtime: new Date(0) };
}
