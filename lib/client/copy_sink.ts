/**
 * A tree that goes into a container.
 *
 * It is staged in a folder beside its destination, checked there, and put in place when it is whole. Small files go
 * together through `tar`, in windows that are held in memory until the container has them: after a break those that
 * are missing are sent once more. Large files, and all where there is no `tar`, go one by one and on at the byte where they broke off.
 *
 * @module
 */
import { messageOf, streamOf, Wakeup } from "../bytes/mod.ts";
import { type ArchiveHeader, isPlainTime, packArchive, type PackedEntry } from "./copy_archive.ts";
import { contentOf, readAll } from "./copy_content.ts";
import { CopyError } from "./copy_error.ts";
import { baseOf, bytesOf, folderOf, fromText, joinPath, plainPath, quote, showName } from "./copy_names.ts";
import { pour, sendFile } from "./copy_send.ts";
import { ContainerShell, type CopyPlace, endCommand, ESCAPED, retriesOf, startIn, toolError } from "./copy_shell.ts";
import {
  type CopyEvent,
  type FileSum,
  LARGE_FILE,
  type TreeEntry,
  type TreeSource,
  WINDOW_BYTES,
} from "./copy_tree.ts";
import { Turn } from "./copy_turn.ts";
import { readPrinted } from "./printed.ts";

/** How to send a tree. */
export interface SendOptions {
  /** Whether modes and owners are kept; times always are. */
  readonly preserve: boolean;
  /** A file that is there keeps its owner and mode, or gets this mode: what is sent was no file before. */
  readonly keep?: { readonly mode?: number | undefined };
  /** How many windows to send at once. */
  readonly jobs: number;
  /** Is told of every entry. */
  readonly onEvent?: ((event: CopyEvent) => void) | undefined;
}

/**
 * Copies a tree to `path`, one of the container whose folder exists.
 *
 * @throws {CopyError} If not all of it was copied.
 */
export async function sendTree(
  place: CopyPlace,
  shell: ContainerShell,
  source: TreeSource,
  path: string,
  options: SendOptions,
): Promise<void> {
  const destination = plainPath(path);
  const folder = folderOf(destination);
  const stage = joinPath(folder, `.podwire-${crypto.randomUUID().slice(0, 8)}`);
  const name = fromText(stage);
  const made = await shell.run(
    `{ [ -d ${quote(name)} ] || mkdir ${quote(name)}; } && mkdir -p ${quote(`${name}/large`)} && chmod 700 ${
      quote(name)
    }`,
  );
  if (made.code !== 0) throw new CopyError(`cannot copy into ${folder}: ${toolError(made.stderr, made.code)}`, made);
  let problems: string[];
  try {
    problems = await new TreeSend(place, shell, source, stage, options).run();
  } catch (error) {
    await clean(place, shell, name, error);
    throw error;
  }
  try {
    await shell.commit(name, fromText(destination), options.preserve ? options.keep : options.keep ?? {});
  } catch (error) {
    // Who knows how far it came: what may be missing there is still here.
    if (!(error instanceof CopyError)) throw stillStaged(name, error);
    if (error.staged === undefined) await clean(place, shell, name, error);
    throw error;
  }
  await shell.runToEnd(`rm -rf ${quote(name)}`);
  if (problems.length > 0) throw new CopyError(problems.join("\n"));
}

/** Removes what was staged after a failure; where that cannot be, says where it lies. */
async function clean(place: CopyPlace, shell: ContainerShell, stage: string, error: unknown): Promise<void> {
  // What unpacks there has a window on its way still; what writes one file ends with its connection.
  const remove = `${endCommand(baseOf(stage))}
rm -rf ${quote(stage)} 2>/dev/null || { sleep 1; rm -rf ${quote(stage)}; }`;
  try {
    if (!place.signal?.aborted) return void await shell.must(remove);
    const other = await ContainerShell.open({ ...place, retries: 0, signal: AbortSignal.timeout(CLEAN_TIMEOUT) });
    try {
      await other.must(remove);
    } finally {
      other.close();
    }
  } catch {
    throw stillStaged(stage, error);
  }
}

function stillStaged(stage: string, cause: unknown): CopyError {
  const staged = showName(stage);
  return new CopyError(`${messageOf(cause)}\nWhat had arrived lies in ${staged} of the container`, { cause, staged });
}

/** How long a copy that was aborted may take to remove what it has staged, in milliseconds. */
const CLEAN_TIMEOUT = 5_000;

/** A small entry that waits for its window. */
interface Item {
  readonly header: ArchiveHeader;
  readonly content?: Uint8Array;
  readonly sum?: FileSum;
}

/** Small entries that go together: sent as they come, and held until the container has them. */
class Window {
  /** What is in it so far. */
  readonly items: Item[] = [];
  #bytes = 0;
  #closed = false;
  readonly #changed = new Wakeup();

  /** Whether it holds as much as it may. */
  get full(): boolean {
    return this.#bytes >= WINDOW_BYTES;
  }

  /** The files in it. */
  get files(): FileSum[] {
    return this.items.flatMap(({ sum }) => sum ? [sum] : []);
  }

  /** Adds an entry. */
  add(item: Item): void {
    this.items.push(item);
    this.#bytes += 512 + (item.content?.length ?? 0);
    this.#changed.wake();
  }

  /** Nothing is added any more. */
  close(): void {
    this.#closed = true;
    this.#changed.wake();
  }

  /** Waits until nothing is added any more. */
  async whole(): Promise<void> {
    while (!this.#closed) await this.#changed.wait();
  }

  /** All entries, as they come. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Item> {
    for (let i = 0;;) {
      while (i < this.items.length) yield this.items[i++]!;
      if (this.#closed) return;
      await this.#changed.wait();
    }
  }
}

/** One tree on its way. */
class TreeSend {
  readonly #place: CopyPlace;
  readonly #shell: ContainerShell;
  readonly #source: TreeSource;
  readonly #stage: string;
  readonly #options: SendOptions;
  readonly #problems: string[] = [];
  /** What was not copied: what links to it cannot be either. */
  readonly #givenUp = new Set<string>();
  /** Folders, and whatever else something lies below. */
  readonly #above = new Set<string>();
  /** What has an owner or a time that `tar` is not told. */
  readonly #untold: TreeEntry[] = [];
  readonly #running = new Set<Promise<void>>();
  #window: Window | undefined;
  #large = 0;
  #lists = 0;
  #failed: { readonly error: unknown } | undefined;

  constructor(place: CopyPlace, shell: ContainerShell, source: TreeSource, stage: string, options: SendOptions) {
    this.#place = place;
    this.#shell = shell;
    this.#source = source;
    this.#stage = stage;
    this.#options = options;
  }

  /** Stages the tree; resolves with what could not be copied. */
  async run(): Promise<string[]> {
    const folders: TreeEntry[] = [];
    const links: TreeEntry[] = [];
    const symlinks: TreeEntry[] = [];
    const hasTar = this.#shell.tools.has.has("tar");
    const turn = new Turn();
    try {
      for await (const entry of this.#source.entries()) {
        if (this.#failed) throw this.#failed.error;
        await turn.share();
        this.#check(entry);
        if (entry.type === "other") {
          this.#problems.push(`${this.#called(entry.path)}: not a file, a folder or a link: not copied`);
        } // After what is in them: that changes their time, and may need a right that they do not give.
        else if (entry.type === "directory") folders.push(entry);
        else if (entry.type === "link") links.push(entry);
        else if (entry.type === "symlink") symlinks.push(entry);
        else if (entry.type === "file" && (!hasTar || entry.size === undefined || entry.size >= LARGE_FILE)) {
          await this.#sendLarge(entry);
        } else await this.#add(entry);
      }
      await this.#sent();
      // Nothing is written through a link: there is none before all files are there, and none that anything lies below.
      for (const entry of symlinks) {
        if (this.#above.has(entry.path)) throw corrupted(entry.path);
        await this.#add(entry);
      }
      await this.#sent();
      for (const entry of links) {
        if (this.#givenUp.has(entry.target ?? "")) await this.#giveUp(entry.path);
        else await this.#add(entry);
      }
      await this.#sent();
      // From the inside out.
      for (const entry of folders.reverse()) {
        await this.#add(entry);
        if (!this.#window) await this.#sent();
      }
      await this.#sent();
      const untold = this.#untold.filter(({ path }) => !this.#givenUp.has(path));
      await this.#runAll(untold.map((entry) => this.#metadata(entry, this.#staged(entry.path))));
    } finally {
      this.#flush();
      await Promise.all(this.#running);
    }
    return this.#problems;
  }

  /** Refuses names that lead out of the tree: they may come from a container that lies (CVE-2019-1002101 and its kin). */
  #check({ path, type, target = "" }: TreeEntry): void {
    for (const name of type === "link" ? [path, target] : [path]) {
      if (name !== "" && name.split("/").some((part) => part === "" || part === "." || part === "..")) {
        throw corrupted(name);
      }
    }
    if (type === "directory") this.#above.add(path);
    for (let above = path; above !== "";) {
      above = above.slice(0, Math.max(0, above.lastIndexOf("/")));
      if (this.#above.has(above)) break;
      this.#above.add(above);
    }
  }

  async #add(entry: TreeEntry): Promise<void> {
    const { path, type, mode, mtime, uid, gid, target } = entry;
    const content = entry.content && await readAll(entry.content);
    const { gnuTar } = this.#shell.tools;
    const fits = Math.max(uid, gid) <= MAX_ID || gnuTar;
    const keepsTime = isPlainTime(mtime) || gnuTar;
    if (!(fits && keepsTime) && type !== "symlink") this.#untold.push(entry);
    const header = {
      name: stagedName(path),
      type,
      mode,
      mtime,
      ...(fits ? { uid, gid } : { uid: 0, gid: 0 }),
      size: content?.length ?? 0,
      ...(target !== undefined && { target: type === "link" ? stagedName(target) : target }),
    };
    const sum = content && { path, size: content.length, sums: [this.#sumOf(content)] };
    const window = this.#window ??= await this.#open();
    window.add({ header, ...(content && { content }), ...(sum && { sum }) });
    if (window.full) this.#flush();
  }

  #sumOf(content: Uint8Array): string {
    const digest = this.#shell.digest();
    digest.update(content);
    return digest.finish();
  }

  /** A window that is sent beside those that are on their way; waits while there are enough of them. */
  async #open(): Promise<Window> {
    while (this.#running.size >= this.#options.jobs) await Promise.race(this.#running);
    if (this.#failed) throw this.#failed.error;
    const window = new Window();
    const sending: Promise<void> = this.#sendWindow(window)
      .catch((error) => void (this.#failed ??= { error }))
      .finally(() => this.#running.delete(sending));
    this.#running.add(sending);
    return window;
  }

  /** Adds nothing more to the window. */
  #flush(): void {
    this.#window?.close();
    this.#window = undefined;
  }

  /** Waits until everything so far is where it should be. */
  async #sent(): Promise<void> {
    this.#flush();
    await Promise.all(this.#running);
    if (this.#failed) throw this.#failed.error;
  }

  async #sendWindow(window: Window): Promise<void> {
    const retries = retriesOf(this.#place);
    const send = this.#shell.tools.has.has("tar") ? this.#unpack : this.#makeLinks;
    for (let left: readonly Item[] | undefined, broken = 0;;) {
      let failure: unknown;
      try {
        if (await send.call(this, left ?? window)) break;
      } catch (error) {
        failure = error;
        await retries.wait(error);
      }
      await window.whole();
      const sums = await this.#shell.sums(window.files.map(({ path }) => this.#staged(path)));
      // What has no checksum is sent again: it costs little.
      const missing = window.items.filter(({ sum }) =>
        sum ? sums.get(this.#staged(sum.path)) !== sum.sums[0] : failure !== undefined
      );
      if (missing.length === 0) break;
      if (missing.length < (left ?? window.items).length) retries.progressed();
      if (failure === undefined && ++broken === MAX_WRONG) {
        throw new CopyError(`${showName(missing[0]!.sum!.path)} in the container is not what was sent`);
      }
      left = missing;
    }
    const { files } = window;
    const changed = new Set(await this.#source.changed(files));
    for (const path of changed) await this.#giveUp(path);
    for (const { path, size } of files) this.#tell(path, size, size, !changed.has(path));
  }

  /** Unpacks entries in the staged tree; whether the container has found all checksums to be right by itself. */
  async #unpack(items: AsyncIterable<Item> | Iterable<Item>): Promise<boolean> {
    const listName = this.#shell.sum === "sha256sum" ? `sums-${this.#lists++}` : "";
    const archive = packBatches(withSums(items, listName), this.#shell.tools.gnuTar);
    const flags = this.#options.preserve ? ["-xpf", "-"] : ["--no-same-permissions", "--no-same-owner", "-xf", "-"];
    const command = ["sh", "-c", UNPACK, "sh", this.#stage, listName, ...flags];
    const child = await startIn(this.#place, command, "piped");
    let begin = "";
    let end = "";
    const pid = () => /^(\d+)\n/.exec(begin)?.[1] ?? "";
    try {
      const [, , stderr] = await Promise.all([
        pour(streamOf(archive), child.stdin, () => {}),
        (async () => {
          for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
            if (begin.length < MAX_PID) begin = (begin + text).slice(0, MAX_PID);
            end = (end + text).slice(-CHECKED.length);
          }
        })(),
        readPrinted(child.stderr),
      ]);
      const { code } = await child.status;
      if (code !== 0) throw new CopyError(toolError(fromText(stderr), code), { code });
      return end === CHECKED;
    } catch (error) {
      child.close();
      if (!(error instanceof CopyError)) await this.#shell.waitGone(pid(), baseOf(this.#stage));
      throw error;
    } finally {
      child.close();
    }
  }

  /** Without `tar`: folders and links by the shell. */
  async #makeLinks(items: AsyncIterable<Item> | Iterable<Item>): Promise<boolean> {
    const commands = (await Array.fromAsync(items)).map(({ header }) => {
      const name = joinPath(fromText(this.#stage), header.name);
      const { type, target = "" } = header;
      if (type === "symlink") return this.#makeLink("-s", target, name);
      if (type === "link") return this.#makeLink("", joinPath(fromText(this.#stage), target), name);
      return `mkdir -p ${quote(name)} && ${this.#metadata(header, name)}`;
    });
    await this.#runAll(commands);
    return false;
  }

  /** Runs commands by the shell, many at once; fails at the end if one of them has. */
  async #runAll(commands: readonly string[]): Promise<void> {
    for (let at = 0; at < commands.length; at += 100) {
      const lines = commands.slice(at, at + 100).map((command) => `${command} || exit_code=1\n`);
      await this.#shell.must(`exit_code=0\n${lines.join("")}(exit "$exit_code")`);
    }
  }

  /** It may run twice: a link that is there is not gone into, but made anew. */
  #makeLink(kind: "-s" | "", target: string, name: string): string {
    const [folder, link] = [quote(folderOf(name)), quote(name)];
    return `mkdir -p ${folder} && rm -f ${link} && ln ${kind} ${quote(target)} ${link}`;
  }

  /** Sends a file on its own. */
  async #sendLarge(entry: TreeEntry): Promise<void> {
    const { path, size } = entry;
    const place = `${this.#stage}/large/${this.#large++}`;
    const sent = await sendFile(
      this.#place,
      this.#shell,
      contentOf(entry.content!),
      place,
      (bytes) => this.#tell(path, bytes, size, false),
    );
    const changed = await this.#source.changed([{ path, ...sent }]);
    if (changed.length > 0) return await this.#giveUp(path);
    const [from, to] = [fromText(place), this.#staged(path)];
    // It may run twice: what has been moved is there no more.
    await this.#shell.must(
      `[ ! -e ${quote(from)} ] && [ -f ${quote(to)} ] || { mkdir -p ${quote(folderOf(to))} && ` +
        `${this.#metadata(entry, from)} && mv -f ${quote(from)} ${quote(to)}; }`,
    );
    this.#tell(path, sent.size, sent.size, true);
  }

  /** Gives a file what `tar` would have given it. */
  #metadata({ mode, mtime, uid, gid }: Pick<TreeEntry, "mode" | "mtime" | "uid" | "gid">, name: string): string {
    const file = quote(name);
    const seconds = Math.floor(mtime);
    const stamp = new Date(seconds * 1000).toISOString().replaceAll(/[-T:]|\..*/g, "");
    // `-d @` takes no fraction in busybox, and is unknown to POSIX.
    const time = `{ touch -d @${mtime.toFixed(6)} ${file} || touch -d @${seconds} ${file} ` +
      `|| TZ=UTC0 touch -t ${stamp.slice(0, 12)}.${stamp.slice(12)} ${file}; } 2>/dev/null`;
    if (!this.#options.preserve) return `${(mode & 0o111) !== 0 ? `chmod +x ${file} && ` : ""}${time}`;
    return `{ chown ${uid}:${gid} ${file} 2>/dev/null; chmod ${(mode & 0o7777).toString(8)} ${file}; } && ${time}`;
  }

  #called(path: string): string {
    return showName(joinPath(fromText(this.#source.name), path));
  }

  #staged(path: string): string {
    return joinPath(fromText(this.#stage), stagedName(path));
  }

  async #giveUp(path: string): Promise<void> {
    this.#givenUp.add(path);
    this.#problems.push(`${this.#called(path)} changed while it was copied: not copied`);
    await this.#shell.run(`rm -f ${quote(this.#staged(path))}`);
  }

  #tell(path: string, bytes: number, size: number | undefined, done: boolean): void {
    this.#options.onEvent?.({ path: showName(path), bytes, size, done });
  }
}

/** The highest number of an owner that fits into a header; above, GNU's `tar` reads an attribute that busybox' does not know. */
const MAX_ID = 0o7777777;

/** How often a container may have something else than what it was sent, with no break in between. */
const MAX_WRONG = 3;

/**
 * `$1` where to, `$2` the list of checksums that is unpacked there, if any; the rest are `tar`'s flags. What `tar` leaves unread is read: else
 * a writer learns of a closed pipe. Without "checked" the checksums are asked for one by one.
 */
const UNPACK = `echo $$; d=$1; s=$2; shift 2; tar "$@" -C "$d"; c=$?; cat >/dev/null
if [ "$c" = 0 ] && [ "$s" ]; then cd "$d" && sha256sum -c "$s" >/dev/null 2>&1 && echo checked; fi; exit $c`;

/** What it says at its end where they are right; and how long the number may be that it begins with. */
const CHECKED = "\nchecked\n";
const MAX_PID = 32;

/** How much of an archive is packed at once, in bytes: entry by entry it would cost twice as much. */
const BATCH = 256 * 1024;

/** What an archive ends with: two empty blocks. */
const END = new Uint8Array(1024);

/** One archive, in large pieces. */
async function* packBatches(entries: AsyncIterable<PackedEntry>, precise: boolean): AsyncGenerator<Uint8Array> {
  let batch: PackedEntry[] = [];
  let size = 0;
  const pack = async () => {
    const archive = new Uint8Array(await new Response(await packArchive(batch, precise)).arrayBuffer());
    [batch, size] = [[], 0];
    return archive.subarray(0, archive.length - END.length);
  };
  for await (const entry of entries) {
    batch.push(entry);
    size += 512 + entry.header.size;
    if (size >= BATCH) yield await pack();
  }
  if (batch.length > 0) yield await pack();
  yield END;
}

/** Entries, and behind them the file `listName` with their checksums as `sha256sum -c` reads them, unless it would misread a name. */
async function* withSums(items: AsyncIterable<Item> | Iterable<Item>, listName: string): AsyncGenerator<PackedEntry> {
  const lines: string[] = [];
  let readable = listName !== "";
  for await (const item of items) {
    yield item;
    const { header: { name }, sum } = item;
    if (!sum) continue;
    readable &&= !ESCAPED.test(name);
    lines.push(`${sum.sums[0]}  ${name}\n`);
  }
  if (!readable || lines.length === 0) return;
  const content = bytesOf(lines.join(""));
  const header = { mode: 0o600, mtime: 0, uid: 0, gid: 0, size: content.length };
  yield { header: { name: listName, type: "file", ...header }, content };
}

function corrupted(name: string): CopyError {
  return new CopyError(`tar contents corrupted: ${JSON.stringify(showName(name))} leads out of what is copied`);
}

function stagedName(path: string): string {
  return path === "" ? "tree" : `tree/${path}`;
}
