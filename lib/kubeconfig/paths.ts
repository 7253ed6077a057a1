/**
 * Paths, as far as a kubeconfig has them.
 *
 * @module
 */
import type { HostEnvironment } from "./host.ts";

/** `path` as seen from the folder of `file`: relative paths in a kubeconfig are relative to it. Absolute, if that can be. */
export function besideFile(path: string, file: string, host: HostEnvironment): string {
  if (isAbsolute(path, host)) return path;
  let folder = file.slice(0, file.search(host.windows ? /[^/\\]*$/ : /[^/]*$/));
  // As kubectl makes it when it reads the file: a program may go elsewhere before the path is used again.
  const start = host.windows || isAbsolute(folder, host) ? undefined : host.workingDirectory?.();
  if (start) folder = `${start.replace(/\/$/, "")}/${folder}`;
  // A leading "./" keeps a command a path, where a bare name would be looked up in PATH.
  return (folder || "./") + path.replace(/^(?:\.\/+)+/, "");
}

/** Whether the path has a folder in it. */
export function hasFolder(path: string, host: HostEnvironment): boolean {
  return path.includes("/") || (host.windows && path.includes("\\"));
}

/** A unix socket's path: `~` is the home, `@name` an abstract socket, all else a path beside `file`. */
export function socketPath(path: string, file: string | undefined, host: HostEnvironment): string {
  if (path.startsWith("@")) return path;
  const home = path === "~" || path.startsWith("~/") ? host.homeDirectory() : undefined;
  if (home !== undefined) return home + path.slice(1);
  return file === undefined ? path : besideFile(path, file, host);
}

function isAbsolute(path: string, host: HostEnvironment): boolean {
  return path.startsWith("/") || (host.windows && /^(?:[a-z]:[\\/]|\\\\)/i.test(path));
}
