/**
 * The file of a unix socket that listens.
 *
 * @module
 */
import { systemText } from "../bytes/mod.ts";
import { systemPath } from "./address.ts";
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

/** An abstract socket has no file. */
const NO_FILE: SocketFile = { intact: () => Promise.resolve(true), remove: () => Promise.resolve() };

/**
 * Binds a unix socket by `bind`, which must do so at once.
 *
 * It is bound under a name beside `path` with a mode that lets nobody in, gets its owner and its mode, and is then renamed: at no
 * time can anybody open it who may not, and at no time is there none. What is at `path` is replaced only if it is a
 * socket on which nobody answers.
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
  await refuseUnlessStale(path);
  const own = `${path.slice(0, path.lastIndexOf("/") + 1)}.${crypto.randomUUID().slice(0, 6)}`;
  const before = Deno.umask(0o777);
  let socket: T;
  try {
    socket = bind(own);
  } catch (cause) {
    throw cannotListen(path, systemText(cause), cause);
  } finally {
    Deno.umask(before);
  }
  try {
    const { uid = null, gid = null } = access;
    if (uid !== null || gid !== null) await Deno.chown(own, uid, gid);
    await Deno.chmod(own, access.mode);
    const { ino } = await Deno.lstat(own);
    await Deno.rename(own, path);
    return { socket, file: { intact: () => isOurs(path, ino), remove: () => removeOurs(path, ino) } };
  } catch (cause) {
    socket.close();
    await Deno.remove(own).catch(() => {}); // Closing may have removed it.
    throw cannotListen(path, systemText(cause), cause);
  }
}

async function refuseUnlessStale(path: string): Promise<void> {
  const found = await Deno.lstat(path).catch(() => undefined); // None, or binding fails for the same reason.
  if (!found) return;
  if (!found.isSocket) throw cannotListen(path, "it exists and is not a socket");
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (cause) {
    // A full backlog or a socket for datagrams fails too, but only where nobody listens it is refused.
    if (cause instanceof Deno.errors.ConnectionRefused || cause instanceof Deno.errors.NotFound) return;
    throw cannotListen(path, `something is there that does not let itself be tried: ${systemText(cause)}`, cause);
  }
  throw cannotListen(path, "somebody listens there already");
}

async function isOurs(path: string, ino: number | null): Promise<boolean> {
  const found = await Deno.lstat(path).catch(() => undefined); // Gone, or not to be seen: not ours either way.
  return found !== undefined && found.ino === ino;
}

async function removeOurs(path: string, ino: number | null): Promise<void> {
  if (await isOurs(path, ino)) await Deno.remove(path).catch(() => {}); // Somebody else was faster.
}

function cannotListen(path: string, why: string, cause?: unknown): RelayError {
  return new RelayError(`cannot listen on unix:${path}: ${why}`, "listen", { cause });
}
