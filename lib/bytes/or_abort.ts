/**
 * Giving up on what cannot be given up.
 *
 * @module
 */

/**
 * What `work` comes to, unless `signal` aborts first; `late` gets what it still comes to then, to let go of it. A handshake of TLS, for
 * one, goes on after its connection has been closed until the peer stirs.
 *
 * @throws The signal's reason.
 * @throws What `work` rejects with.
 */
export async function orAbort<T>(work: Promise<T>, signal: AbortSignal, late?: (value: T) => void): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, promise]);
  } catch (error) {
    work.then(late, () => {}); // It failed twice: one reason is enough.
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
