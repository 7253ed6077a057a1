/**
 * TLS over TCP, and over anything else.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";
import { DialError } from "./errors.ts";
import { DenoDuplex, explain, formatAddress, isIpAddress, lookUp, orAbort, type SocketAddress } from "./sockets.ts";
import type { TlsOptions } from "./types.ts";

/** Whom TLS is spoken with. */
export interface TlsPeer {
  /** The name or address that was dialed, for verification and for errors. */
  readonly hostname: string;
  /** The port, for errors. */
  readonly port: number;
}

/** HTTP/1.1 is all that an upgrade can be asked over; h2 is not offered. */
const ALPN = ["http/1.1"];

/**
 * Connects to `peer` with TLS the fastest way: Deno's own, which knows neither another server name
 * nor unverified connections.
 *
 * @returns `undefined` where the runtime or the options need the other way.
 * @throws {DialError} If there is no connection or no TLS.
 * @throws The signal's reason.
 */
export async function connectTls(
  peer: TlsPeer,
  tls: TlsOptions,
  signal: AbortSignal,
): Promise<Duplex | undefined> {
  if (!("Deno" in globalThis) || tls.serverName || tls.insecureSkipVerify) return undefined;
  // With several addresses the dialer tries one after the other, and verifies the name over the first that answers.
  if (!isIpAddress(peer.hostname) && (await lookUp(peer, signal)).length > 1) return undefined;
  const certificate = tls.clientCertificate;
  const conn = await explain("tcp", peer, signal, () =>
    orAbort(
      Deno.connectTls({
        ...peer,
        alpnProtocols: ALPN,
        ...(tls.caCerts && { caCerts: [...tls.caCerts] }),
        ...(certificate && { cert: certificate.cert, key: certificate.key }),
      }),
      signal,
    ));
  await shakeHands(conn, peer, signal);
  return new DenoDuplex(conn);
}

async function shakeHands(conn: Deno.TlsConn, peer: TlsPeer, signal: AbortSignal): Promise<void> {
  const abort = () => conn.close();
  signal.addEventListener("abort", abort, { once: true });
  try {
    await conn.handshake();
  } catch (cause) {
    if (!signal.aborted) conn.close();
    signal.throwIfAborted();
    throw tlsError(cause, peer);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/**
 * Speaks TLS over a connection that is open.
 *
 * @throws {DialError} If the handshake fails.
 * @throws The signal's reason.
 */
export async function startTls(lower: Duplex, peer: TlsPeer, tls: TlsOptions, signal: AbortSignal): Promise<Duplex> {
  const [{ connect }, { LowerStream, NodeDuplex, opened }] = await Promise.all([
    import("node:tls"),
    import("./node_stream.ts"),
  ]);
  const name = tls.serverName ?? peer.hostname;
  const stream = new LowerStream(lower);
  const certificate = tls.clientCertificate;
  const socket = connect({
    socket: stream,
    host: name,
    ALPNProtocols: ALPN,
    rejectUnauthorized: !tls.insecureSkipVerify,
    ...(!isIpAddress(name) && { servername: name }),
    ...(tls.caCerts && { ca: [...tls.caCerts] }),
    ...(certificate && { cert: certificate.cert, key: certificate.key }),
  });
  try {
    await opened(socket, "secureConnect", signal);
  } catch (cause) {
    stream.destroy();
    signal.throwIfAborted();
    throw tlsError(cause, peer);
  }
  stream.hasRoom = () => socket.readableLength < MAX_UNREAD;
  return new NodeDuplex(socket, () => stream.poke());
}

/** Decrypted bytes that may lie unread before no more are taken from the network. */
const MAX_UNREAD = 64 * 1024;

function tlsError(cause: unknown, peer: SocketAddress & TlsPeer): DialError {
  const address = formatAddress(peer);
  const message = cause instanceof Error ? cause.message : String(cause);
  const advice = /UnknownIssuer|self.signed|unable to (get|verify)|issuer/i.test(message)
    ? "; name the authority that signed its certificate (certificate-authority)"
    : /NotValidForName|altnames|does not match/i.test(message)
    ? "; if another name is right, give it (tls-server-name)"
    : "";
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return new DialError(`no TLS with ${address}: ${message}${advice}`, { cause, hop: "tls", address, code });
}
