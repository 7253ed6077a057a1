/**
 * A pod's ports, which are this machine's: a pod of the host is local processes.
 *
 * @module
 */
import { type Duplex, messageOf, pause, PodwireError, withDeadline } from "../bytes/mod.ts";
import { connectTcp } from "../dial/mod.ts";
import { SocketDuplex } from "./socket.ts";

/** Nobody can be reached on a port. */
export class LocalPortError extends PodwireError {
  /** The class's name. */
  override name = "LocalPortError";
}

/** How long a connection to the own machine may take, in milliseconds; it takes none unless somebody's backlog is full. */
const CONNECT_TIMEOUT = 10_000;

/** Connections to a port that were never answered. */
interface Waiting {
  /** Dials under way. */
  dialing: number;
  /** Connections that each came alone, and are open without an answer. */
  count: number;
  /** Whether one is held back just now. */
  held: boolean;
  /** When one that had been held back was let through, as `performance.now()`. */
  letThrough?: number;
}

/**
 * Notices a port-forward that leads to itself: where its client listens on the very port of this machine that it forwards to, and nobody
 * else does, each connection makes the next one, without an end. They come one by one, none of them is closed, and not one byte comes
 * back; and if one is held back for a while, no other comes until it is let through, and then at once.
 */
export class Unanswered {
  readonly #ports = new Map<number, Waiting>();

  /**
   * Makes a connection by `dial`, whose result calls `settled` at its first answer or its end.
   *
   * @throws {LocalPortError} If it leads back here.
   * @throws The signal's reason, if it aborts while the connection is held back.
   */
  async watch<T>(port: number, signal: AbortSignal, dial: (settled: () => void) => Promise<T>): Promise<T> {
    const waiting = this.#waiting(port);
    const suspect = waiting.count >= MAX_UNANSWERED;
    if (suspect) {
      waiting.held = true;
      await pause(HOLD, signal);
      signal.throwIfAborted();
      waiting.held = false;
    }
    // Many at once are somebody's wish, and not each other's doing.
    let counted = waiting.dialing === 0;
    const settled = () => {
      if (counted) waiting.count--;
      counted = false;
    };
    if (counted) waiting.count++;
    waiting.dialing++;
    try {
      return await dial(settled);
    } catch (error) {
      settled();
      throw error;
    } finally {
      waiting.dialing--;
      if (suspect) waiting.letThrough = performance.now();
    }
  }

  /** What waits on a port; counted anew where it has turned out to lead elsewhere. */
  #waiting(port: number): Waiting {
    const waiting = this.#ports.get(port);
    if (waiting && !waiting.held) {
      if (waiting.letThrough === undefined) return waiting;
      if (performance.now() - waiting.letThrough < AT_ONCE) throw new LocalPortError(leadsToItself(port));
    }
    const fresh = { dialing: 0, count: 0, held: false };
    this.#ports.set(port, fresh);
    return fresh;
  }
}

/** So many connections that came one by one and were never answered may be one that leads to itself. */
const MAX_UNANSWERED = 128;

/** How long the next one is held back then, in milliseconds, and how soon after it another one would come. */
const HOLD = 1_000;
const AT_ONCE = 500;

function leadsToItself(port: number): string {
  return `failed to connect to localhost:${port}, where ${MAX_UNANSWERED} connections wait that were never answered: ` +
    "the port-forward seems to lead to itself, with nobody but its own client listening on that port of this machine";
}

/**
 * Connects to a port of this machine, 127.0.0.1 first and `::1` if nobody is there, as container runtimes do
 * inside a pod.
 *
 * @throws {LocalPortError} If nobody listens on either; it says why in containerd's words.
 * @throws The signal's reason, once it is aborted.
 */
export async function connectToPort(
  port: number,
  signal: AbortSignal,
  unanswered: Unanswered = new Unanswered(),
): Promise<Duplex> {
  return await unanswered.watch(port, signal, (settled) => dialPort(port, signal, settled));
}

async function dialPort(port: number, signal: AbortSignal, settled: () => void): Promise<Duplex> {
  const tries: string[] = [];
  for (const [family, hostname, network, address] of LOOPBACK) {
    try {
      const late = () => new LocalPortError("connection timed out");
      const connect = (signal: AbortSignal) => connectTcp(hostname, port, signal);
      const connection = await withDeadline(CONNECT_TIMEOUT, late, signal, connect);
      return new LocalSocket(connection, `the connection to port ${port} of the pod broke`, settled);
    } catch (error) {
      signal.throwIfAborted();
      tries.push(`${family}: dial ${network} ${address}:${port}: connect: ${reasonOf(error)}`);
    }
  }
  throw new LocalPortError(`failed to connect to localhost:${port}, ${tries.join(", ")}`);
}

/** A connection that tells of the first that comes from it, or of its end. */
class LocalSocket extends SocketDuplex {
  readonly #settled: () => void;

  constructor(connection: Deno.Conn<Deno.Addr>, broken: string, settled: () => void) {
    super(connection, broken, settled);
    this.#settled = settled;
  }

  override async read(into: Uint8Array): Promise<number | null> {
    const n = await super.read(into);
    this.#settled();
    return n;
  }
}

const LOOPBACK = [
  ["IPv4", "127.0.0.1", "tcp4", "127.0.0.1"],
  ["IPv6", "::1", "tcp6", "[::1]"],
] as const;

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.ConnectionRefused) return "connection refused";
  return messageOf(error);
}
