/**
 * The file of a unix socket that listens.
 *
 * @module
 */
import { systemText } from "../bytes/mod.ts";
import { bindWithMode, removeStaleSocket } from "../dial/mod.ts";
import { MAX_PATH, systemPath } from "./address.ts";
import { RelayError } from "./errors.ts";

/** Who may open a socket. */
export interface SocketAccess {
  /** Its mode. */
  readonly mode: number;
  /** Its owner. */
  readonly uid?: number;
  /** Its group. */
  readonly gid?: number;
}

/** A socket's file that is ours. */
export interface SocketFile {
  /** Whether it is still there. */
  intact(): Promise<boolean>;
  /** Removes it, unless another one has taken its place. */
  remove(): Promise<void>;
}

/** An abstract socket has no file, nor has TCP. */
export const NO_FILE: SocketFile = { intact: () => Promise.resolve(true), remove: () => Promise.resolve() };

/**
 * Binds a unix socket by `bind`, which must do so at once.
 *
 * What is at `path` is removed only if it is a socket on which nobody answers. The new one is bound under a name beside it, with its
 * mode and its owner, and then linked to `path`, which replaces nothing: at no time can anybody open it who may not. No path is
 * followed that somebody else can turn into a link: the mode is the umask's, and the owner is the link's own.
 *
 * @throws {RelayError} If there is something else, or it cannot be done.
 */
export async function bindSocket<T extends { close(): void }>(
  path: string,
  access: SocketAccess,
  bind: (path: string) => T,
): Promise<{ readonly socket: T; readonly file: SocketFile }> {
  if (path.startsWith("@")) {
    try {
      return { socket: bind(systemPath(path)), file: NO_FILE };
    } catch (cause) {
      throw cannotListen(path, systemText(cause), cause);
    }
  }
  const obstacle = await removeStaleSocket(path);
  if (obstacle) throw cannotListen(path, obstacle.why, obstacle.cause);
  try {
    return await bindBeside(path, access, bind);
  } catch (cause) {
    throw cannotListen(path, systemText(cause), cause);
  }
}

async function bindBeside<T extends { close(): void }>(
  path: string,
  { mode, uid, gid }: SocketAccess,
  bind: (path: string) => T,
): Promise<{ readonly socket: T; readonly file: SocketFile }> {
  const { lchownSync } = await import("node:fs");
  const changesHands = uid !== undefined || gid !== undefined;
  // Until it has its owner, its group is ours, which may not open it: nobody gets into a folder of our own.
  const inner = changesHands ? "/s" : "";
  const beside = nameBeside(path, inner.length);
  const own = beside + inner;
  if (changesHands) Deno.mkdirSync(beside, { mode: 0o700 });
  let socket: T | undefined;
  const clean = () => {
    if (socket) removeIfThere(own);
    if (changesHands) removeIfThere(beside);
  };
  try {
    socket = await bindWithMode(own, mode, bind);
    if (changesHands) lchownSync(own, uid ?? -1, gid ?? -1);
    Deno.linkSync(own, path);
    const { ino, isSocket } = Deno.lstatSync(path);
    if (!isSocket) throw new Error("something else was put in its place");
    clean();
    return { socket, file: { intact: () => isOurs(path, ino), remove: () => removeOurs(path, ino) } };
  } catch (error) {
    socket?.close();
    clean();
    throw error;
  }
}

/** A free name in the folder of `path`, as short as it has to be if `more` bytes come after it. */
function nameBeside(path: string, more: number): string {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const room = MAX_PATH - new TextEncoder().encode(folder).length - more;
  for (;;) {
    const name = folder + crypto.randomUUID().slice(0, Math.max(1, Math.min(room, 6)));
    if (name !== path) return name;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error; // Closing a socket removes its file.
  }
}

async function isOurs(path: string, ino: number | null): Promise<boolean> {
  const found = await Deno.lstat(path).catch(() => undefined); // Gone, or not to be seen: not ours either way.
  return found !== undefined && found.ino === ino;
}

/** Removes what is at `path` if it is that file: looked at and removed at once, so that hardly anything can come in between. */
function removeOurs(path: string, ino: number | null): Promise<void> {
  try {
    if (Deno.lstatSync(path).ino === ino) Deno.removeSync(path);
  } catch {
    // It has gone; or it stays, as a stale one, and listening there again says why it cannot be removed.
  }
  return Promise.resolve();
}

function cannotListen(path: string, why: string, cause?: unknown): RelayError {
  return new RelayError(`cannot listen on unix:${path}: ${why}`, "listen", { cause });
}
