/**
 * Two connections joined into one: bytes pass as they are.
 *
 * @module
 */
import { type Duplex, messageOf, PodwireError } from "../bytes/mod.ts";
import { ConnectionError } from "./socket.ts";

/** Options of {@linkcode joinDuplexes}. */
export interface JoinOptions {
  /** How long one direction may go on after the other has ended, in milliseconds. Default: as long as it likes. */
  readonly linger?: number;
  /** Looks at what passes; where it returns `true` the direction ends behind these bytes. */
  readonly isLast?: {
    readonly fromClient: (bytes: Uint8Array) => boolean;
    readonly fromUpstream: (bytes: Uint8Array) => boolean;
  };
  /** Drops both at once. */
  readonly signal: AbortSignal;
}

/**
 * Carries bytes both ways until both directions have ended.
 *
 * Each ends by itself, so that what is said after the other side's end arrives; Kubernetes' proxy drops both at the first end and
 * loses the tail of an output (k/k #60140). An upstream that takes no more is still heard to its end. A client that takes no more is
 * gone, and the upstream is dropped at once. A reader that is slow slows its writer; 64 KiB are held for each.
 *
 * @throws What broke a connection first.
 * @throws The signal's reason.
 */
export async function joinDuplexes(client: Duplex, upstream: Duplex, options: JoinOptions): Promise<void> {
  const { linger, isLast, signal } = options;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failure: { readonly reason: unknown } | undefined;
  let over = false;
  const close = () => {
    over = true;
    client.close();
    upstream.close();
  };
  const abort = () => {
    failure ??= { reason: signal.reason };
    close();
  };
  const direction = async (copying: Promise<void>) => {
    try {
      await copying;
      if (linger !== undefined) timer ??= setTimeout(close, linger);
    } catch (reason) {
      if (!over) failure ??= { reason };
      close();
    }
  };
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    await Promise.all([
      direction(copy(client, upstream, isLast?.fromClient, () => {})),
      direction(copy(upstream, client, isLast?.fromUpstream, (reason) => {
        throw reason;
      })),
    ]);
  } finally {
    signal.removeEventListener("abort", abort);
    clearTimeout(timer);
    close();
  }
  if (failure) throw failure.reason;
}

/** Copies until the end, which it passes on. */
async function copy(
  from: Duplex,
  to: Duplex,
  isLast: ((bytes: Uint8Array) => boolean) | undefined,
  onRefused: (reason: unknown) => void,
): Promise<void> {
  let buffer = new Uint8Array(SMALL_BUFFER);
  for (let n = await read(from, buffer); n !== null; n = await read(from, buffer)) {
    const bytes = buffer.subarray(0, n);
    const last = isLast?.(bytes) ?? false;
    try {
      await to.write(bytes);
    } catch (reason) {
      return onRefused(reason);
    }
    if (last) break;
    if (n === SMALL_BUFFER) buffer = new Uint8Array(LARGE_BUFFER);
  }
  await to.closeWrite().catch(onRefused);
}

/** Reads; what the runtime says of a connection becomes an error of podwire's. */
async function read(from: Duplex, into: Uint8Array): Promise<number | null> {
  try {
    return await from.read(into);
  } catch (cause) {
    if (cause instanceof PodwireError) throw cause;
    // Kubernetes' proxies end TLS without its close_notify. What has come says itself whether it is whole.
    if (cause instanceof Deno.errors.UnexpectedEof) return null;
    throw new ConnectionError(`the connection broke: ${messageOf(cause)}`, { cause });
  }
}

/** Room for one read, in bytes: little for the many connections that say little, more for the others. */
const SMALL_BUFFER = 4 * 1024;
const LARGE_BUFFER = 64 * 1024;
