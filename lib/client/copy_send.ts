/**
 * One file's bytes into a container.
 *
 * They are written at their own place of a staged file, so that a copy that broke goes on at the byte where it
 * stopped, and so that what an attempt before it still writes does no harm: those are the same bytes. The command keeps its stdout open to the end:
 * containerd closes stdin with it.
 *
 * @module
 */
import { toBytes } from "../bytes/mod.ts";
import { StdinClosedError } from "../channels/mod.ts";
import { FileCheck, SegmentDigest } from "./copy_check.ts";
import type { Content } from "./copy_content.ts";
import { CopyError } from "./copy_error.ts";
import { fromText, quote } from "./copy_names.ts";
import { type ContainerShell, type CopyPlace, retriesOf, startIn, toolError } from "./copy_shell.ts";
import type { FileSum } from "./copy_tree.ts";
import { readPrinted } from "./printed.ts";

/** `$1` the file, `$2` the byte to start at, `$3` the writer. Without `dd` the only start is 0. */
const WRITE = `exec 3>&1 1<>"$1" || exit 1
if [ "$2" != 0 ]; then dd bs=1 seek="$2" count=0 conv=notrunc </dev/null || exit 1; fi
if [ "$3" = sparse ]; then dd bs=65536 iflag=fullblock conv=notrunc,sparse; else cat; fi || exit 1
echo done >&3`;

/** What was sent: how many bytes, and their checksums. */
export type Sent = Omit<FileSum, "path">;

/** What may be on its way to a file, in bytes: so far behind what was sent it is worth a look. */
const ON_THE_WAY = 8 * 1024 * 1024;

/**
 * Writes `content` to the file `path`, which is there or not, and checks it.
 *
 * @param path A path, as text.
 * @param onBytes Is told how many bytes of the file have been sent, a smaller number after a break.
 * @throws {CopyError} If the container cannot take it, or does not have what was sent.
 */
export async function sendFile(
  place: CopyPlace,
  shell: ContainerShell,
  content: Content,
  path: string,
  onBytes: (sent: number) => void = () => {},
): Promise<Sent> {
  const retries = retriesOf(place);
  const digest = new SegmentDigest(() => shell.digest(), shell.segment);
  const sparse = content.sparse === true && shell.tools.gnuDd;
  const name = fromText(path);
  const check = new FileCheck(shell, name);
  let hashed = 0;
  let sent = 0;
  let begun = 0;
  const take = (chunk: Uint8Array) => {
    const known = hashed - sent; // Sent before, and lost.
    if (known < chunk.length) digest.update(chunk.subarray(Math.max(0, known)));
    sent += chunk.length;
    hashed = Math.max(hashed, sent);
    const there = Math.floor((sent - ON_THE_WAY) / shell.segment);
    // With holes it is as long as it should be only in the end.
    if (there > begun && !sparse) check.begin(digest.complete.slice(0, begun = there));
    onBytes(sent);
  };
  for (let offset = 0;;) {
    try {
      await writeOnce(place, content, path, { offset, sparse }, take);
      break;
    } catch (error) {
      if (error instanceof ReadError) throw error.cause;
      await retries.wait(error);
    }
    // A hole at the end of what came is sent again: the file does not reach that far yet.
    const arrived = shell.tools.has.has("dd") ? Math.min(await shell.size(name), hashed) : 0;
    if (arrived > offset) retries.progressed();
    offset = sent = arrived;
    onBytes(sent);
  }
  if (sparse) await shell.must(`dd bs=1 seek=${sent} count=0 of=${quote(name)} 2>/dev/null`); // A hole at the end.
  const sums = digest.finish();
  if (!await check.holds(sums, sent, true)) {
    throw new CopyError(`${path} in the container is not what was sent: its size or its ${shell.sum} differs`);
  }
  return { size: sent, sums };
}

/** The local side failed: no reason to try again. */
class ReadError extends Error {}

/** One attempt. When it is over it reads and takes nothing any more: the next one starts from what it took. */
async function writeOnce(
  place: CopyPlace,
  content: Content,
  path: string,
  { offset, sparse }: { readonly offset: number; readonly sparse: boolean },
  take: (chunk: Uint8Array) => void,
): Promise<void> {
  const command = ["sh", "-c", WRITE, "sh", path, String(offset), sparse ? "sparse" : "whole"];
  const child = await startIn(place, command, "piped");
  let poured: Promise<boolean> | undefined;
  try {
    poured = pour(content.open(offset), child.stdin, take, content.byob);
    const [written, stdout, stderr] = await Promise.all([
      poured,
      readPrinted(child.stdout),
      readPrinted(child.stderr),
    ]);
    const { code } = await child.status;
    if (code !== 0) throw new CopyError(`${path}: ${toolError(fromText(stderr), code)}`, { code });
    if (!written || !stdout.endsWith("done\n")) throw new CopyError(`${path}: the container took no more bytes`);
  } finally {
    child.close();
    await poured?.catch(() => {}); // Thrown already, unless something else was first.
  }
}

/**
 * Writes everything, and shows each chunk to `take` first. When the sink breaks `data` is cancelled, though it may be idle.
 *
 * @param byob See {@linkcode Content.byob}.
 * @returns `false` if the command took no more, which its status explains.
 */
export async function pour(
  data: ReadableStream<Uint8Array>,
  sink: WritableStream<Uint8Array>,
  take: (chunk: Uint8Array) => void,
  byob = false,
): Promise<boolean> {
  const reader = chunkReader(data, byob);
  const writer = sink.getWriter();
  // A write says so too, but an idle source leads to none.
  writer.closed.catch((error) => reader.cancel(error)).catch(() => {});
  try {
    for (;;) {
      const chunk = await read(reader, writer);
      if (!chunk) break;
      take(chunk);
      await writer.write(chunk);
    }
    await writer.ready; // Throws if it is the command that ended, and not the data.
    await writer.close();
    return true;
  } catch (error) {
    reader.cancel(error).catch(() => {}); // It is the writing that failed, or the reading has said so.
    if (error instanceof StdinClosedError) return false;
    throw error;
  }
}

async function read(
  reader: ChunkReader,
  writer: WritableStreamDefaultWriter<Uint8Array>,
): Promise<Uint8Array | undefined> {
  try {
    return await reader.read();
  } catch (cause) {
    const error = new ReadError("cannot read what is to be copied", { cause });
    await writer.abort(error).catch(() => {}); // Input that broke off is no end of input.
    throw error;
  }
}

/** What one read brings at most where the reader brings the buffer, in bytes. */
const CHUNK = 256 * 1024;

/** Reads a stream, chunk by chunk. */
interface ChunkReader {
  /** The next chunk, valid until the next read; `undefined` at the end. */
  read(): Promise<Uint8Array | undefined>;
  cancel(reason: unknown): Promise<void>;
}

/** A reader of `stream`; with `byob` into one buffer again and again: new memory for each chunk costs more than to send it. */
function chunkReader(stream: ReadableStream<Uint8Array>, byob: boolean): ChunkReader {
  if (!byob) {
    const reader = stream.getReader();
    return {
      read: async () => {
        const { done, value } = await reader.read();
        return done ? undefined : toBytes(value);
      },
      cancel: (reason) => reader.cancel(reason),
    };
  }
  const reader = stream.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(CHUNK);
  return {
    read: async () => {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (value) buffer = value.buffer;
      return done ? undefined : value;
    },
    cancel: (reason) => reader.cancel(reason),
  };
}
