/**
 * Input that a command leaves unread.
 *
 * @module
 */
import type { RemoteCommandSession } from "../channels/mod.ts";

/** How long a command may leave its input unread before somebody is told, in milliseconds. */
const PATIENCE = 30_000;

/**
 * Calls `onNotice` while `session` runs and nothing of its input is taken: after `patience`
 * milliseconds, and again after as many.
 */
export function watchInput(
  session: Pick<RemoteCommandSession, "inputStalledFor" | "bytesSent" | "ended">,
  onNotice: (text: string) => void,
  patience: number = PATIENCE,
): void {
  let next = patience;
  const timer = setInterval(() => {
    const stalled = session.inputStalledFor;
    if (stalled < patience) next = patience;
    if (stalled < next) return;
    next += patience;
    onNotice(
      `input is waiting: the command has read nothing for ${Math.round(stalled / 1000)} s ` +
        `(${session.bytesSent} bytes sent so far)`,
    );
  }, patience / 10);
  session.ended.then(() => clearInterval(timer));
}
