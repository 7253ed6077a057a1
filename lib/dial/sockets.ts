/**
 * TCP and unix sockets as duplexes: Deno's own, or Node's.
 *
 * @module
 */
import { type Duplex, orAbort, PodwireError, readEnvironment } from "../bytes/mod.ts";
import { DialError, type Hop } from "./errors.ts";
import { NodeDuplex, opened } from "./node_stream.ts";

/** Where a socket goes. */
export type SocketAddress =
  | { readonly hostname: string; readonly port: number }
  | { readonly path: string };

/** `host:port`, an IPv6 address in brackets, or a path; for people. */
export function formatAddress(address: SocketAddress): string {
  if ("path" in address) return address.path;
  const { hostname, port } = address;
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/**
 * Connects to `address`. A name's addresses are tried side by side (RFC 8305), which Deno and Node do by themselves.
 *
 * @throws {DialError} If none answers; its hop is `hop`, `"dns"` where the name has no address, or `"unix"` for a path.
 * @throws The signal's reason.
 */
export async function connectSocket(
  address: SocketAddress,
  signal: AbortSignal,
  hop: "tcp" | "proxy" = "tcp",
): Promise<Duplex> {
  signal.throwIfAborted();
  if ("path" in address) {
    return await explain("unix", address, signal, () => connectPath(expandPath(address.path), signal));
  }
  return await explain(hop, address, signal, () => connectHost(address.hostname, address.port, signal));
}

/** `~` and `~/…` stand for the user's home, `@name` for an abstract socket. */
function expandPath(path: string): string {
  if (path.startsWith("@")) return `\0${path.slice(1)}`;
  if (path !== "~" && !path.startsWith("~/")) return path;
  const home = readEnvironment("HOME");
  if (!home) throw new PodwireError(`cannot expand ${path}: HOME is not set`);
  return home + path.slice(1);
}

/**
 * `Deno.connect`, but never to itself: a connection to a local port where nobody listens may be given that very port as its own,
 * and then answers whatever it says (RFC 9293 section 3.5, simultaneous open). Go's `net` looks for that, too.
 *
 * @throws What `Deno.connect` throws, or the signal's reason.
 */
export async function connectTcp(hostname: string, port: number, signal: AbortSignal): Promise<Deno.TcpConn> {
  for (;;) {
    const conn = await Deno.connect({ hostname, port, signal });
    const { localAddr, remoteAddr } = conn;
    if (localAddr.port !== remoteAddr.port || localAddr.hostname !== remoteAddr.hostname) return conn;
    conn.close(); // The next one has another port.
  }
}

async function connectHost(hostname: string, port: number, signal: AbortSignal): Promise<Duplex> {
  if ("Deno" in globalThis) {
    const conn = await connectTcp(hostname, port, signal);
    conn.setNoDelay(true);
    conn.setKeepAlive(true);
    return new DenoDuplex(conn);
  }
  return await connectNode({ host: hostname, port, noDelay: true, keepAlive: true }, signal);
}

/** Connects to a unix socket; throws what the runtime throws. */
export async function connectPath(path: string, signal: AbortSignal): Promise<Duplex> {
  if ("Deno" in globalThis) {
    return new DenoDuplex(await orAbort(Deno.connect({ transport: "unix", path }), signal, (late) => late.close()));
  }
  return await connectNode({ path }, signal);
}

async function connectNode(
  options: { path: string } | { host: string; port: number; noDelay: boolean; keepAlive: boolean },
  signal: AbortSignal,
): Promise<Duplex> {
  const { connect } = await import("node:net");
  const socket = connect({ ...options, allowHalfOpen: true });
  await opened(socket, "connect", signal);
  return new NodeDuplex(socket);
}

/** Runs a step; its failure becomes a {@linkcode DialError} that names it. */
export async function explain<T>(
  hop: Hop,
  address: SocketAddress,
  signal: AbortSignal,
  step: () => Promise<T>,
): Promise<T> {
  try {
    return await step();
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof DialError) throw cause;
    const code = codeOf(cause);
    const where = formatAddress(address);
    const step = code === "ENOTFOUND" || code === "EAI_AGAIN" ? "dns" : hop;
    const advice = ADVICE[`${step} ${code}`];
    throw new DialError(`${STEPS[step]} ${where}: ${reasonOf(cause, code)}${advice ? `; ${advice}` : ""}`, {
      cause,
      hop: step,
      address: where,
      code,
    });
  }
}

const STEPS: Readonly<Record<Hop, string>> = {
  dns: "cannot look up",
  tcp: "cannot connect to",
  unix: "cannot connect to the unix socket",
  proxy: "cannot get through the proxy",
  tls: "no TLS with",
};

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset by peer",
  ENOENT: "no such file or directory",
  EACCES: "permission denied",
  EADDRINUSE: "address already in use",
  EADDRNOTAVAIL: "cannot assign requested address",
  ENOTFOUND: "no such host",
  EAI_AGAIN: "the name service does not answer",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network is unreachable",
};

/** What to do about it, by step and code. */
const ADVICE: Readonly<Record<string, string>> = {
  "dns ENOTFOUND": "check how it is spelled",
  "tcp ECONNREFUSED": "is the server running, and is this its port?",
  "unix ENOENT": "is what listens on it running?",
  "unix ECONNREFUSED": "what listened on it has gone",
  "proxy ECONNREFUSED": "is the proxy running, and is this its port?",
};

/** What the system says, in its usual words. */
export function reasonOf(cause: unknown, code: string): string {
  return REASONS[code] ?? (cause instanceof Error ? cause.message.replace(/ \(os error \d+\)$/, "") : String(cause));
}

/** The system's name of an error: Node tells it by `code`, Deno by that, by the class or by the text. */
export function codeOf(cause: unknown): string {
  if (!(cause instanceof Error)) return "";
  if ("code" in cause && typeof cause.code === "string") return cause.code;
  if (/failed to lookup address/i.test(cause.message)) return "ENOTFOUND";
  return CODES[cause.name] ?? "";
}

const CODES: Readonly<Record<string, string>> = {
  ConnectionRefused: "ECONNREFUSED",
  ConnectionReset: "ECONNRESET",
  NotFound: "ENOENT",
  PermissionDenied: "EACCES",
  TimedOut: "ETIMEDOUT",
};

/** A Deno connection as a duplex. */
export class DenoDuplex implements Duplex {
  /** The connection itself, for {@linkcode Deno.startTls}; only while nothing is being read or written. */
  readonly conn: Deno.Conn;
  #closed = false;
  #writing: Promise<void> = Promise.resolve();

  /** Takes over `conn`. */
  constructor(conn: Deno.Conn) {
    this.conn = conn;
  }

  /** Reads into `into`. */
  read(into: Uint8Array): Promise<number | null> {
    return this.conn.read(into);
  }

  /** Writes all of `data`, after the writes before it. */
  write(data: Uint8Array): Promise<void> {
    const write = this.#writing.then(() => this.#writeAll(data));
    this.#writing = write.catch(() => {}); // The failed write's own caller is told.
    return write;
  }

  /** Sends FIN (over TLS a close_notify first), after the writes before it. */
  async closeWrite(): Promise<void> {
    await this.#writing;
    await this.conn.closeWrite();
  }

  /** Closes both directions. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.conn.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error; // A failed Deno.startTls has closed it.
    }
  }

  /** See {@linkcode Duplex}. */
  setIdle(idle: boolean): void {
    if (this.#closed) return;
    if (idle) this.conn.unref();
    else this.conn.ref();
  }

  async #writeAll(data: Uint8Array): Promise<void> {
    for (let written = 0; written < data.length;) {
      written += await this.conn.write(written === 0 ? data : data.subarray(written));
    }
  }
}
