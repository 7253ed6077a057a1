/**
 * A tree of files on its way from one place to another.
 *
 * @module
 */
import type { Content } from "./copy_content.ts";

/** What an entry can be; `"other"` is a device, a socket, a pipe: nothing that can be copied. */
export type EntryType = "file" | "directory" | "symlink" | "link" | "other";

/** One file, folder or link. */
export interface TreeEntry {
  /** Where it is, from the tree's root on, as a byte string; empty for the root. */
  readonly path: string;
  /** What it is. */
  readonly type: EntryType;
  /** Its permissions, with the bits for set-user-id, set-group-id and sticky. */
  readonly mode: number;
  /** When it was changed, in seconds since 1970. */
  readonly mtime: number;
  /** The number of its owner. */
  readonly uid: number;
  /** The number of its group. */
  readonly gid: number;
  /** Its size in bytes; 0 for what is no file. `undefined` for a stream whose end nobody knows. */
  readonly size: number | undefined;
  /** Of a symbolic link: what it holds. Of a hard link: the path of the entry that it is another name of. */
  readonly target?: string;
  /** Of a file: its bytes. Has to be read, or left, before the next entry is asked for. */
  readonly content?: Content;
}

/** A file of a tree, and the checksums of what was read of it. */
export interface FileSum {
  /** Where it is. */
  readonly path: string;
  /** How many bytes were read. */
  readonly size: number;
  /** Their checksums, one for each {@linkcode SEGMENT}; one for an empty file. */
  readonly sums: readonly string[];
}

/** Where a tree comes from. */
export interface TreeSource {
  /** What its root is called, for errors. */
  readonly name: string;
  /** Its entries: a folder before what is in it. */
  entries(): AsyncIterable<TreeEntry>;
  /** Is told that the first segments of a file have been read, and what their checksums are: time to compare them. */
  segmentsRead?(path: string, sums: readonly string[]): void;
  /** The paths of those files of which something else was read than what is there. */
  changed(files: readonly FileSum[]): Promise<readonly string[]>;
}

/** What happens to an entry. */
export interface CopyEvent {
  /** Where the entry is, as text; empty for a single file. */
  readonly path: string;
  /** Bytes that have been copied. */
  readonly bytes: number;
  /** Bytes that there are; `undefined` if nobody knows. */
  readonly size: number | undefined;
  /** Whether it is copied as a whole, and checked. */
  readonly done: boolean;
}

/** Files from here on are copied one by one, and go on at the byte where they broke off; smaller ones are sent together. In bytes. */
export const LARGE_FILE: number = 4 * 1024 * 1024;
/** How much is sent together at most, in bytes: of content, and 512 for each entry. */
export const WINDOW_BYTES: number = 8 * 1024 * 1024;
