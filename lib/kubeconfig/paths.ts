/**
 * Paths, as far as a kubeconfig has them.
 *
 * @module
 */
import type { HostEnvironment } from "./host.ts";

/** `path` as seen from the folder of `file`: relative paths in a kubeconfig are relative to it. Absolute, if that can be. */
export function besideFile(path: string, file: string, host: HostEnvironment): string {
  const beside = inFolderOf(file, path, host);
  // As kubectl makes it when it reads the file: a program may go elsewhere before the path is used again.
  const start = host.windows || isAbsolute(beside, host) ? undefined : host.workingDirectory?.();
  return start ? `${start.replace(/\/$/, "")}/${beside.replace(DOTS, "")}` : beside;
}

function inFolderOf(file: string, path: string, host: HostEnvironment): string {
  if (isAbsolute(path, host)) return path;
  const folder = file.slice(0, file.search(host.windows ? /[^/\\]*$/ : /[^/]*$/));
  // A leading "./" keeps a command a path, where a bare name would be looked up in PATH.
  return (folder || "./") + path.replace(DOTS, "");
}

/** What leads nowhere at the start of a path. */
const DOTS = /^(?:\.\/+)+/;

/** Whether the path has a folder in it. */
export function hasFolder(path: string, host: HostEnvironment): boolean {
  return path.includes("/") || (host.windows && path.includes("\\"));
}

/** The longest path of a unix socket in bytes (Linux' `sun_path`, but for its end). */
const MAX_SOCKET_PATH = 107;

/** A unix socket's path: `~` is the home, `@name` an abstract socket, all else a path beside `file`. */
export function socketPath(path: string, file: string | undefined, host: HostEnvironment): string {
  if (path.startsWith("@")) return path;
  const home = path === "~" || path.startsWith("~/") ? host.homeDirectory() : undefined;
  if (home !== undefined) return home + path.slice(1);
  if (file === undefined) return path;
  const absolute = besideFile(path, file, host);
  return new TextEncoder().encode(absolute).length <= MAX_SOCKET_PATH ? absolute : inFolderOf(file, path, host);
}

function isAbsolute(path: string, host: HostEnvironment): boolean {
  return path.startsWith("/") || (host.windows && /^(?:[a-z]:[\\/]|\\\\)/i.test(path));
}
