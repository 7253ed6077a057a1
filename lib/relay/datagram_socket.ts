/**
 * Sockets for datagrams: Deno's own where `--unstable-net` lets it have them, else Node's, which know UDP only and take twice
 * the time. A unix one goes one way, as for a syslog: answers cannot come back through it.
 *
 * @module
 */
import { orAbort, systemText } from "../bytes/mod.ts";
import { isIpv4, parseIp, permittedAddress } from "../dial/mod.ts";
import { type Address, formatAddress, isIp, systemPath } from "./address.ts";
import { Backlog } from "./backlog.ts";
import { RelayError } from "./errors.ts";

/** Where a datagram comes from or goes to: an address and port, or a unix socket's path as the system has it. */
export type Peer = { readonly hostname: string; readonly port: number } | { readonly path: string };

/** A datagram, and who sent it; nobody can answer a unix socket without a path. */
export interface Datagram {
  /** Its bytes, valid until the next one is received. */
  readonly data: Uint8Array;
  /** Its sender. */
  readonly from: Peer | undefined;
}

/** A socket for datagrams. */
export interface DatagramSocket {
  /** Where it is bound. */
  readonly peer: Peer;
  /** The next datagram, or `undefined` once it is closed. */
  receive(): Promise<Datagram | undefined>;
  /** Sends a datagram; that the other side does not listen is no failure. */
  send(data: Uint8Array, to: Peer): Promise<void>;
  /** Closes it. */
  close(): void;
}

/** A peer as the key of a map. */
export function peerKey(peer: Peer | undefined): string {
  if (!peer) return "";
  return "path" in peer ? peer.path : `${peer.hostname} ${peer.port}`;
}

/**
 * Binds a unix socket, at once; `onDrop` is told of each datagram that is not taken.
 *
 * @throws {RelayError} If the runtime has no unix sockets for datagrams.
 */
export function bindUnixDatagram(path: string, onDrop: () => void): DatagramSocket {
  return new DenoDatagramSocket(denoListen({ transport: "unixpacket", path }), onDrop);
}

/** Binds a UDP socket; port 0 is any free one. `onDrop` is told of each datagram that is not taken. */
export async function bindUdp(hostname: string, port: number, onDrop: () => void): Promise<DatagramSocket> {
  if (hasDatagrams()) return new DenoDatagramSocket(denoListen({ transport: "udp", hostname, port }), onDrop);
  return await bindNode(hostname, port, onDrop);
}

/** Options of {@linkcode openDatagram}. */
export interface OpenDatagramOptions {
  /** How long, in milliseconds, the target's name may take to be looked up; then it aborts `attempt` by itself. */
  readonly timeout: number;
  /** Ends the lookup. */
  readonly attempt: AbortController;
  /** Told of each datagram that comes back and is not taken. */
  readonly onDrop: () => void;
}

/**
 * A socket to talk with one target from, and that target's peer.
 *
 * @throws {RelayError} If the target's name has no address, none in time, or the runtime has no such sockets.
 * @throws The reason that the attempt was aborted for.
 */
export async function openDatagram(
  target: Address,
  { timeout, attempt, onDrop }: OpenDatagramOptions,
): Promise<{ readonly socket: DatagramSocket; readonly peer: Peer }> {
  try {
    if ("path" in target) {
      // Deno binds every socket: to an abstract name, which needs no folder and leaves nothing behind.
      const bound = bindUnixDatagram(`\0podwire-relay-${crypto.randomUUID()}`, onDrop);
      return { socket: sendOnly(bound), peer: { path: systemPath(target.path) } };
    }
    const found = isIp(target.hostname) ? target.hostname : await lookUp(target.hostname, timeout, attempt);
    const hostname = canonical(found);
    return { socket: await bindUdp(sourceFor(hostname), 0, onDrop), peer: { hostname, port: target.port } };
  } catch (cause) {
    attempt.signal.throwIfAborted();
    throw new RelayError(`cannot send to ${formatAddress(target)}: ${systemText(cause)}`, "connect", { cause });
  }
}

/** The same socket, on which nothing is ever received: Deno's unix sockets cannot send while they wait for a datagram. */
function sendOnly(socket: DatagramSocket): DatagramSocket {
  const closed = Promise.withResolvers<undefined>();
  return {
    peer: socket.peer,
    receive: () => closed.promise,
    send: (data, to) => socket.send(data, to),
    close: () => {
      socket.close();
      closed.resolve(undefined);
    },
  };
}

/** An address as the system spells it: answers are told by their sender's. What goes to every address comes back from loopback. */
function canonical(address: string): string {
  const bytes = parseIp(address); // None if it names a zone (fe80::1%eth0), which is left as it is.
  if (!bytes) return address;
  if (bytes.every((byte) => byte === 0)) return bytes.length === 4 ? "127.0.0.1" : "::1";
  return bytes.length === 4 ? bytes.join(".") : new URL(`http://[${address}]`).hostname.slice(1, -1);
}

/** A local address from which `target` can be reached: loopback from loopback. */
function sourceFor(target: string): string {
  if (isIpv4(target)) return target.startsWith("127.") ? "127.0.0.1" : "0.0.0.0";
  return target === "::1" ? "::1" : "::";
}

/** The first address of `hostname`. The system's own lookup cannot be ended, only left to itself. */
async function lookUp(hostname: string, timeout: number, attempt: AbortController): Promise<string> {
  const timer = setTimeout(() => {
    attempt.abort(new RelayError(`no address for ${hostname} within ${timeout} ms`, "connect_timeout"));
  }, timeout);
  try {
    return await orAbort(addressOf(hostname), attempt.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Lookups under way, by name. */
const lookups = new Map<string, Promise<string>>();

/** Asks the system once for all who want to know: what is left to itself holds one of its threads, and those are few. */
function addressOf(hostname: string): Promise<string> {
  let found = lookups.get(hostname);
  if (!found) {
    found = (async () => {
      try {
        const { default: dns } = await import("node:dns/promises");
        return (await dns.lookup(hostname)).address;
      } finally {
        lookups.delete(hostname);
      }
    })();
    lookups.set(hostname, found);
  }
  return found;
}

function hasDatagrams(): boolean {
  return "listenDatagram" in Deno;
}

function denoListen(
  options: Deno.UdpListenOptions & { transport: "udp" } | Deno.UnixListenOptions & { transport: "unixpacket" },
): Deno.DatagramConn {
  if (!hasDatagrams()) {
    throw new RelayError(
      "unix sockets for datagrams need Deno's --unstable-net: deno run --unstable-net …",
      "listen",
    );
  }
  return options.transport === "udp" ? Deno.listenDatagram(options) : Deno.listenDatagram(options);
}

/** The longest datagram that a relay passes on; one of UDP is shorter. */
const MAX_SIZE = 64 * 1024;

class DenoDatagramSocket implements DatagramSocket {
  readonly peer: Peer;
  readonly #conn: Deno.DatagramConn;
  /** The system cuts off what does not fit: with a byte more it is seen. */
  readonly #buffer = new Uint8Array(MAX_SIZE + 1);
  readonly #onDrop: () => void;
  #closed = false;

  constructor(conn: Deno.DatagramConn, onDrop: () => void) {
    this.#conn = conn;
    this.#onDrop = onDrop;
    this.peer = toPeer(conn.addr) ?? { path: "" };
  }

  async receive(): Promise<Datagram | undefined> {
    for (;;) {
      try {
        const [data, from] = await this.#conn.receive(this.#buffer);
        if (data.length <= MAX_SIZE) return { data, from: toPeer(from) };
        this.#onDrop();
      } catch (error) {
        if (this.#closed) return undefined;
        // Linux tells an unconnected UDP socket nothing of ICMP, and a unix one of its former peer: neither ends it.
        if (!(error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.ConnectionReset)) {
          throw error;
        }
      }
    }
  }

  async send(data: Uint8Array, to: Peer): Promise<void> {
    await this.#conn.send(
      data,
      "path" in to ? { transport: "unixpacket", path: to.path } : { transport: "udp", ...to },
    );
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#conn.close();
  }
}

function toPeer(address: Deno.Addr): Peer | undefined {
  if (address.transport === "udp" || address.transport === "tcp") {
    return { hostname: address.hostname, port: address.port };
  }
  // The types have no null, yet a sender without a path has it.
  const path = (address as { path: string | null }).path;
  return path ? { path } : undefined;
}

/** Bytes that may wait to be received, as by default in a socket of Linux; what comes then is dropped, as a full one does it. */
const MAX_WAITING = 208 * 1024;

async function bindNode(hostname: string, port: number, onDrop: () => void): Promise<DatagramSocket> {
  await permittedAddress(hostname, port);
  const { createSocket } = await import("node:dgram");
  const socket = createSocket({ type: isIpv4(hostname) ? "udp4" : "udp6" });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, hostname, () => {
      socket.off("error", reject);
      resolve();
    });
  });
  const waiting: Datagram[] = [];
  const backlog = new Backlog(MAX_WAITING);
  let wake: (() => void) | undefined;
  let closed = false;
  const awaken = () => {
    wake?.();
    wake = undefined;
  };
  socket.on("message", (data, { address, port }) => {
    if (!backlog.take(data.length)) return onDrop();
    waiting.push({ data, from: { hostname: address, port } });
    awaken();
  });
  socket.on("error", () => {}); // What a send fails with is told to the sender.
  const bound = socket.address();
  return {
    peer: { hostname: bound.address, port: bound.port },
    receive: async () => {
      while (waiting.length === 0 && !closed) await new Promise<void>((resolve) => wake = resolve);
      const got = closed ? undefined : waiting.shift();
      if (got) backlog.give(1, got.data.length);
      return got;
    },
    send: (data, to) =>
      new Promise((resolve, reject) => {
        if ("path" in to) return reject(new TypeError("a UDP socket cannot send to a path"));
        socket.send(data, to.port, to.hostname, (error) => error ? reject(error) : resolve());
      }),
    close: () => {
      if (closed) return;
      closed = true;
      socket.close();
      awaken();
    },
  };
}
