/**
 * TLS over TCP, and over anything else.
 *
 * @module
 */
import { type Duplex, messageOf, orAbort, PodwireError } from "../bytes/mod.ts";
import { DialError } from "./errors.ts";
import { isIpv4 } from "./ip.ts";
import { LowerStream, NodeDuplex, opened } from "./node_stream.ts";
import { codeOf, DenoDuplex, explain, formatAddress } from "./sockets.ts";
import type { ClientCertificate, TlsOptions } from "./types.ts";

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
 * Connects to `peer` for TLS with a client certificate, in Deno, to the peer's own name: `Deno.connectTls` is the only one
 * of Deno's own that takes a certificate. The handshake is still to come ({@linkcode shakeHands}).
 * {@linkcode startTls} does everything else.
 *
 * It takes a third of the CPU of `node:tls`, but Deno cannot switch off Nagle's algorithm on it: the second of two small
 * writes waits until the peer has acknowledged the first, about 40 ms on Linux.
 *
 * @returns `undefined` where the runtime or the options need the other way.
 * @throws {DialError} If there is no connection, or the certificate or the key cannot be used.
 * @throws The signal's reason.
 */
export async function connectTls(
  peer: TlsPeer,
  tls: TlsOptions,
  signal: AbortSignal,
): Promise<Deno.TlsConn | undefined> {
  const certificate = tls.clientCertificate;
  if (!("Deno" in globalThis) || !certificate || tls.serverName || needsNode(tls)) return undefined;
  const options = { ...peer, ...denoOptions(tls), cert: certificate.cert, key: certificate.key };
  const connecting = Deno.connectTls(options).catch((cause) => {
    throw codeOf(cause) === "" ? tlsError(cause, peer) : cause; // No system error: the certificate or the key is wrong.
  });
  return await explain("tcp", peer, signal, () => orAbort(connecting, signal, (late) => late.close()));
}

/**
 * Speaks TLS over a connection that is open, and owns it from then on: by Deno's own TLS over a TCP connection, by `node:tls` over
 * anything else and for what Deno's own cannot do.
 *
 * A peer that ends TCP without ending TLS (RFC 8446 section 6.1) is an error for the one when it is read, an ordinary end
 * for the other. What needs to know its end carries it itself: a length, chunks, a Close frame.
 *
 * @throws {DialError} If the handshake fails.
 * @throws The signal's reason.
 */
export async function startTls(lower: Duplex, peer: TlsPeer, tls: TlsOptions, signal: AbortSignal): Promise<Duplex> {
  const name = tls.serverName ?? peer.hostname;
  if (lower instanceof DenoDuplex && isTcp(lower.conn) && !tls.clientCertificate && !needsNode(tls)) {
    const { conn } = lower;
    const options = { hostname: name, ...denoOptions(tls) };
    return await shakeHands(await failing(peer, lower, signal, () => Deno.startTls(conn, options)), peer, signal);
  }
  return await startNodeTls(lower, name, peer, tls, signal);
}

/** Deno's own TLS verifies always, and `caCerts` add to those that Deno trusts. */
function needsNode({ insecureSkipVerify, onlyCaCerts }: TlsOptions): boolean {
  return insecureSkipVerify === true || onlyCaCerts === true;
}

function isTcp(conn: Deno.Conn): conn is Deno.TcpConn {
  return conn.remoteAddr.transport === "tcp" && "setNoDelay" in conn;
}

function denoOptions({ caCerts }: TlsOptions): { alpnProtocols: string[]; caCerts?: string[] } {
  return { alpnProtocols: ALPN, ...(caCerts && { caCerts: [...caCerts] }) };
}

/**
 * Speaks the handshake; a connection on which it fails, or is given up, is closed. What is given up Deno closes only when the
 * peer stirs, and there is no way to hurry it.
 */
export async function shakeHands(conn: Deno.TlsConn, peer: TlsPeer, signal: AbortSignal): Promise<Duplex> {
  const duplex = new DenoDuplex(conn);
  await failing(peer, duplex, signal, () => orAbort(conn.handshake(), signal));
  return duplex;
}

async function startNodeTls(
  lower: Duplex,
  name: string,
  peer: TlsPeer,
  tls: TlsOptions,
  signal: AbortSignal,
): Promise<Duplex> {
  const [{ connect }, { Duplex: Stream }] = await Promise.all([import("node:tls"), import("node:stream")]);
  const below = new LowerStream(lower, Stream);
  const certificate = tls.clientCertificate;
  const socket = await failing(peer, lower, signal, async () => {
    if (certificate) await checkPair(certificate); // Deno's goes on without one that it cannot use.
    const socket = connect({
      socket: below.stream,
      host: name,
      ALPNProtocols: ALPN,
      rejectUnauthorized: !tls.insecureSkipVerify,
      ...(name.includes(":") ? { checkServerIdentity: await ipv6Check() } : !isIpv4(name) && { servername: name }),
      ...(tls.caCerts && { ca: [...tls.caCerts] }),
      ...(certificate && { cert: certificate.cert, key: certificate.key }),
    });
    await opened(socket, "secureConnect", signal);
    return socket;
  });
  below.hasRoom = () => socket.readableLength < MAX_UNREAD;
  return new NodeDuplex(socket, () => below.poke(), (idle) => below.setIdle(idle));
}

/**
 * Checks that a client's certificate and key are a pair, each the first of its kind in its text.
 *
 * @throws {PodwireError} In Go's words, if they are not (`crypto/tls`, `X509KeyPair`).
 */
async function checkPair({ cert, key }: ClientCertificate): Promise<void> {
  const { createPrivateKey, X509Certificate } = await import("node:crypto");
  const certificate = attempt("certificate", () => new X509Certificate(firstBlock(cert, "CERTIFICATE")));
  const privateKey = attempt("private key", () => createPrivateKey(firstBlock(key, "PRIVATE KEY")));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new PodwireError("tls: private key does not match public key");
  }
}

function attempt<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new PodwireError(`tls: failed to parse ${what}`, { cause });
  }
}

/** Files may have other things before and behind it; `node:crypto` takes the first thing for what it wants. */
function firstBlock(pem: string, kind: string): string {
  return new RegExp(`-----BEGIN [A-Z ]*${kind}-----[^]*?-----END [A-Z ]*${kind}-----`).exec(pem)?.[0] ?? pem;
}

/** Verifies an IPv6 address: the check that Node has of its own (22.23) takes none for an address. */
async function ipv6Check(): Promise<(address: string, certificate: { raw: Uint8Array }) => Error | undefined> {
  const { X509Certificate } = await import("node:crypto");
  return (address, { raw }) => {
    if (new X509Certificate(raw).checkIP(address) !== undefined) return undefined;
    return new Error(`the certificate does not match the address ${address}`);
  };
}

/** Decrypted bytes that may lie unread before no more are taken from the network. */
export const MAX_UNREAD = 64 * 1024;

/** Runs a step of the handshake; if it fails, `duplex` is closed and the failure explained. */
async function failing<T>(peer: TlsPeer, duplex: Duplex, signal: AbortSignal, step: () => Promise<T>): Promise<T> {
  try {
    const done = await step();
    signal.throwIfAborted();
    return done;
  } catch (cause) {
    duplex.close();
    signal.throwIfAborted();
    throw tlsError(cause, peer);
  }
}

/**
 * Whether `error` is Deno's own TLS refusing a server whose certificate is an authority's, such as `openssl req -x509` makes:
 * one that is named as the authority to trust is good enough for `node:tls`, and for Go.
 */
export function isOwnAuthority(error: unknown): boolean {
  return error instanceof DialError && /\bCaUsedAsEndEntity\b/.test(error.message);
}

function tlsError(cause: unknown, peer: TlsPeer): DialError {
  const address = formatAddress(peer);
  const message = messageOf(cause);
  // Deno's node:tls says "unable to verify" whatever is wrong with the chain.
  const advice = /unable to verify/i.test(message)
    ? "; name the authority that signed its certificate (certificate-authority), and see that it has not expired"
    : /UnknownIssuer|self.signed|unable to get|issuer/i.test(message)
    ? "; name the authority that signed its certificate (certificate-authority)"
    : /not valid for name|altnames|does not match the address/i.test(message)
    ? "; if another name is right, give it (tls-server-name)"
    : "";
  return new DialError(`no TLS with ${address}: ${message}${advice}`, {
    cause,
    hop: "tls",
    address,
    code: codeOf(cause),
  });
}
