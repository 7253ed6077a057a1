/**
 * A tar stream out of a container that goes on, after a break, at the byte where it stopped: `tar` packs the same files once
 * more, and what has arrived is left out. That it is the same again is for a checksum of that part to say: files that have
 * come, gone or grown in between would shift what follows.
 *
 * @module
 */
import { DisconnectedError } from "../channels/mod.ts";
import type { Digest, SumTool } from "./copy_digest.ts";
import { CopyError } from "./copy_error.ts";
import { baseOf, bytesOf, byteString, folderOf, fromText } from "./copy_names.ts";
import { type CopyPlace, endCommand, readSum, retriesOf, startIn, sumCommand, toolError } from "./copy_shell.ts";
import { readPrinted } from "./printed.ts";
import type { RemoteProcess } from "./remote_command.ts";

/**
 * `$1` the folder, `$2` what to pack, `$3` how many bytes to leave out, `$4` the program for their checksum, which comes first then,
 * on a line of its own. `tar`'s exit code comes last on stderr: a pipe hides it.
 * busybox's `tar` writes every header and every small file by itself: `dd` gathers them, or each would be a message of its own on
 * the whole way.
 * `pack` runs in a shell of its own in any case, as what {@linkcode READ} does: a runtime may kill the first one, and it alone, when the
 * connection breaks, and what is left can be told by this one's command line.
 */
const PACK = `tarred() { tar cf - -C "$1" -- "$2"; echo "podwire-tar $?" >&3; }
first() { { dd bs=65536 count=$(($1 / 65536)) iflag=fullblock; dd bs=1 count=$(($1 % 65536)); } 2>/dev/null; }
pack() {
if [ "$3" = 0 ]; then tarred "$1" "$2"
elif [ -z "$4" ]; then tarred "$1" "$2" | tail -c "+$(($3 + 1))"
else tarred "$1" "$2" | { first "$3" | $4; cat; }; fi
}
if command -v dd >/dev/null 2>&1; then pack "$@" | dd ibs=32768 obs=65536 2>/dev/null; else (pack "$@"); fi 3>&2`;

/** Whether an archive is whole: it ends with two empty blocks, and is made of blocks. */
class EndBlocks {
  #zeros = 0;
  #size = 0;

  add(data: Uint8Array): void {
    let zeros = 0;
    while (zeros < data.length && zeros < 1024 && data[data.length - 1 - zeros] === 0) zeros++;
    this.#zeros = zeros === data.length ? this.#zeros + zeros : zeros;
    this.#size += data.length;
  }

  get whole(): boolean {
    return this.#zeros >= 1024 && this.#size % 512 === 0;
  }
}

/** What `tar` is asked for: a folder, and what to pack in there. */
export interface Packing {
  /** The folder. */
  readonly folder: string;
  /** What to pack: the name that all entries start with. */
  readonly base: string;
}

/** Splits a path for `tar`. What has no name of its own (`/`, `.`, `a/..`) is packed from inside. */
export function packingOf(path: string): Packing {
  const base = baseOf(path);
  if (base === "" || base === "." || base === "..") return { folder: path || ".", base: "." };
  return { folder: folderOf(path), base: base.startsWith("-") ? `./${base}` : base };
}

/** How what has arrived of an archive is compared with what `tar` packs after a break. */
export interface ArchiveCheck {
  /** The program for it in the container. */
  readonly sum: SumTool;
  /** A checksum of its kind, of nothing so far. */
  readonly digest: Digest;
  /** Whether the content of files is compared by who reads the archive: then a single file needs nothing here. */
  readonly filesChecked: boolean;
}

/**
 * The archive of a file or folder in a container, as its own `tar` writes it. The stream errors if the archive is not whole, or
 * is another one after a break.
 *
 * @param onFailure Is told if the archive is whole, but some files could not be read.
 */
export function receiveArchive(
  place: CopyPlace,
  { folder, base }: Packing,
  { sum, digest, filesChecked }: ArchiveCheck,
  onFailure: (error: CopyError) => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const end = new EndBlocks();
  let sums: boolean | undefined;
  return receive(place, {
    commandFrom: (start) => ["sh", "-c", PACK, "sh", folder, base, String(start), sums ? sumCommand(sum) : ""],
    take(data) {
      sums ??= !(filesChecked && isFile(data));
      if (sums) digest.update(data);
      end.add(data);
    },
    async admit(attempt) {
      if (!sums || readSum(sum, await attempt.line())?.sum === digest.peek()) return;
      throw new CopyError(
        "cannot go on where the connection broke: what the container packs begins otherwise now. " +
          "Files have come, gone or changed meanwhile: copy again",
      );
    },
    judge(text) {
      const found = /podwire-tar (\d+)\n$/.exec(text);
      // The runtime may lose the end of the output, and still give a status (k/k #60140).
      if (!found || (found[1] === "0" && !end.whole)) return "broken";
      const [code, stderr] = [Number(found[1]), text.slice(0, found.index)];
      if (code === 0) return undefined;
      const failure = new CopyError(toolError(fromText(stderr), code), { code });
      if (!end.whole) throw failure;
      // A file that changes is for the checksums to judge.
      if (!stderr.trim().split("\n").every((line) => CHANGED.test(line))) onFailure(failure);
      return undefined;
    },
  });
}

/** Whether an archive begins with a file (POSIX ustar: the type, at byte 156, is `0` or NUL). */
function isFile(data: Uint8Array): boolean {
  return data[156] === 0x30 || data[156] === 0;
}

/** What GNU's `tar` says, with exit code 1, of files that somebody writes to. */
const CHANGED = /file changed as we read it$|File removed before we read it$|socket ignored$/;

/** `$1` the file, `$2` the first byte, from 1 on. */
const READ = `(if [ "$2" = 1 ]; then cat <"$1"; else tail -c "+$2" <"$1"; fi; exit); exit`;

/** The bytes of a file in a container, `size` of them: for a container without `tar`. */
export function receiveFile(
  place: CopyPlace,
  path: string,
  size: number,
  offset: number,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let received = offset;
  return receive(place, {
    commandFrom: (start) => ["sh", "-c", READ, "sh", path, String(offset + start + 1)],
    take: (data) => received += data.length,
    judge(stderr, code) {
      if (code !== 0) throw new CopyError(toolError(fromText(stderr), code), { code });
      return received < size ? "broken" : undefined;
    },
  });
}

/** A command whose output can be had from any byte on. */
interface Resumable {
  /** The command, for the output from a byte on, counted from 0. */
  commandFrom(start: number): readonly string[];
  /** Is shown every byte once. */
  take(data: Uint8Array): void;
  /** Is shown what comes after a break, to read what precedes the output; throws if that cannot go on. */
  admit?(attempt: Attempt): Promise<void>;
  /** Whether the output was whole, by what the command said at its end; throws if that is no matter of connections. */
  judge(stderr: string, code: number): "broken" | undefined;
}

/** The output of a command, over as many attempts as it takes. */
function receive(
  place: CopyPlace,
  { commandFrom, take, admit, judge }: Resumable,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const cancelled = new AbortController();
  const signal = place.signal ? AbortSignal.any([place.signal, cancelled.signal]) : cancelled.signal;
  const wanted = { ...place, signal };
  const retries = retriesOf(wanted);
  const mark = `podwire-${crypto.randomUUID().slice(0, 8)}`;
  let received = 0;
  let attempt: Attempt | undefined;
  let started = false;
  const start = async () => {
    const [shell = "", flag = "", script = "", ...args] = commandFrom(received);
    const command = [shell, flag, started ? `${endCommand(mark)}\n${script}` : script, ...args, mark];
    started = true; // Even if that is not told any more.
    return await Attempt.start(wanted, command);
  };
  const drop = () => {
    attempt?.process.close();
    attempt = undefined;
  };
  let left: Promise<void> | undefined;
  const clear = async () => {
    if (started) await (left ??= endLeft(place, mark));
  };
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      for (;;) {
        try {
          if (!attempt) {
            attempt = await start();
            if (received > 0) await admit?.(attempt);
          }
          const { done, value } = await attempt.read();
          if (!done) {
            received += value.length;
            take(value);
            retries.progressed();
            return controller.enqueue(value);
          }
          const { stderr, code } = await attempt.ended();
          started = false;
          if (judge(stderr, code) === "broken") throw new DisconnectedError(received, 0);
          return controller.close();
        } catch (error) {
          drop();
          try {
            await retries.wait(error);
          } catch (error) {
            await clear();
            throw error;
          }
        }
      }
    },
    async cancel(reason) {
      cancelled.abort(reason);
      drop();
      await clear();
    },
  }, { highWaterMark: 0 });
}

/** How long it may take to end what was left in the container, in milliseconds. */
const END_TIMEOUT = 2_000;

/**
 * Ends what an attempt has left in the container. Nobody takes its output any more, and container runtimes let it be: it would wait
 * for ever, and hold its files open, so that a dump that is removed keeps its place on the disk.
 */
async function endLeft(place: CopyPlace, mark: string): Promise<void> {
  try {
    const signal = AbortSignal.timeout(END_TIMEOUT);
    const child = await startIn({ ...place, signal }, ["sh", "-c", endCommand(mark)], "null");
    await child.status.finally(() => child.close());
  } catch {
    // There is no way to the container any more, and why the copy has ended is said already.
  }
}

/** One exec. */
class Attempt {
  readonly process: RemoteProcess;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  readonly #stderr: Promise<string>;
  #rest: Uint8Array<ArrayBuffer> | undefined;

  private constructor(process: RemoteProcess) {
    this.process = process;
    this.#reader = process.stdout.getReader();
    this.#stderr = readPrinted(process.stderr);
    this.#stderr.catch(() => {}); // Asked for at the end.
  }

  static async start(place: CopyPlace, command: readonly string[]): Promise<Attempt> {
    return new Attempt(await startIn(place, command, "null"));
  }

  /** The next of its output. */
  async read(): Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>> {
    const value = this.#rest;
    if (!value) return await this.#reader.read();
    this.#rest = undefined;
    return { done: false, value };
  }

  /** The first line of its output, as a byte string. */
  async line(): Promise<string> {
    for (let text = "";;) {
      const { done, value } = await this.read();
      if (done) throw new DisconnectedError(text.length, 0);
      text += byteString(value);
      const end = text.indexOf("\n");
      if (end < 0) continue;
      if (end + 1 < text.length) this.#rest = bytesOf(text.slice(end + 1));
      return text.slice(0, end);
    }
  }

  async ended(): Promise<{ readonly stderr: string; readonly code: number }> {
    const { code } = await this.process.status;
    return { stderr: await this.#stderr, code };
  }
}
