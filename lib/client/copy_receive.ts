/**
 * A tar stream out of a container that goes on, after a break, at the byte where it stopped: `tar` writes the same archive of
 * the same files once more, and `tail` leaves out what has arrived. Where the files have changed in between, the checksums say so.
 *
 * @module
 */
import { DisconnectedError } from "../channels/mod.ts";
import { CopyError } from "./copy_error.ts";
import { baseOf, folderOf, fromText } from "./copy_names.ts";
import { type CopyPlace, retriesOf, toolError } from "./copy_shell.ts";
import type { RemoteProcess } from "./remote_command.ts";

/**
 * `$1` the folder, `$2` what to pack, `$3` the first byte, from 1 on. `tar`'s exit code comes last on stderr: a pipe hides it.
 * busybox's `tar` writes every header and every small file by itself: `dd` gathers them, or each would be a message of its own on
 * the whole way.
 */
const PACK = `tarred() { tar cf - -C "$1" -- "$2"; echo "podwire-tar $?" >&3; }
pack() { if [ "$3" = 1 ]; then tarred "$1" "$2"; else tarred "$1" "$2" | tail -c "+$3"; fi; }
if command -v dd >/dev/null 2>&1; then pack "$@" | dd ibs=32768 obs=65536 2>/dev/null; else pack "$@"; fi 3>&2`;

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

/**
 * The archive of a file or folder in a container, as its own `tar` writes it. The stream errors if the archive is not whole.
 *
 * @param onFailure Is told if the archive is whole, but some files could not be read.
 */
export function receiveArchive(
  place: CopyPlace,
  { folder, base }: Packing,
  onFailure: (error: CopyError) => void,
): ReadableStream<Uint8Array> {
  const end = new EndBlocks();
  return receive(place, {
    commandFrom: (start) => ["sh", "-c", PACK, "sh", folder, base, String(start + 1)],
    take: (data) => end.add(data),
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

/** What GNU's `tar` says, with exit code 1, of files that somebody writes to. */
const CHANGED = /file changed as we read it$|File removed before we read it$|socket ignored$/;

/** `$1` the file, `$2` the first byte, from 1 on. */
const READ = `if [ "$2" = 1 ]; then exec cat <"$1"; else exec tail -c "+$2" <"$1"; fi`;

/** The bytes of a file in a container, `size` of them: for a container without `tar`. */
export function receiveFile(place: CopyPlace, path: string, size: number, offset: number): ReadableStream<Uint8Array> {
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
  /** Whether the output was whole, by what the command said at its end; throws if that is no matter of connections. */
  judge(stderr: string, code: number): "broken" | undefined;
}

/** The output of a command, over as many attempts as it takes. */
function receive(place: CopyPlace, { commandFrom, take, judge }: Resumable): ReadableStream<Uint8Array> {
  const retries = retriesOf(place);
  let received = 0;
  let attempt: Attempt | undefined;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      for (;;) {
        try {
          attempt ??= await Attempt.start(place, commandFrom(received));
          const { done, value } = await attempt.reader.read();
          if (!done) {
            received += value.length;
            take(value);
            retries.progressed();
            return controller.enqueue(value);
          }
          const { stderr, code } = await attempt.ended();
          if (judge(stderr, code) === "broken") throw new DisconnectedError(received, 0);
          return controller.close();
        } catch (error) {
          attempt?.process.close();
          attempt = undefined;
          await retries.wait(error);
        }
      }
    },
    cancel() {
      attempt?.process.close();
    },
  }, { highWaterMark: 0 });
}

/** One exec. */
class Attempt {
  readonly process: RemoteProcess;
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #stderr: Promise<string>;

  private constructor(process: RemoteProcess) {
    this.process = process;
    this.reader = process.stdout.getReader();
    this.#stderr = new Response(process.stderr).text();
    this.#stderr.catch(() => {}); // Asked for at the end.
  }

  static async start({ pod, container, signal }: CopyPlace, command: readonly string[]): Promise<Attempt> {
    return new Attempt(
      await pod.exec(command, { ...(container && { container }), ...(signal && { signal }) }).spawn(),
    );
  }

  async ended(): Promise<{ readonly stderr: string; readonly code: number }> {
    const { code } = await this.process.status;
    return { stderr: await this.#stderr, code };
  }
}
