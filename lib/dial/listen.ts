/**
 * Listening on a port or a unix socket.
 *
 * Over `node:net`, not `Deno.listen`: a connection that broke on its far side has to end with a reset here, and
 * Deno's own connections cannot send one.
 *
 * @module
 */
import type { Server, Socket } from "node:net";
import { PodwireError } from "../bytes/mod.ts";
import { parseIp } from "./ip.ts";
import { NodeDuplex } from "./node_stream.ts";
import { bindWithMode, removeStaleSocket } from "./socket_file.ts";
import { codeOf, formatAddress, reasonOf, type SocketAddress } from "./sockets.ts";

/** Nobody can listen there. */
export class ListenError extends PodwireError {
  /** The class's name. */
  override name = "ListenError";
  /** Where. */
  readonly address: SocketAddress;
  /** The system's name of the error: `EADDRINUSE`, `EACCES` …; empty if it has none. */
  readonly code: string;

  /** An error for `address`. */
  constructor(message: string, address: SocketAddress, code: string, options?: ErrorOptions) {
    super(message, options);
    this.address = address;
    this.code = code;
  }
}

/** The error for what the system says against listening on `address`. */
export function cannotListen(address: SocketAddress, cause: unknown): ListenError {
  let code = codeOf(cause);
  let reason: string | undefined;
  if (code === "EINVAL") {
    if ("path" in address) reason = "the path is too long for a unix socket";
    else code = "EADDRNOTAVAIL"; // Deno's node:net says so of an address that this machine does not have.
  }
  reason ??= reasonOf(cause, code);
  return new ListenError(`cannot listen on ${formatAddress(address)}: ${reason}`, address, code, { cause });
}

/**
 * Removes a socket on which nobody listens any more.
 *
 * @throws {ListenError} If something else is there.
 */
export async function freePath(path: string): Promise<void> {
  const obstacle = await removeStaleSocket(path);
  if (!obstacle) return;
  const { code, why, cause } = obstacle;
  throw new ListenError(`cannot listen on ${path}: ${why}`, { path }, code, cause === undefined ? {} : { cause });
}

/**
 * The IP address of `hostname`, once Deno permits to listen on its `port`: what it refuses, its `node:net` and `node:dgram`
 * throw where nobody can catch it. Itself, if Deno permits that name with that port alone, which is not enough to look it up here.
 *
 * @param family Which addresses count; by default the first one does.
 * @throws What the system, or Deno, says against it.
 */
export async function permittedAddress(hostname: string, port: number, family: 0 | 4 | 6 = 0): Promise<string> {
  const isName = !hostname.includes(":") && !parseIp(hostname); // An IPv6 address may have a zone.
  if (isName) {
    await requireNet(`${hostname}:${port}`);
    if (!await isPermitted(hostname)) return hostname;
  }
  const { lookup } = await import("node:dns/promises");
  const { address } = await lookup(hostname, family);
  await requireNet(formatAddress({ hostname: address.replace(/%.*/, ""), port }));
  return address;
}

async function isPermitted(host: string): Promise<boolean> {
  return !("Deno" in globalThis) || (await Deno.permissions.query({ name: "net", host })).state === "granted";
}

async function requireNet(host: string): Promise<void> {
  if (!("Deno" in globalThis)) return;
  const { state } = await Deno.permissions.request({ name: "net", host });
  if (state === "granted") return;
  const why = `Deno does not permit it; run it with --allow-net=${host}`;
  throw Object.assign(new Deno.errors.NotCapable(why), { code: "EPERM" });
}

/** A listening socket. */
export interface Listening {
  /** Where it listens, with the port that it got. */
  readonly address: SocketAddress;
  /** Stops listening, and removes a unix socket, as Node does by itself; connections go on. */
  close(): void;
}

/**
 * Listens, and hands every connection to `onConnection`.
 *
 * A unix socket is for its owner alone, mode 0600 from its first moment. One that is left from before is removed, but
 * only when nobody answers on it. The address `::` is for IPv6 alone.
 *
 * @throws {ListenError} If the address is in use or cannot be had.
 */
export async function listen(
  address: SocketAddress,
  onConnection: (connection: NodeDuplex) => void,
): Promise<Listening> {
  const { createServer } = await import("node:net");
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket: Socket) => {
    // Deno listens on :: for IPv4, too, whatever `ipv6Only` says.
    if (isAnyIPv6(server) && socket.remoteAddress?.startsWith("::ffff:")) return void socket.resetAndDestroy();
    onConnection(new NodeDuplex(socket));
  });
  if ("path" in address) await freePath(address.path);
  try {
    await start(server, address);
  } catch (cause) {
    throw cannotListen(address, cause);
  }
  const bound = server.address();
  return {
    address: bound && typeof bound === "object" ? { hostname: bound.address, port: bound.port } : address,
    close: () => void server.close(),
  };
}

function isAnyIPv6(server: Server): boolean {
  const bound = server.address();
  return bound !== null && typeof bound === "object" && bound.address === "::";
}

async function start(server: Server, address: SocketAddress): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  if ("path" in address) {
    await bindWithMode(address.path, 0o600, (path) => server.listen(path, resolve));
  } else {
    const { hostname, port } = address;
    const host = await permittedAddress(hostname, port);
    server.listen({ host, port, ipv6Only: hostname.includes(":") }, resolve);
  }
  await promise;
  server.off("error", reject);
}
