/**
 * A pod's ports, which are this machine's: a pod of the host is local processes.
 *
 * @module
 */
import { type Duplex, messageOf, PodwireError, withDeadline } from "../bytes/mod.ts";
import { connectTcp } from "../dial/mod.ts";
import { SocketDuplex } from "./socket.ts";

/** Nobody can be reached on a port. */
export class LocalPortError extends PodwireError {
  /** The class's name. */
  override name = "LocalPortError";
}

/** How long a connection to the own machine may take, in milliseconds; it takes none unless somebody's backlog is full. */
const CONNECT_TIMEOUT = 10_000;

/**
 * Connections that were never answered, to notice a port-forward that leads to itself: where its client listens on the very port of this
 * machine that it forwards to, and nobody else does, each connection makes the next one, without an end. They come one by one, none of
 * them is closed, and not one byte comes back.
 */
export class Unanswered {
  /** By port: dials under way, and connections that each came alone and are open without an answer. */
  readonly #ports = new Map<number, { dialing: number; waiting: number }>();

  /**
   * Makes a connection by `dial`, whose result calls `settled` at its first answer or its end.
   *
   * @throws {LocalPortError} If there are too many that wait for an answer.
   */
  async watch<T>(port: number, dial: (settled: () => void) => Promise<T>): Promise<T> {
    const counts = this.#ports.get(port) ?? { dialing: 0, waiting: 0 };
    this.#ports.set(port, counts);
    if (counts.waiting >= MAX_UNANSWERED) throw new LocalPortError(leadsToItself(port));
    // Many at once are somebody's wish, and not each other's doing.
    let counted = counts.dialing === 0;
    const settled = () => {
      if (counted) counts.waiting--;
      counted = false;
    };
    if (counted) counts.waiting++;
    counts.dialing++;
    try {
      return await dial(settled);
    } catch (error) {
      settled();
      throw error;
    } finally {
      counts.dialing--;
    }
  }
}

/** So many connections that came one by one and were never answered are taken for one that leads to itself. */
const MAX_UNANSWERED = 128;

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
  return await unanswered.watch(port, (settled) => dialPort(port, signal, settled));
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
