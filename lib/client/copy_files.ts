/**
 * The files of a container, for copies of whole trees: what `podwire cp` is made of.
 *
 * What goes between us and a container:
 *
 * * One exec of `sh` hears all that is not data on its stdin and answers on its stdout (`copy_shell.ts`): what
 *   programs there are, `mkdir`, checksums, what goes in place of what. If it breaks, another one is started once
 *   the old one is gone.
 * * Into the container (`copy_sink.ts`): everything is staged in `.podwire-…` beside its destination. Small files go
 *   through `tar x`, 8 MiB at a time, with the list of their checksums, which `sha256sum -c` compares in the same
 *   exec; after a break those are sent again that are not there as they should be. A large file goes through `cat`
 *   to its own place in a staged file (`copy_send.ts`); after a break `dd` seeks to where it ends. When every
 *   checksum is right, what is new is renamed, and what is there rewritten by `cp`, or replaced as a whole where
 *   that fails.
 * * Out of it (`copy_source.ts`): one `tar c`; after a break another one goes on at the byte that is missing, if the
 *   checksum of what is before it is right (`copy_receive.ts`). The archive counts only with its end blocks, `tar`'s
 *   own exit code and the session's status. The checksums of what came are compared before anything is put in place.
 * * Checksums (`copy_check.ts`): of a large file one for each 32 MiB, so that the container sums up while the rest
 *   is on its way.
 *
 * No command that reads stdin ends its stdout before: containerd would close stdin with it.
 *
 * @module
 */
import { SegmentDigest } from "./copy_check.ts";
import type { SumTool } from "./copy_digest.ts";
import { folderOf, fromText, plainPath, quote } from "./copy_names.ts";
import { ContainerShell, type CopyPlace } from "./copy_shell.ts";
import { type SendOptions, sendTree } from "./copy_sink.ts";
import { PodSource } from "./copy_source.ts";
import type { TreeSource } from "./copy_tree.ts";

/** The files of a container, and a shell in there that works on them. */
export class ContainerFiles implements Disposable {
  readonly #place: CopyPlace;
  readonly #shell: ContainerShell;

  private constructor(place: CopyPlace, shell: ContainerShell) {
    this.#place = place;
    this.#shell = shell;
  }

  /**
   * Starts the shell.
   *
   * @throws {CopyError} If the container has none.
   */
  static async open(place: CopyPlace): Promise<ContainerFiles> {
    return new ContainerFiles(place, await ContainerShell.open(place));
  }

  /** By what copies are compared with what the container has. */
  get checkedBy(): SumTool {
    return this.#shell.sum;
  }

  /** Before a copy from another container: uses a checksum that both have. */
  agree(other: ContainerFiles): void {
    this.#shell.agree(other.#shell);
  }

  /** Makes checksums of this kind, of bytes that come by. */
  digest(): SegmentDigest {
    return new SegmentDigest(() => this.#shell.digest(), this.#shell.segment);
  }

  /** Whether there is a folder, or a link to one, at `path`. */
  async isFolder(path: string): Promise<boolean> {
    return (await this.#shell.run(`test -d ${quote(fromText(path))}`)).code === 0;
  }

  /** Whether what comes to `path` lies in the folder `folder`, by whatever links: a copy of that folder would copy its own stage. */
  async isBelow(path: string, folder: string): Promise<boolean> {
    const [above, below] = [plainPath(folder), folderOf(plainPath(path))].map((path) => quote(fromText(path)));
    const script =
      `CDPATH=; [ ! -L ${above} ] && podwire_a=$(cd ${above} && pwd -P) && podwire_b=$(cd ${below} && pwd -P) &&
case "$podwire_b/" in "\${podwire_a%/}"/*) ;; *) false;; esac`;
    return (await this.#shell.run(script)).code === 0;
  }

  /** How many bytes the files at `path` have, roughly, if the container can tell: for who shows how far a copy is. */
  async estimate(path: string): Promise<number | undefined> {
    const root = quote(fromText(plainPath(path)));
    const script = `find ${root} -type f -exec stat -c %s {} + | awk '{ n += $1 } END { printf "%.0f", n }'`;
    return Number((await this.#shell.run(script)).stdout) || undefined;
  }

  /** The file or folder at `path`. */
  read(path: string): PodSource {
    return new PodSource(this.#place, this.#shell, path);
  }

  /**
   * Copies a tree to `path`, whose folder has to be there.
   *
   * @throws {CopyError} If not all of it was copied.
   */
  async write(source: TreeSource, path: string, options: SendOptions): Promise<void> {
    await sendTree(this.#place, this.#shell, source, path, options);
  }

  /** Ends the shell. */
  close(): void {
    this.#shell.close();
  }

  /** Ends the shell. */
  [Symbol.dispose](): void {
    this.close();
  }
}
