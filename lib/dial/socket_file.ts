/**
 * The file of a unix socket that somebody wants to listen on: what is in its way, and its mode.
 *
 * By Node's modules, which Deno has too, as port-forward listens on both.
 *
 * @module
 */
import { codeOf, connectPath, reasonOf } from "./sockets.ts";

/** Why nobody can listen at a path. */
export interface Obstacle {
  /** The system's name of the error; empty if it has none. */
  readonly code: string;
  /** What is wrong, for people. */
  readonly why: string;
  /** What was thrown. */
  readonly cause?: unknown;
}

/**
 * Removes the socket at `path` if nobody answers on it any more; only a refused connection says so: a full backlog, or a socket for
 * datagrams, fails in another way.
 *
 * @returns What else is there; nothing if `path` is free now, or cannot be looked at: binding says why, then.
 */
export async function removeStaleSocket(path: string): Promise<Obstacle | undefined> {
  const { lstatSync, rmSync } = await import("node:fs");
  const look = () => {
    try {
      return lstatSync(path);
    } catch {
      return undefined;
    }
  };
  const found = look();
  if (!found) return;
  if (!found.isSocket()) return { code: "EEXIST", why: "it exists and is not a socket" };
  try {
    (await connectPath(path, new AbortController().signal)).close();
  } catch (cause) {
    const code = codeOf(cause);
    if (code === "ENOENT") return;
    if (code !== "ECONNREFUSED") {
      return { code, why: `something is there that does not let itself be tried: ${reasonOf(cause, code)}`, cause };
    }
    try {
      if (look()?.ino === found.ino) rmSync(path, { force: true });
    } catch (cause) {
      return {
        code: codeOf(cause),
        why: `what nobody listens on any more stays: ${reasonOf(cause, codeOf(cause))}`,
        cause,
      };
    }
    return;
  }
  return { code: "EADDRINUSE", why: "somebody listens there already" };
}

/** Removes the file of a socket that was closed here; it may have gone with it. */
export async function removeSocket(path: string): Promise<void> {
  const { rm } = await import("node:fs/promises");
  await rm(path, { force: true });
}

/**
 * Makes a socket's file with a certain mode from its first moment on.
 *
 * That is the umask's work, which belongs to the process: where a worker of the same program has come in between with its own, the
 * socket is made anew.
 *
 * @param bind Listens at once, without a wait.
 */
export async function bindWithMode<T extends { close(): unknown }>(
  path: string,
  mode: number,
  bind: (path: string) => T,
): Promise<T> {
  const { lstatSync, rmSync } = await import("node:fs");
  const { umask } = (await import("node:process")).default;
  for (let tries = 0;; tries++) {
    const before = umask(0o777 & ~mode);
    usual ??= before;
    let socket: T;
    try {
      socket = bind(path);
    } finally {
      umask(usual);
    }
    let right = true;
    try {
      const found = lstatSync(path);
      right = !found.isSocket() || (found.mode & 0o777) === mode;
    } catch {
      // It has gone, or nobody permits to look: there is nothing to mend.
    }
    if (right) return socket;
    socket.close();
    rmSync(path, { force: true });
    if (tries === MAX_TRIES) throw new Error("something else in this process keeps changing the umask");
  }
}

/** The process's umask. It is not asked for again: that could be the one that another worker has set for a moment. */
let usual: number | undefined;

/** How often a socket is made that does not get its mode. */
const MAX_TRIES = 100;
