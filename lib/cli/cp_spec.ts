/**
 * What `podwire cp` copies from and to: `[[namespace/]pod:]path`, read as kubectl reads it (kubectl `pkg/cmd/cp`), but
 * for local paths with a colon: `./NAME` is one, whatever is in it.
 *
 * @module
 */
import { posix } from "node:path";
import { isDnsLabel, isDnsSubdomain } from "../client/mod.ts";
import { UsageError } from "./flags.ts";

/** A place to copy from or to. */
export interface FileSpec {
  /** The pod; without one the path is one of this machine. */
  readonly pod?: string;
  /** The pod's namespace, if it was given. */
  readonly namespace?: string;
  /** The path, without a slash at its end. */
  readonly path: string;
}

/** What no namespace or pod begins with. */
const LOCAL = /^\.{0,2}\//;

/**
 * Reads a place. The first colon ends the pod, also in `C:\x`, but not in a path that begins with `/`, `./` or `../`.
 *
 * @throws {UsageError} If what is before the colon is nothing, too much, or the name of no pod.
 */
export function parseFileSpec(text: string): FileSpec {
  const colon = text.indexOf(":");
  if (colon < 0 || LOCAL.test(text)) return { path: stripSlash(text) };
  const path = stripSlash(text.slice(colon + 1)).replaceAll("\\", "/");
  const [first = "", second, ...more] = text.slice(0, colon).split("/");
  if (colon === 0 || more.length > 0) {
    throw new UsageError("filespec must match the canonical format: [[namespace/]pod:]file/path");
  }
  const pod = second ?? first;
  if (second !== undefined && !isDnsLabel(first)) throw nameError(text, first, "namespace");
  if (pod === "") return { path }; // `ns/:path` names no pod.
  if (!isDnsSubdomain(pod)) throw nameError(text, pod, "pod");
  return { pod, ...(second !== undefined && { namespace: first }), path };
}

function nameError(text: string, name: string, kind: string): UsageError {
  return new UsageError(
    `${text}: no ${kind} can be called ${JSON.stringify(name)}; for a local file with a colon in its name write ./NAME`,
  );
}

/** A path without its last slash, if that is not all of it. */
function stripSlash(path: string): string {
  return path !== "/" && path.endsWith("/") ? path.slice(0, -1) : path;
}

/** The shortest path to the same place, by its letters alone (Go's `path.Clean`). */
export function cleanPath(path: string): string {
  const clean = posix.normalize(path);
  return clean.length > 1 && clean.endsWith("/") ? clean.slice(0, -1) : clean;
}

/** The last part of a path (Go's `path.Base`). */
export function baseName(path: string): string {
  return posix.basename(path) || (path.startsWith("/") ? "/" : ".");
}

/** A name inside of a folder (Go's `path.Join`). */
export function joinClean(folder: string, name: string): string {
  return cleanPath(`${folder}/${name}`);
}
