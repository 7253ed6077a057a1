/**
 * What a stream into a pod goes over, and when another way is tried.
 *
 * @module
 */
import { UpgradeError } from "./errors.ts";

/**
 * What streams into pods go over.
 *
 * * `"auto"`: a WebSocket, and SPDY/3.1 where a server refuses that. What kubectl does.
 * * `"websocket"`: WebSocket only. A port-forward speaks the older channel protocol over it.
 * * `"tunnel"`: WebSocket only. A port-forward speaks SPDY/3.1 inside it.
 * * `"spdy"`: SPDY/3.1 only.
 */
export type Wire = "auto" | "websocket" | "tunnel" | "spdy";

/** Every {@linkcode Wire}. */
export const WIRES: readonly Wire[] = ["auto", "websocket", "tunnel", "spdy"];

/**
 * Opens a stream over the first wire that will do: over a WebSocket, or over SPDY/3.1 if that is refused. Once
 * a server has agreed to what it was asked for there is no going back: a command may run. A 101 to something else
 * counts as a refusal, as in kubectl.
 *
 * @param openWebSocket Rejects with {@linkcode UpgradeError} if, and only if, the server refuses.
 * @param openSpdy Is given the refusal that came before, if one did.
 * @throws What the last attempt threw.
 */
export async function openFirst<T>(
  wire: Wire,
  openWebSocket: () => Promise<T>,
  openSpdy: (refused?: UpgradeError) => Promise<T>,
): Promise<T> {
  if (wire === "spdy") return await openSpdy();
  let refused: UpgradeError;
  try {
    return await openWebSocket();
  } catch (error) {
    if (wire !== "auto" || !shouldFallBack(error)) throw error;
    refused = error;
  }
  try {
    return await openSpdy(refused);
  } catch (error) {
    if (error instanceof UpgradeError) error.cause = refused; // It says more than the HTTP error that is there.
    throw error;
  }
}

/**
 * Whether SPDY may do what a WebSocket did not (client-go `tools/remotecommand/fallback.go` and kubectl): the server has
 * answered, and not with a WebSocket. Where nobody answered, SPDY would not be answered either; a browser (code 0) has no other wire.
 */
function shouldFallBack(error: unknown): error is UpgradeError {
  return error instanceof UpgradeError && error.code !== 0;
}
