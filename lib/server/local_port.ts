/**
 * A pod's ports, which are this machine's: a pod of the host is local processes.
 *
 * @module
 */
import { type Duplex, messageOf, PodwireError } from "../bytes/mod.ts";
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
 * Connects to a port of this machine, 127.0.0.1 first and `::1` if nobody is there, as container runtimes do
 * inside a pod.
 *
 * @throws {LocalPortError} If nobody listens on either; it says why in containerd's words.
 * @throws The signal's reason, once it is aborted.
 */
export async function connectToPort(port: number, signal: AbortSignal): Promise<Duplex> {
  const tries: string[] = [];
  for (const [family, hostname, network, address] of LOOPBACK) {
    try {
      const connection = await connect(hostname, port, signal);
      return new SocketDuplex(connection, `the connection to port ${port} of the pod broke`);
    } catch (error) {
      signal.throwIfAborted();
      tries.push(`${family}: dial ${network} ${address}:${port}: connect: ${reasonOf(error)}`);
    }
  }
  throw new LocalPortError(`failed to connect to localhost:${port}, ${tries.join(", ")}`);
}

const LOOPBACK = [
  ["IPv4", "127.0.0.1", "tcp4", "127.0.0.1"],
  ["IPv6", "::1", "tcp6", "[::1]"],
] as const;

async function connect(hostname: string, port: number, signal: AbortSignal): Promise<Deno.TcpConn> {
  const given = new AbortController();
  const timer = setTimeout(() => given.abort(new LocalPortError("connection timed out")), CONNECT_TIMEOUT);
  try {
    return await connectTcp(hostname, port, AbortSignal.any([signal, given.signal]));
  } finally {
    clearTimeout(timer);
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.ConnectionRefused) return "connection refused";
  return messageOf(error);
}
