/**
 * What the tests of this room share.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Duplex } from "../../lib/bytes/mod.ts";
import { inFolder } from "../support/in_folder.ts";

/** Text to bytes, one to one. */
export function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** Everything until the end, one character a byte. */
export async function readAll(duplex: Duplex): Promise<string> {
  const buffer = new Uint8Array(4096);
  let text = "";
  for (;;) {
    const n = await duplex.read(buffer);
    if (n === null) return text;
    text += String.fromCharCode(...buffer.subarray(0, n));
  }
}

/** A peer that says `pieces`, one a read, then ends or stays silent until it is closed. It takes whatever it is told. */
export function scripted(pieces: readonly string[], { end = false }: { readonly end?: boolean }): Duplex {
  const left = pieces.filter((piece) => piece !== "").map(latin1);
  const closed = Promise.withResolvers<never>();
  closed.promise.catch(() => {}); // Only a read that waits is told.
  return {
    read(into) {
      const piece = left[0];
      if (!piece) return end ? Promise.resolve(null) : closed.promise;
      const n = Math.min(piece.length, into.length);
      into.set(piece.subarray(0, n));
      if (n < piece.length) left[0] = piece.subarray(n);
      else left.shift();
      return Promise.resolve(n);
    },
    write: () => Promise.resolve(),
    closeWrite: () => Promise.resolve(),
    close: () => closed.reject(new Error("closed")),
  };
}

/** A connection as a duplex, for what only reads and writes. */
export function duplexOf(conn: Deno.Conn): Duplex {
  return {
    read: (into) => conn.read(into),
    write: async (data) => {
      for (let sent = 0; sent < data.length;) sent += await conn.write(data.subarray(sent));
    },
    closeWrite: () => conn.closeWrite(),
    close: () => close(conn),
  };
}

/** A file of `testdata`. */
export function testdata(name: string): string {
  return Deno.readTextFileSync(new URL(`testdata/${name}`, import.meta.url));
}

/** The port that a listener got. */
export function portOf(listener: Deno.Listener): number {
  return (listener.addr as Deno.NetAddr).port;
}

/** A path for a unix socket in a folder of its own, which is gone after `use`. */
export async function withSocketPath(use: (path: string) => Promise<void>): Promise<void> {
  await inFolder((folder) => use(`${folder}/s`));
}

/**
 * Serves every connection of `listener` with `serve` while `use` runs; then closes the listener and the connections,
 * and waits until they are gone. What `serve` throws, `use`'s end throws, unless the connection was closed on it.
 */
export async function withServer<T>(
  listener: Deno.Listener<Deno.Conn>,
  serve: (conn: Deno.Conn) => Promise<void>,
  use: () => Promise<T>,
): Promise<T> {
  const conns = new Set<Deno.Conn>();
  const serving: Promise<void>[] = [];
  let over = false;
  const accepting = (async () => {
    for await (const conn of listener) {
      conns.add(conn);
      serving.push(
        serve(conn).catch((error) => {
          if (!over && !isGone(error)) throw error;
        }).finally(() => {
          conns.delete(conn);
          close(conn);
        }),
      );
    }
  })();
  try {
    return await use();
  } finally {
    over = true;
    close(listener);
    for (const conn of conns) close(conn);
    await accepting;
    await Promise.all(serving);
  }
}

/** A server that never answers, and what it sees of its first two connections: that they say something, and that they go. */
interface SilentPeer {
  serve(conn: Deno.Conn): Promise<void>;
  readonly reached: readonly [PromiseWithResolvers<void>, PromiseWithResolvers<void>];
  readonly gone: readonly [PromiseWithResolvers<void>, PromiseWithResolvers<void>];
}

/** For {@linkcode withServer}. */
export function silentPeer(): SilentPeer {
  const two = () => [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
  const [reached, gone] = [two(), two()];
  let count = 0;
  const serve = async (conn: Deno.Conn) => {
    const i = count++;
    await conn.read(new Uint8Array(1));
    reached[i]!.resolve();
    await readAll(duplexOf(conn)).catch(() => {}); // A reset is as good an end.
    gone[i]!.resolve();
  };
  return { serve, reached, gone };
}

/** What a server sees when its client closes the connection or refuses its certificate. */
function isGone(error: unknown): boolean {
  const { errors } = Deno;
  return [errors.BadResource, errors.BrokenPipe, errors.ConnectionReset, errors.UnexpectedEof, errors.InvalidData]
    .some((gone) => error instanceof gone);
}

/** Closes what may be closed already. */
export function close(closer: { close(): void }): void {
  try {
    closer.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** Sends back everything, then ends its direction. */
export async function echo(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const n = await conn.read(buffer);
    if (n === null) return await conn.closeWrite();
    for (let sent = 0; sent < n;) sent += await conn.write(buffer.subarray(sent, n));
  }
}

/** `size` bytes that repeat only after 64 KiB and three, so that a lost or doubled piece shows. */
export function pattern(size: number): Uint8Array<ArrayBuffer> {
  const period = Uint8Array.from({ length: 65539 }, (_, i) => (i * 31 + (i >> 8) * 7) & 0xff);
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += period.length) bytes.set(period.subarray(0, size - at), at);
  return bytes;
}

/**
 * Sends `size` bytes in uneven pieces through an echoing peer and requires the same bytes back. It ends its direction when all is
 * sent and requires the end back too; with `halfClose: false`, for a relay that drops both directions at the first end, it just closes.
 */
export async function assertEchoes(
  duplex: Duplex,
  size: number,
  { halfClose = true }: { readonly halfClose?: boolean } = {},
): Promise<void> {
  const sent = pattern(size);
  const sending = (async () => {
    for (let at = 0, piece = 1; at < size; at += piece, piece = Math.min(piece * 3, 1_000_003)) {
      await duplex.write(sent.subarray(at, at + piece));
    }
    if (halfClose) await duplex.closeWrite();
  })();
  const received = new Uint8Array(size);
  const buffer = new Uint8Array(64 * 1024);
  let filled = 0;
  const receiving = (async () => {
    while (halfClose || filled < size) {
      const n = await duplex.read(buffer);
      if (n === null) return;
      if (n <= 0 || filled + n > size) throw new Error(`${filled} + ${n} bytes of ${size} came back`);
      received.set(buffer.subarray(0, n), filled);
      filled += n;
    }
  })();
  try {
    await Promise.all([sending, receiving]);
  } finally {
    duplex.close();
  }
  if (filled !== size) throw new Error(`${filled} of ${size} bytes came back`);
  for (let i = 0; i < size; i++) if (received[i] !== sent[i]) throw new Error(`byte ${i} of ${size} came back changed`);
}

/** Asserts that each direction of what `dial` gives ends by itself: `listener`'s side ends first and goes on listening. */
export async function assertEndsSeparately(
  listener: Deno.Listener<Deno.Conn>,
  dial: () => Promise<Duplex>,
): Promise<void> {
  const heard = Promise.withResolvers<string>();
  const serve = async (conn: Deno.Conn) => {
    await conn.write(latin1("hello"));
    await conn.closeWrite();
    heard.resolve(await readAll(duplexOf(conn)));
  };
  await withServer(listener, serve, async () => {
    const duplex = await dial();
    assertEquals(await readAll(duplex), "hello");
    assertEquals(await duplex.read(new Uint8Array(1)), null);
    for (const word of ["still ", "being ", "heard"]) void duplex.write(latin1(word));
    await duplex.closeWrite(); // After the writes before it.
    assertEquals(await heard.promise, "still being heard");
    duplex.close();
  });
}
