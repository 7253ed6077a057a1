/**
 * Two connections joined into one: bytes pass as they are.
 *
 * @module
 */
import { type Duplex, MAX_DELAY, messageOf, PodwireError } from "../bytes/mod.ts";
import { ConnectionError } from "./socket.ts";

/** Options of {@linkcode joinDuplexes}. */
export interface JoinOptions {
  /** How long one direction may go on after the other has ended, in milliseconds. Default: as long as it likes. */
  readonly linger?: number;
  /** How long the upstream may say nothing once nothing more comes from the client, in milliseconds. Default: as long as it likes. */
  readonly silence?: number;
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
 * A client that has closed looks like one that has only ended its direction, until something is written to it: hence
 * {@linkcode JoinOptions.silence}.
 *
 * @throws What broke a connection first.
 * @throws The signal's reason.
 */
export async function joinDuplexes(client: Duplex, upstream: Duplex, options: JoinOptions): Promise<void> {
  const { linger, silence, isLast, signal } = options;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failure: { readonly reason: unknown } | undefined;
  let over = false;
  const close = () => {
    over = true;
    client.close();
    upstream.close();
  };
  const fail = (reason: unknown) => {
    failure ??= { reason };
    close();
  };
  const abort = () => fail(signal.reason);
  const listener = new Listener(upstream, silence, fail);
  const direction = async (copying: Promise<void>) => {
    try {
      await copying;
      if (linger !== undefined) timer ??= setTimeout(close, linger);
    } catch (reason) {
      if (over) return;
      fail(reason);
    }
  };
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    await Promise.all([
      direction(copy(client, upstream, isLast?.fromClient, () => {}).then(() => listener.limit())),
      direction(copy(listener, client, isLast?.fromUpstream, (reason) => {
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

/** Reads from an upstream, whose silence can be limited. What it has said and the client has not taken yet is no silence. */
class Listener implements Pick<Duplex, "read"> {
  readonly #upstream: Duplex;
  readonly #silence: number | undefined;
  readonly #fail: (reason: unknown) => void;
  #limited = false;
  #reading = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(upstream: Duplex, silence: number | undefined, fail: (reason: unknown) => void) {
    this.#upstream = upstream;
    this.#silence = silence;
    this.#fail = fail;
  }

  /** From now on silence is limited. */
  limit(): void {
    this.#limited = true;
    this.#listen();
  }

  async read(into: Uint8Array): Promise<number | null> {
    this.#reading = true;
    this.#listen();
    try {
      return await this.#upstream.read(into);
    } finally {
      this.#reading = false;
      clearTimeout(this.#timer);
    }
  }

  #listen(): void {
    const silence = this.#silence;
    if (silence === undefined || !this.#limited || !this.#reading) return;
    this.#timer = setTimeout(() => {
      const seconds = silence / 1000;
      this.#fail(
        new PodwireError(`nothing more comes from the client, and nothing has from the upstream for ${seconds} s`),
      );
    }, Math.min(silence, MAX_DELAY));
  }
}

/** Copies until the end, which it passes on. */
async function copy(
  from: Pick<Duplex, "read">,
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
async function read(from: Pick<Duplex, "read">, into: Uint8Array): Promise<number | null> {
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
