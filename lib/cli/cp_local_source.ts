/**
 * A tree of this machine, on its way into a container.
 *
 * @module
 */
import {
  type Content,
  CopyError,
  type FileSum,
  fromText,
  passingContent,
  readArchive,
  toText,
  type TreeEntry,
  type TreeSource,
  Turn,
} from "../client/mod.ts";

/** What one read from a file brings, in bytes. */
const CHUNK = 256 * 1024;

/** The file or folder `path` of this machine. Symbolic links are entries, and not followed. */
export class LocalSource implements TreeSource {
  readonly name: string;
  /** The first name of each file that has several. */
  readonly #names = new Map<string, string>();
  /** When the files were changed that are being copied. */
  readonly #times = new Map<string, number>();

  readonly #gone: string[] = [];

  /** A tree; nothing is read yet. */
  constructor(path: string) {
    this.name = path;
  }

  /** How many bytes there are to copy, roughly: for who shows how far a copy is. */
  estimate(): Promise<number> {
    return sizeOf(this.name, new Turn());
  }

  /** What had gone before it was read, if anything had: known after the last entry. The rest is copied. */
  get failure(): CopyError | undefined {
    if (this.#gone.length === 0) return undefined;
    return new CopyError(this.#gone.map((path) => `${path}: removed while its folder was copied`).join("\n"));
  }

  async *entries(): AsyncGenerator<TreeEntry> {
    const entry = this.#look(this.name, "");
    yield entry;
    if (entry.type === "directory") yield* this.#folder(this.name, "");
  }

  changed(files: readonly FileSum[]): Promise<string[]> {
    const changed = files.filter(({ path, size }) => {
      const known = this.#times.get(path);
      this.#times.delete(path);
      if (known === undefined) return false; // It came out of `tar`, which has checked that.
      const info = lookAt(place(this.name, toText(path)!), false);
      return info?.size !== size || (info.mtime?.getTime() ?? 0) !== known;
    });
    return Promise.resolve(changed.map(({ path }) => path));
  }

  #look(path: string, name: string): TreeEntry {
    // Small calls, and many: a thread's wake-up would cost more than they do.
    const info = Deno.lstatSync(path);
    const base = {
      path: fromText(name),
      mode: (info.mode ?? (info.isDirectory ? 0o755 : 0o644)) & 0o7777,
      mtime: (info.mtime?.getTime() ?? 0) / 1000,
      uid: info.uid ?? 0,
      gid: info.gid ?? 0,
      size: 0,
    };
    if (info.isSymlink) return { ...base, type: "symlink", target: fromText(Deno.readLinkSync(path)) };
    if (info.isFile) return this.#file(path, base, info);
    return { ...base, type: info.isDirectory ? "directory" : "other" };
  }

  #find(path: string, name: string): TreeEntry | undefined {
    try {
      return this.#look(path, name);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      this.#gone.push(path);
      return undefined;
    }
  }

  async *#folder(path: string, name: string): AsyncGenerator<TreeEntry> {
    const names = new Set<string>();
    const odd = new Set<string>();
    let twice = false;
    for (const entry of Deno.readDirSync(path)) {
      if (isOdd(place(path, entry.name), entry)) odd.add(entry.name);
      else if (names.has(entry.name)) twice = true; // One of the two only looks like it, and is no UTF-8.
      else names.add(entry.name);
    }
    for (const base of [...names].sort()) {
      const [inner, innerName] = [place(path, base), name ? `${name}/${base}` : base];
      const entry = this.#find(inner, innerName);
      if (!entry) continue;
      yield entry;
      if (entry.type === "directory") yield* this.#folder(inner, innerName);
    }
    if (odd.size > 0 || twice) yield* oddEntries(path, fromText(name), odd);
  }

  #file(path: string, base: Omit<TreeEntry, "type">, info: Deno.FileInfo): TreeEntry {
    if ((info.nlink ?? 1) > 1) {
      const id = `${info.dev}:${info.ino}`;
      const target = this.#names.get(id);
      if (target !== undefined) return { ...base, type: "link", target };
      this.#names.set(id, base.path);
    }
    this.#times.set(base.path, info.mtime?.getTime() ?? 0);
    // A hole of less than this is not worth a word.
    const sparse = (info.blocks ?? 0) * 512 + 64 * 1024 < info.size && info.blocks !== null;
    const content: Content = {
      size: info.size,
      sparse,
      byob: true,
      open: (offset) => readFrom(path, offset),
      bytes: () => Promise.resolve(Deno.readFileSync(path)),
    };
    return { ...base, type: "file", size: info.size, content };
  }
}

/** What is at `place`, if anything is. Small calls, and many: a thread's wake-up would cost more than they do. */
export function lookAt(place: string, follow: boolean): Deno.FileInfo | undefined {
  try {
    return follow ? Deno.statSync(place) : Deno.lstatSync(place);
  } catch (error) {
    // Below a file there is nothing either.
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

async function sizeOf(path: string, turn: Turn): Promise<number> {
  await turn.share();
  try {
    const { isFile, isDirectory, size } = Deno.lstatSync(path);
    if (!isDirectory) return isFile ? size : 0;
    let sum = 0;
    for (const { name } of Deno.readDirSync(path)) sum += await sizeOf(place(path, name), turn);
    return sum;
  } catch (error) {
    // It is gone, or may not be read: for the copy to say.
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return 0;
    throw error;
  }
}

function place(folder: string, name: string): string {
  if (name === "") return folder;
  return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
}

/** A file's bytes from `offset` on: into a reader's own buffer, if it brings one. */
function readFrom(path: string, offset: number): ReadableStream<Uint8Array> {
  let file: Deno.FsFile | undefined;
  let cancelled = false;
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: CHUNK,
    async pull(controller) {
      if (!file) {
        file = await Deno.open(path);
        if (cancelled) return file.close();
        await file.seek(offset, Deno.SeekMode.Start);
      }
      const request = controller.byobRequest!;
      const n = await file.read(request.view as Uint8Array);
      if (n !== null) return request.respond(n);
      file.close();
      controller.close();
      request.respond(0);
    },
    cancel() {
      cancelled = true;
      file?.close();
    },
  });
}

/** Whether Deno cannot name the entry, or what its link holds: it takes names for UTF-8, and shows others as what they are not. */
function isOdd(path: string, entry: Deno.DirEntry): boolean {
  try {
    // What is shown under such a name may be another one's.
    const { isSymlink } = entry.name.includes("\ufffd") ? Deno.lstatSync(path) : entry;
    if (isSymlink) Deno.readLinkSync(path);
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.InvalidData) return true;
    throw error;
  }
}

/**
 * What Deno cannot name in a folder, by this machine's `tar`: names that are no UTF-8, and `odd` ones. Files come by, and
 * are not held: they may be large.
 */
async function* oddEntries(folder: string, name: string, odd: ReadonlySet<string>): AsyncGenerator<TreeEntry> {
  const child = new Deno.Command("tar", {
    args: ["--format=gnu", "-cf", "-", "-C", folder, "."],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  for await (const { header, content } of readArchive(child.stdout)) {
    const path = header.name.replace(/^\.\//, "").replace(/\/$/, "");
    const text = toText(path.split("/")[0]!);
    if (text !== undefined && !odd.has(text)) continue;
    const { target, ...rest } = header;
    const inside = (path: string) => name ? `${name}/${path}` : path;
    yield {
      ...rest,
      path: inside(path),
      ...(target !== undefined && { target: header.type === "link" ? inside(target.replace(/^\.\//, "")) : target }),
      ...(header.type === "file" && { content: passingContent(content, header.size) }),
    };
  }
  const { code } = await child.status;
  if (code !== 0) throw new CopyError(`tar could not read ${folder}: exit code ${code}`);
}
