/**
 * A tree out of a container, on its way to this machine.
 *
 * Nothing in it is trusted: it stays inside of its destination, whatever it says (CVE-2018-1002100, CVE-2019-1002101,
 * CVE-2019-11246, CVE-2019-11249, CVE-2019-11251). No name leads out, no link does, no file is written through a link, no device is
 * made; links are made last, when nothing is written any more.
 *
 * @module
 */
import {
  type CopyEvent,
  type FileSum,
  LARGE_FILE,
  packArchive,
  readAll,
  type SegmentDigest,
  showName,
  toText,
  type TreeEntry,
  type TreeSource,
  Turn,
} from "../client/mod.ts";
import { messageOf, PodwireError } from "../bytes/mod.ts";
import { lookAt } from "./cp_local_source.ts";

/** How to write a tree. */
export interface LocalSinkOptions {
  /** Whether modes, and owners where that is allowed, are kept; times always are. */
  readonly preserve: boolean;
  /** Ends the copy; what is being put in place is still put there as a whole. */
  readonly signal?: AbortSignal | undefined;
  /** Makes a checksum. */
  readonly digest: () => SegmentDigest;
  /** Is told of every entry. */
  readonly onEvent?: ((event: CopyEvent) => void) | undefined;
  /** Is told of what is left out. */
  readonly onWarning: (text: string) => void;
  /** Is asked what to say of a link that leads out. */
  readonly linkWarning: (destination: string, target: string) => string;
}

/** A small file in memory. */
interface Held {
  readonly entry: TreeEntry;
  readonly bytes: Uint8Array;
  readonly sum: FileSum;
}

/** Nobody else reads a file while it comes: it gets its own mode in the end. */
const STAGED_MODE = 0o600;

/** How much is held in memory until its checksums are known: in one batch, and how many of them. */
const HELD_FILES = 1000;
const HELD_BYTES = 4 * 1024 * 1024;
const BATCHES = 4;

/** Writes trees to one destination. */
export class LocalSink {
  readonly #root: string;
  readonly #source: TreeSource;
  readonly #options: LocalSinkOptions;
  /** Folders below the root that are there and are no links. */
  readonly #folders = new Set<string>();
  readonly #files = new Set<string>();
  readonly #metadata: TreeEntry[] = [];
  readonly #links: TreeEntry[] = [];
  readonly #problems: string[] = [];
  readonly #umask: number;
  readonly #owner: boolean;
  #held: Held[] = [];
  #heldBytes = 0;
  /** The batches before, whose checksums are asked for: each is written after the one before it. */
  readonly #writing: Promise<void>[] = [];
  readonly #turn = new Turn();

  /** A sink for `source` at `root`. */
  constructor(root: string, source: TreeSource, options: LocalSinkOptions) {
    this.#root = root;
    this.#source = source;
    this.#options = options;
    this.#umask = Deno.build.os === "windows" ? 0 : Deno.umask();
    this.#owner = options.preserve && isRoot();
  }

  /**
   * Copies everything.
   *
   * @returns What was not copied, in words.
   */
  async run(): Promise<string[]> {
    await makeParents(parentOf(this.#root));
    try {
      for await (const entry of this.#source.entries()) await this.#take(entry);
      await this.#writeHeld();
      await Promise.all(this.#writing);
    } finally {
      await Promise.allSettled(this.#writing); // The process must not end while a file is half put in place.
    }
    for (const entry of this.#links) await this.#link(entry);
    for (const entry of this.#metadata.reverse()) await this.#finishFolder(entry);
    return this.#problems;
  }

  async #take(entry: TreeEntry): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const { path, type } = entry;
    const place = this.#place(path);
    if (path.startsWith("/") || path.split("/").some((part) => part === "..")) {
      return this.#options.onWarning(
        `warning: file ${JSON.stringify(place)} is outside target destination, skipping`,
      );
    }
    if (path.split("/").some((part) => part === "" || part === ".") && path !== "") {
      return this.#options.onWarning(`warning: skipping ${JSON.stringify(place)}: not a name for a file`);
    }
    if (type === "other") {
      if (path === "") {
        this.#problems.push(`${this.#source.name}: not a file, a folder or a link: not copied`);
        return;
      }
      return this.#options.onWarning(`warning: skipping ${JSON.stringify(place)}: not a file, a folder or a link`);
    }
    if (type === "symlink" || type === "link") return void this.#links.push(entry);
    if (type === "directory") {
      if (await this.#makeFolder(path)) this.#metadata.push(entry);
      return;
    }
    if (path !== "" && !await this.#makeFolder(parentPath(path))) return;
    if ((entry.size ?? Infinity) >= LARGE_FILE) return await this.#writeLarge(entry);
    const bytes = await readAll(entry.content!);
    const digest = this.#options.digest();
    digest.update(bytes);
    this.#held.push({ entry, bytes, sum: { path, size: bytes.length, sums: digest.finish() } });
    this.#heldBytes += bytes.length;
    if (this.#held.length >= HELD_FILES || this.#heldBytes >= HELD_BYTES) await this.#writeHeld();
  }

  /** Has the files written that are held, while the next come in. */
  async #writeHeld(): Promise<void> {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    const changed = this.#source.changed(held.map(({ sum }) => sum));
    const writing = this.#writeAll(held, changed, this.#writing.at(-1));
    writing.catch(() => {}); // It is awaited further down, or in the end.
    this.#writing.push(writing);
    if (this.#writing.length === BATCHES) await this.#writing.shift();
  }

  /** Writes files, once the container says that they are what it has. */
  async #writeAll(
    held: readonly Held[],
    changedFiles: Promise<readonly string[]>,
    before: Promise<void> | undefined,
  ): Promise<void> {
    const [changed] = await Promise.all([changedFiles, before]);
    for (const { entry, bytes, sum } of held) {
      await this.#turn.share();
      this.#options.signal?.throwIfAborted();
      if (changed.includes(sum.path)) this.#problem(entry);
      else await this.#writeSmall(entry, bytes);
    }
  }

  async #writeSmall(entry: TreeEntry, bytes: Uint8Array): Promise<void> {
    const place = this.#place(entry.path);
    if (toText(entry.path) === undefined) return await this.#writeOdd(entry, bytes);
    try {
      const mode = this.#mode(entry);
      // A mode costs one more call, even if it is the one that files have anyway.
      Deno.writeFileSync(place, bytes, { createNew: true, ...(mode !== (0o666 & ~this.#umask) && { mode }) });
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) {
        // What was written of a new file is of no use.
        if (!(error instanceof Deno.errors.NotFound)) await removeIfThere(place);
        throw whyNot(place, error);
      }
      return await this.#replace(entry, async (staged) => {
        await Deno.writeFile(staged, bytes, { createNew: true, mode: STAGED_MODE });
      });
    }
    // What the mask took from a new file's mode.
    this.#finishFile(entry, place, (this.#mode(entry) & this.#umask) !== 0);
  }

  async #writeLarge(entry: TreeEntry): Promise<void> {
    const { path, size } = entry;
    const digest = this.#options.digest();
    let written = 0;
    await this.#replace(entry, async (staged, there) => {
      using file = await Deno.open(staged, { createNew: true, write: true, mode: STAGED_MODE });
      for await (const block of blocksOf(entry.content!.open(0))) {
        digest.update(block);
        this.#source.segmentsRead?.(path, digest.complete);
        // A hole in a sparse file comes as zeros.
        if (isZero(block)) await file.seek(block.length, Deno.SeekMode.Current);
        else for (let at = 0; at < block.length;) at += await file.write(block.subarray(at));
        written += block.length;
        this.#options.onEvent?.({ path: showName(path), bytes: written, size, done: false });
      }
      await file.truncate(written);
      const changed = await this.#source.changed([{ path, size: written, sums: digest.finish() }]);
      if (changed.length > 0) return false;
      // What is there may be lost with the machine's power, if this is not on its disk by then.
      if (there) await file.sync();
      return true;
    });
  }

  /**
   * Stages a file beside its place and puts it there: renamed, if nothing is there; else written into the file that is
   * there, whose inode stays, and only if that fails put in its stead. If that fails too, the stage is all there is, and
   * stays.
   */
  async #replace(entry: TreeEntry, write: (staged: string, there: boolean) => Promise<boolean | void>): Promise<void> {
    const place = this.#place(entry.path);
    const odd = toText(entry.path) === undefined;
    const there = odd ? undefined : lookAt(place, entry.path === "");
    if (there?.isDirectory) throw new PodwireError(`open ${place}: is a directory`);
    if (there && !there.isFile && !there.isSymlink) throw new PodwireError(`open ${place}: is not a regular file`);
    const folder = odd ? this.#root : parentOf(place); // The folder may have a name that Deno cannot say.
    const staged = `${folder}/.podwire-${crypto.randomUUID().slice(0, 8)}`;
    let begun = false;
    try {
      if (await write(staged, there !== undefined) === false) return this.#problem(entry);
      this.#options.signal?.throwIfAborted();
      begun = odd;
      if (odd) await this.#writeOdd(entry, await Deno.open(staged));
      else if (there?.isFile) await this.#rewrite(entry, staged, () => begun = true);
      else await this.#rename(entry, staged);
      begun = false;
    } catch (error) {
      const why = whyNot(place, error);
      if (!begun) throw why;
      throw new PodwireError(`${messageOf(why)}\nWhat is to be there lies in ${staged}`, { cause: error });
    } finally {
      if (!begun) await removeIfThere(staged);
    }
  }

  /** Writes what is staged into the file that is there, or puts it in its stead. */
  async #rewrite(entry: TreeEntry, staged: string, begin: () => void): Promise<void> {
    const place = this.#place(entry.path);
    try {
      // The mode first: who may not read what comes shall not read it half.
      await rewrite(staged, place, this.#options.preserve ? this.#mode(entry) : undefined, begin);
      this.#finishFile(entry, place, false);
    } catch (error) {
      try {
        await this.#rename(entry, staged);
      } catch (cause) {
        throw new PodwireError(`${place}: ${messageOf(error)}, and cannot be replaced: ${messageOf(cause)}`, { cause });
      }
      this.#options.onWarning(`warning: ${place} cannot be written into and was replaced: ${messageOf(error)}`);
    }
  }

  async #rename(entry: TreeEntry, staged: string): Promise<void> {
    const place = this.#place(entry.path);
    this.#finishFile(entry, staged, true);
    await Deno.rename(staged, place);
  }

  /** A file that Deno cannot name is made by this machine's `tar`. */
  async #writeOdd(entry: TreeEntry, content: Uint8Array | Deno.FsFile): Promise<void> {
    const { path, mode, mtime, uid, gid, size = 0, type, target } = entry;
    const header = { name: path, mode: this.#mode({ mode }), mtime, uid, gid, size, type };
    const archive = await packArchive([{
      header: { ...header, ...(target !== undefined && { target }) },
      content: content instanceof Uint8Array ? content : content.readable,
    }], false);
    const owner = this.#owner ? [] : ["--no-same-owner"]; // As root, it would give files away by itself.
    const args = ["-xpf", "-", "-C", this.#root, ...owner];
    const child = new Deno.Command("tar", { args, stdin: "piped" }).spawn();
    await archive.pipeTo(child.stdin);
    const { code } = await child.status;
    if (code !== 0) throw new PodwireError(`tar could not write ${showName(path)}: exit code ${code}`);
    if (type === "file") this.#files.add(path);
    this.#tell(entry);
  }

  async #link(entry: TreeEntry): Promise<void> {
    const { path, type, target = "" } = entry;
    const place = this.#place(path);
    const inside = type === "link" ? this.#files.has(target) : staysInside(path, target);
    if (!inside) {
      // kubectl's success, with nothing copied.
      if (path === "") this.#problems.push(`${this.#source.name}: a link to ${showName(target)}: not copied`);
      return this.#options.onWarning(this.#options.linkWarning(place, showName(target)));
    }
    if (path !== "" && !await this.#makeFolder(parentPath(path))) return;
    if (type === "symlink") this.#files.delete(path); // What it replaces is no file to link to any more.
    if (toText(path) === undefined || toText(target) === undefined) {
      return await this.#writeOdd(entry, new Uint8Array());
    }
    const there = lookAt(place, false);
    if (there?.isDirectory) return this.#options.onWarning(this.#options.linkWarning(place, showName(target)));
    if (there) await Deno.remove(place);
    if (type === "link") await Deno.link(this.#place(target), place);
    else {
      await Deno.symlink(toText(target)!, place);
      await setLinkTime(place, entry.mtime);
    }
    this.#tell(entry);
  }

  /** Whether the folder is there now, and all that lie above it, and none of them is a link. */
  async #makeFolder(path: string): Promise<boolean> {
    if (this.#folders.has(path)) return true;
    if (path !== "" && !await this.#makeFolder(parentPath(path))) return false;
    const place = this.#place(path);
    if (path === "") await this.#makeRoot();
    else if (toText(path) === undefined) {
      await this.#writeOdd(
        { path, type: "directory", mode: 0o755, mtime: Date.now() / 1000, uid: 0, gid: 0, size: 0 },
        new Uint8Array(),
      );
    } else {
      const there = lookAt(place, false);
      if (there?.isSymlink) {
        this.#options.onWarning(
          `warning: file ${JSON.stringify(place)} is a link, nothing is written through it, skipping`,
        );
        return false;
      }
      if (there && !there.isDirectory) throw new PodwireError(`mkdir ${place}: not a directory`);
      if (!there) Deno.mkdirSync(place);
    }
    this.#folders.add(path);
    return true;
  }

  async #makeRoot(): Promise<void> {
    const there = lookAt(this.#root, true);
    if (there && !there.isDirectory) throw new PodwireError(`mkdir ${this.#root}: not a directory`);
    if (!there) await Deno.mkdir(this.#root);
  }

  #finishFile(entry: TreeEntry, place: string, setMode: boolean): void {
    const { uid, gid, mtime, path } = entry;
    if (this.#owner && (uid !== 0 || gid !== 0)) Deno.chownSync(place, uid, gid);
    if (setMode) Deno.chmodSync(place, this.#mode(entry));
    Deno.utimeSync(place, mtime, mtime);
    this.#files.add(path);
    this.#tell(entry);
  }

  async #finishFolder(entry: TreeEntry): Promise<void> {
    const { path, uid, gid, mtime } = entry;
    const place = this.#place(path);
    if (toText(path) === undefined) return await this.#writeOdd(entry, new Uint8Array());
    if (this.#owner) Deno.chownSync(place, uid, gid);
    if (this.#options.preserve) Deno.chmodSync(place, this.#mode(entry));
    Deno.utimeSync(place, mtime, mtime);
  }

  /** Of what a container says, the permissions; it does not get to say who a program runs as. */
  #mode({ mode }: Pick<TreeEntry, "mode">): number {
    return this.#options.preserve ? mode & 0o777 : (0o666 | (mode & 0o111)) & ~this.#umask;
  }

  #place(path: string): string {
    return path === "" ? this.#root : `${this.#root === "/" ? "" : this.#root}/${showName(path)}`;
  }

  #problem({ path }: TreeEntry): void {
    this.#problems.push(`${this.#place(path)} changed while it was copied: not copied`);
  }

  #tell({ path, size = 0 }: TreeEntry): void {
    this.#options.onEvent?.({ path: showName(path), bytes: size, size, done: true });
  }
}

/**
 * Whether a symbolic link at `path` stays in the tree. It may go up first, from its folder, which is no link, and then
 * down: what it meets there stays in the tree by itself. Down and up again (`a/b/..`) leads wherever `a/b` does.
 */
function staysInside(path: string, target: string): boolean {
  if (path === "" || target === "" || target.startsWith("/")) return false;
  const parts = target.split("/");
  const up = parts.findIndex((part) => part !== "..");
  if (up >= 0 && parts.indexOf("..", up) >= 0) return false;
  return (up < 0 ? parts.length : up) <= path.split("/").length - 1;
}

function parentPath(path: string): string {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
}

function parentOf(place: string): string {
  const slash = place.lastIndexOf("/");
  return slash < 0 ? "." : place.slice(0, slash) || "/";
}

/** Makes a folder and those above it. */
async function makeParents(place: string): Promise<void> {
  for (let above = place;; above = parentOf(above)) {
    const there = lookAt(above, true);
    if (there?.isDirectory) break;
    if (there) throw new PodwireError(`mkdir ${above}: not a directory`);
    if (above === "/" || above === ".") break;
  }
  await Deno.mkdir(place, { recursive: true });
}

/** Writes one file's bytes over another's, and gives it `mode`; `begin` is called before what was in it is lost. */
async function rewrite(from: string, to: string, mode: number | undefined, begin: () => void): Promise<void> {
  using source = await Deno.open(from);
  using target = await Deno.open(to, { write: true });
  if (mode !== undefined) await Deno.chmod(to, mode);
  begin();
  await target.truncate();
  const buffer = new Uint8Array(1024 * 1024);
  for (let n = await source.read(buffer); n !== null; n = await source.read(buffer)) {
    for (let at = 0; at < n;) at += await target.write(buffer.subarray(at, n));
  }
  await target.sync();
}

async function removeIfThere(place: string): Promise<void> {
  try {
    await Deno.remove(place);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function setLinkTime(place: string, mtime: number): Promise<void> {
  const { lutimes } = await import("node:fs/promises");
  await lutimes(place, mtime, mtime);
}

/** What is written at once, in bytes: each write costs a thread's wake-up. */
const BLOCK = 1024 * 1024;

/** Gathers what comes into blocks; a block is valid until the next is asked for. */
async function* blocksOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const block = new Uint8Array(BLOCK);
  let filled = 0;
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + BLOCK - filled);
      block.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled < BLOCK) break;
      yield block;
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

function isZero(bytes: Uint8Array): boolean {
  return bytes[0] === 0 && bytes[bytes.length >> 1] === 0 && bytes.every((byte) => byte === 0);
}

function isRoot(): boolean {
  try {
    return Deno.uid() === 0;
  } catch {
    return false; // Deno may not tell: then owners stay this user's.
  }
}

function whyNot(place: string, error: unknown): unknown {
  // An AbortError's code is a number.
  if (error instanceof PodwireError || !(error instanceof Error && "code" in error && typeof error.code === "string")) {
    return error;
  }
  return new PodwireError(`${place}: ${error.message}`, { cause: error });
}
