/**
 * The local side of a port-forward: listens, and carries each connection to the pod and back.
 *
 * @module
 */
import { listen, type NodeDuplex, type SocketAddress } from "../dial/mod.ts";
import { ForwardError } from "./forward_error.ts";
import type { ForwardedConnection } from "./forwarded_connection.ts";
import { hasSockets, noSockets } from "./runtime.ts";

/** Where to listen: a port (0: any that is free), or a unix socket, which only its owner can use. */
export type ForwardAddress =
  | { readonly hostname?: string; readonly port: number }
  | { readonly path: string };

/** A socket on this machine whose connections are forwarded. */
export interface ForwardListener extends AsyncDisposable {
  /** Where it listens, with the port that it got. */
  readonly address: SocketAddress;
  /** Resolves when it listens no more. */
  readonly closed: Promise<void>;
  /** Stops listening. Connections go on. */
  close(): void;
}

/**
 * Listens at `address`, and forwards every connection over what `open` opens for it.
 *
 * A connection whose other side failed is reset here, and never ended as if it were complete. One that is reset here has its stream
 * reset, which is all that a server can be told: to the pod's process, servers (podwire's own included) just end the connection.
 *
 * @param ended Cuts off the connections whose clients have not taken everything yet.
 * @throws {ListenError} If the address is in use or cannot be had, or the runtime is a browser.
 */
export async function listenForward(
  address: ForwardAddress,
  open: (local: SocketAddress) => Promise<ForwardedConnection>,
  ended: AbortSignal,
): Promise<ForwardListener> {
  const place = "path" in address
    ? { path: address.path }
    : { hostname: address.hostname ?? "127.0.0.1", port: address.port };
  if (!hasSockets()) throw noSockets(place, "TCP or unix socket", "use connect()");
  const listening = await listen(place, (local) => void carry(local, () => open(listening.address), ended));
  const { promise, resolve } = Promise.withResolvers<void>();
  const close = () => {
    listening.close();
    resolve();
  };
  return {
    address: listening.address,
    closed: promise,
    close,
    [Symbol.asyncDispose]: () => {
      close();
      return promise;
    },
  };
}

/** One connection from its first byte to its last. Whoever opened it is told how it went by itself. */
async function carry(
  local: NodeDuplex,
  open: () => Promise<ForwardedConnection>,
  ended: AbortSignal,
): Promise<void> {
  let remote: ForwardedConnection;
  try {
    remote = await open();
  } catch {
    return local.reset(); // `open` has told why.
  }
  const sent = send(local, remote);
  // A client that reads slowly would be left with an end that looks like the pod's when this process ends.
  const cut = () => local.reset();
  ended.addEventListener("abort", cut);
  try {
    await receive(remote, local).finally(() => ended.removeEventListener("abort", cut));
    await remote.closed;
    // The pod has ended the connection. A client that still talks gets time to read before it is cut off.
    const timer = setTimeout(() => local.close(), LINGER);
    await sent;
    clearTimeout(timer);
    local.close();
  } catch {
    // `closed` of the connection has the reason. Half a stream must not look like a whole one.
    remote.close();
    local.reset();
    await sent;
  }
}

/** Carries what the client sends. Never throws: what breaks here breaks the other direction too. */
async function send(local: NodeDuplex, remote: ForwardedConnection): Promise<void> {
  let taken = true;
  for (;;) {
    let chunk: Uint8Array | null;
    try {
      chunk = await local.readChunk();
    } catch {
      return remote.close(); // Reset by the client, or closed here.
    }
    if (chunk === null) break;
    try {
      if (taken) await remote.write(chunk);
    } catch (error) {
      if (!(error instanceof ForwardError) || error.code !== "EPIPE") return remote.close();
      taken = false; // The pod takes no more, but the client may not have read all yet.
    }
  }
  await remote.closeWrite().catch(() => {}); // The reading side is told.
}

/** Carries what the pod sends, and its end. */
async function receive(remote: ForwardedConnection, local: NodeDuplex): Promise<void> {
  for (let chunk = await remote.readChunk(); chunk !== null; chunk = await remote.readChunk()) {
    await local.write(chunk);
  }
  await local.closeWrite();
}

/** How long a client may go on sending to a pod that has ended the connection, in milliseconds. */
const LINGER = 5_000;
