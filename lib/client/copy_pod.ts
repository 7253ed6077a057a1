/**
 * Single files and archives, for {@linkcode Pod}: what its `upload`, `download` and `tar` do.
 *
 * @module
 */
import { streamOf, tell } from "../bytes/mod.ts";
import { SegmentDigest } from "./copy_check.ts";
import { type Content, contentOf, StreamContent, type UploadSource } from "./copy_content.ts";
import { loadDigests, type SumTool } from "./copy_digest.ts";
import { CopyError } from "./copy_error.ts";
import { packingOf, receiveArchive } from "./copy_receive.ts";
import { ContainerShell, type CopyPlace } from "./copy_shell.ts";
import { sendTree } from "./copy_sink.ts";
import { PodSource } from "./copy_source.ts";
import type { FileSum, TreeEntry } from "./copy_tree.ts";
import type { Pod } from "./pod.ts";

/** How to copy. */
export interface CopyOptions {
  /** The container; without it the server takes the pod's only one. */
  readonly container?: string;
  /** How many breaks of the connection to survive while no byte passes; negative for any number. Default 10. */
  readonly retries?: number;
  /** Ends the copy: what was at its destination stays. */
  readonly signal?: AbortSignal;
  /**
   * Is told how many bytes have been copied; fewer than before after a break. What it throws is reported as an event listener's
   * is, and changes nothing.
   */
  readonly onProgress?: (bytes: number) => void;
}

/** How to upload a file. */
export interface UploadOptions extends CopyOptions {
  /**
   * Its permissions; the type that `Deno.stat` has in its `mode` is left out. Default: those of the file that is there, which
   * keeps its owner too; 0o644 for a new one.
   */
  readonly mode?: number;
  /** When it was changed. Default: now. */
  readonly mtime?: Date;
}

/** A file that was uploaded. */
export interface Uploaded {
  /** Its size in bytes. */
  readonly size: number;
  /** By what it was compared with what the container has: its SHA-256, the CRC of POSIX and its size, or its size alone. */
  readonly checkedBy: SumTool;
}

/**
 * A file that is being downloaded. A shell in the container waits for it: read it to its end, cancel it or dispose of it.
 */
export interface Download extends AsyncDisposable {
  /** Its bytes. It errors, at the latest at its end, unless they are what the container has. */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Its size in bytes. */
  readonly size: number;
  /** Its permissions. */
  readonly mode: number;
  /** When it was changed. */
  readonly mtime: Date;
  /** By what it is compared with what the container has. */
  readonly checkedBy: SumTool;
}

/** `options` as a place to copy to or from. */
function placeOf(pod: Pod, { container, retries = 10, signal }: CopyOptions): CopyPlace {
  return { pod, container, retries, signal };
}

/** See {@linkcode Pod.upload}. */
export async function upload(
  pod: Pod,
  source: UploadSource,
  path: string,
  options: UploadOptions,
): Promise<Uploaded> {
  checkPath(path);
  checkFile(options);
  const content = contentOf(source);
  try {
    return await uploadContent(placeOf(pod, options), content, path, options);
  } catch (error) {
    // As `pipeTo` does; a stream that cannot be cancelled has broken by itself.
    if (content instanceof StreamContent) await content.cancel(error).catch(() => {});
    throw error;
  }
}

/** Checks a path: a shell leaves NUL out, and UTF-8 has no half of a character. Either would be another file's name. */
function checkPath(path: string): void {
  if (typeof path !== "string") throw new TypeError(`path: expected a string, and not ${typeof path}`);
  if (path === "" || path.includes("\0") || !path.isWellFormed()) {
    throw new TypeError(`path: ${JSON.stringify(path)} is no path`);
  }
}

/** Checks what a file is to have: an archive, or a shell, would make something else of it. */
function checkFile({ mode, mtime }: UploadOptions): void {
  if (mode !== undefined) {
    if (typeof mode !== "number") throw new TypeError(`mode: expected a number, and not ${typeof mode}`);
    if (!Number.isInteger(mode) || mode < 0 || mode > 0o177777) throw new RangeError(`mode: ${mode} is no file's mode`);
  }
  if (mtime !== undefined) {
    if (!(mtime instanceof Date)) throw new TypeError(`mtime: expected a Date, and not ${typeof mtime}`);
    if (Number.isNaN(mtime.getTime())) throw new RangeError("mtime: the Date is invalid");
  }
}

async function uploadContent(
  place: CopyPlace,
  content: Content,
  path: string,
  options: UploadOptions,
): Promise<Uploaded> {
  const { mtime = new Date(), onProgress } = options;
  const mode = options.mode === undefined ? undefined : options.mode & 0o7777;
  const shell = await ContainerShell.open(place);
  try {
    const entry: TreeEntry = {
      path: "",
      type: "file",
      mode: mode ?? 0o644,
      mtime: mtime.getTime() / 1000,
      uid: 0,
      gid: 0,
      size: content.size,
      content,
    };
    let size = 0;
    await sendTree(
      place,
      shell,
      {
        name: path,
        entries: () => streamOf([entry]),
        changed: (files) => {
          const wrong = files.find(({ size }) => size !== (content.size ?? size));
          if (!wrong) return Promise.resolve([]);
          const error = new CopyError(`${path}: ${wrong.size} bytes were read, and not ${content.size} as declared`);
          return Promise.reject(error);
        },
      },
      path,
      {
        preserve: true,
        keep: { mode },
        jobs: 1,
        onEvent: ({ bytes }) => {
          size = bytes;
          tell(onProgress, bytes);
        },
      },
    );
    return { size, checkedBy: shell.sum };
  } finally {
    shell.close();
  }
}

/** See {@linkcode Pod.download}. */
export async function download(pod: Pod, path: string, options: CopyOptions): Promise<Download> {
  checkPath(path);
  const over = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, over.signal]) : over.signal;
  const place = placeOf(pod, { ...options, signal });
  const shell = await ContainerShell.open(place);
  const source = new PodSource(place, shell, path);
  const entries = source.entries();
  const end = async (reason?: unknown) => {
    over.abort(reason); // Whatever still waits for a connection waits no more.
    shell.close();
    await entries.return(undefined);
  };
  try {
    const { value: entry } = await entries.next();
    if (!entry) throw source.failure ?? new CopyError(`${path} is not there`);
    if (entry.type !== "file" || entry.path !== "") {
      const what = entry.type === "other" ? "device, socket or pipe" : entry.type;
      throw new CopyError(`${path} is no file, but a ${what}`);
    }
    const digest = new SegmentDigest(() => shell.digest(), shell.segment);
    const reader = entry.content!.open(0).getReader();
    let size = 0;
    const readable = new ReadableStream({
      type: "bytes",
      async pull(controller) {
        try {
          signal.throwIfAborted();
          const { done, value } = await reader.read();
          if (!done) {
            digest.update(value);
            source.segmentsRead("", digest.complete);
            size += value.length;
            tell(options.onProgress, size);
            return controller.enqueue(new Uint8Array(value));
          }
          const file: FileSum = { path: "", size, sums: digest.finish() };
          if ((await source.changed([file])).length > 0) {
            throw new CopyError(`${path} in the container is not what was received, or has changed meanwhile`);
          }
          // What `tar` still writes, so that it ends by itself: the file is right, whatever comes of that.
          await entries.next().catch(() => {});
          await end();
          controller.close();
          controller.byobRequest?.respond(0); // Else a reader that brings its own buffer waits for ever.
        } catch (cause) {
          const error = signal.aborted ? signal.reason : cause; // What an abort breaks has errors of its own.
          await end();
          throw error;
        }
      },
      cancel: () => end(),
    }, { highWaterMark: 0 });
    const { mode, mtime } = entry;
    return {
      readable,
      size: entry.size ?? 0,
      mode,
      mtime: new Date(mtime * 1000),
      checkedBy: shell.sum,
      [Symbol.asyncDispose]: () => end(new CopyError(`${path}: the download was disposed of before its end`)),
    };
  } catch (cause) {
    const error = signal.aborted ? signal.reason : cause;
    await end();
    throw error;
  }
}

/** See {@linkcode Pod.tar}. */
export async function tar(
  pod: Pod,
  path: string,
  options: CopyOptions,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  checkPath(path);
  let failure: CopyError | undefined;
  const { sha256sum, cksum } = await loadDigests();
  const check = {
    sum: sha256sum ? "sha256sum" : "cksum",
    digest: (sha256sum ?? cksum)(),
    filesChecked: false,
  } as const;
  return receiveArchive(placeOf(pod, options), packingOf(path), check, (error) => failure = error).pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      flush() {
        if (failure) throw failure;
      },
    }),
  );
}
