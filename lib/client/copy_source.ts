/**
 * A tree that comes out of a container.
 *
 * @module
 */
import { passingContent, readArchive } from "./copy_archive.ts";
import { FileCheck } from "./copy_check.ts";
import { CopyError } from "./copy_error.ts";
import { fromText, joinPath, plainPath, quote, showName, toText } from "./copy_names.ts";
import { packingOf, receiveArchive, receiveFile } from "./copy_receive.ts";
import { type ContainerShell, type CopyPlace, toolError } from "./copy_shell.ts";
import type { EntryType, FileSum, TreeEntry, TreeSource } from "./copy_tree.ts";

/** The file or folder `path` of a container. */
export class PodSource implements TreeSource {
  /** Why `tar` could not read everything, if so: known after the last entry. */
  failure: CopyError | undefined;
  readonly name: string;
  readonly #root: string;
  readonly #place: CopyPlace;
  readonly #shell: ContainerShell;
  readonly #checks = new Map<string, FileCheck>();

  /** A tree in the container that `shell` runs in. */
  constructor(place: CopyPlace, shell: ContainerShell, path: string) {
    this.name = path;
    this.#root = plainPath(path);
    this.#place = place;
    this.#shell = shell;
  }

  /**
   * Its entries.
   *
   * @throws {CopyError} If the archive holds a name that does not begin with what was asked for.
   */
  entries(): AsyncGenerator<TreeEntry> {
    return this.#shell.tools.has.has("tar") ? this.#unpack() : this.#list();
  }

  async *#unpack(): AsyncGenerator<TreeEntry> {
    const packing = packingOf(this.#root);
    const prefix = fromText(packing.base);
    const { sum } = this.#shell;
    const check = { sum, digest: this.#shell.digest(), filesChecked: true };
    const archive = receiveArchive(this.#place, packing, check, (error) => this.failure = error);
    for await (const { header, content } of readArchive(archive)) {
      const { name, target, type, ...rest } = header;
      const path = insideOf(prefix, name);
      yield {
        ...rest,
        path,
        type,
        ...(target !== undefined && { target: type === "link" ? insideOf(prefix, target) : target }),
        ...(type === "file" && { content: passingContent(content, header.size) }),
      };
    }
  }

  /** Without `tar`: what a shell sees, and each file on its own. */
  async *#list(): AsyncGenerator<TreeEntry> {
    const root = fromText(this.#root);
    const { code, stdout, stderr } = await this.#shell.run(
      `${LIST}podwire_c=0; podwire_list ${quote(root)}; (exit "$podwire_c")`,
    );
    if (code !== 0) this.failure = new CopyError(toolError(stderr, code), { code }); // The rest is copied, as with `tar`.
    const fields = stdout.split("\0");
    for (let i = 0; i + 3 < fields.length; i += 4) {
      const [type = "", name = "", stat = "", target = ""] = fields.slice(i, i + 4);
      const path = name === root ? "" : name.slice(root.length).replace(/^\/+/, "");
      const text = toText(name);
      const info = readStat(stat);
      if (type === "file" && text === undefined) {
        this.failure = new CopyError(`${showName(name)} is no UTF-8: without tar in the container it cannot be copied`);
        continue;
      }
      yield {
        ...info,
        path,
        type: type as EntryType,
        size: type === "file" ? info.size : 0,
        ...(type === "symlink" && { target }),
        ...(type === "file" && text !== undefined && {
          content: { size: info.size, open: (offset) => receiveFile(this.#place, text, info.size, offset) },
        }),
      };
    }
  }

  segmentsRead(path: string, sums: readonly string[]): void {
    const check = this.#checks.get(path) ?? new FileCheck(this.#shell, this.#name(path));
    this.#checks.set(path, check);
    check.begin(sums);
  }

  /**
   * A file that has only grown is whole as far as it was read.
   */
  async changed(files: readonly FileSum[]): Promise<string[]> {
    const small = files.filter(({ sums }) => sums.length === 1);
    const there = await this.#shell.sums(small.map(({ path }) => this.#name(path)));
    const changed: string[] = [];
    for (const { path, size, sums } of files) {
      if (sums.length === 1 && there.get(this.#name(path)) === sums[0]) continue;
      const check = this.#checks.get(path) ?? new FileCheck(this.#shell, this.#name(path));
      this.#checks.delete(path);
      if (!await check.holds(sums, size, false)) changed.push(path);
    }
    return changed;
  }

  #name(path: string): string {
    return joinPath(fromText(this.#root), path);
  }
}

/**
 * Tells of everything in a tree, four fields an entry: what it is, its path, its figures, what a link holds. Fails in the end if
 * something cannot be read: a folder that may not be looked into would seem to be empty.
 */
const LIST = `podwire_fail() { podwire_c=1; printf '%s: %s\\n' "$@" >&2; }
podwire_list() {
if [ -L "$1" ]; then podwire_t=symlink; elif [ -d "$1" ]; then podwire_t=directory; elif [ -f "$1" ]; then podwire_t=file
elif [ -e "$1" ]; then podwire_t=other; else podwire_fail "$1" 'No such file or directory'; return; fi
case $podwire_t in directory) [ -r "$1" ] && [ -x "$1" ];; file) [ -r "$1" ];; esac ||
{ podwire_fail "$1" 'Permission denied'; [ "$podwire_t" = directory ] || return 0; }
printf '%s\\0%s\\0%s\\0%s\\0' "$podwire_t" "$1" \
"$(stat -c '%a %u %g %s %Y' "$1" 2>/dev/null || ls -lnd "$1")" "$(readlink "$1" 2>/dev/null)"
if [ "$podwire_t" = directory ]; then for podwire_e in "\${1%/}"/* "\${1%/}"/.[!.]* "\${1%/}"/..?*; do
if [ -e "$podwire_e" ] || [ -L "$podwire_e" ]; then podwire_list "$podwire_e"; fi; done; fi
}
`;

/** Reads what `stat` said, or `ls -ln` in its place, which is vague about times. */
function readStat(text: string): Pick<TreeEntry, "mode" | "uid" | "gid" | "mtime"> & { readonly size: number } {
  const [, mode, uid, gid, size, mtime] = /^([0-7]+) (\d+) (\d+) (\d+) (-?\d+)$/.exec(text) ?? [];
  if (mode !== undefined) {
    return {
      mode: parseInt(mode, 8) & 0o7777,
      uid: Number(uid),
      gid: Number(gid),
      size: Number(size),
      mtime: Number(mtime),
    };
  }
  const [, letters, owner, group, bytes] = /^.(.{9})\S* +\d+ +(\d+) +(\d+) +(\d+)/.exec(text) ?? [];
  if (letters === undefined) throw new CopyError(`the container tells nothing of its files: ${text}`);
  const bits = [...letters].reduce((bits, letter) => bits * 2 + Number(/[rwxst]/.test(letter)), 0);
  return { mode: bits, uid: Number(owner), gid: Number(group), size: Number(bytes), mtime: Date.now() / 1000 };
}

/** What of `name` is behind the tree's root. */
function insideOf(prefix: string, name: string): string {
  const clean = name.replace(/\/+$/, "");
  if (clean === prefix) return "";
  if (prefix === "." && clean.startsWith("./")) return clean.slice(2);
  if (!clean.startsWith(`${prefix}/`)) {
    throw new CopyError(`tar contents corrupted: ${JSON.stringify(showName(name))} is not in ${showName(prefix)}`);
  }
  return clean.slice(prefix.length + 1);
}
