/**
 * TLS on the accepting side.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import { type Duplex, messageOf, orAbort } from "../bytes/mod.ts";
import { LowerStream, NodeDuplex } from "./node_stream.ts";
import { MAX_UNREAD } from "./tls.ts";
import { DialError } from "./errors.ts";

/** What the accepting side shows and wants to see; all PEM. */
export interface AcceptTlsOptions {
  /** The certificate chain. */
  readonly cert: string;
  /** The private key. */
  readonly key: string;
  /** The authorities of the certificate that the client must show; if absent, it need not show one. */
  readonly clientCa?: string;
}

/**
 * Speaks TLS over an accepted connection and owns it from then on.
 *
 * By `node:tls`: `Deno.listenTls` asks no client for a certificate, and does not let go of a connection whose client
 * never finishes the handshake.
 *
 * @throws {DialError} If the handshake fails, or the client shows no certificate of these authorities; the connection
 * is closed then.
 * @throws The signal's reason.
 */
export async function acceptTls(lower: Duplex, options: AcceptTlsOptions, signal: AbortSignal): Promise<Duplex> {
  const [{ createServer }, { Duplex: Stream }] = await Promise.all([import("node:tls"), import("node:stream")]);
  const below = new LowerStream(lower, Stream);
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  // A TLSSocket alone would let any certificate pass: it is the server that refuses.
  const server = createServer({
    cert: options.cert,
    key: options.key,
    ...(options.clientCa !== undefined && { ca: options.clientCa, requestCert: true, rejectUnauthorized: true }),
    allowHalfOpen: true,
    ALPNProtocols: ["http/1.1"],
  }, resolve);
  server.on("tlsClientError", reject);
  try {
    signal.throwIfAborted();
    server.emit("connection", below.stream);
    const socket = await orAbort(promise, signal);
    below.hasRoom = () => socket.readableLength < MAX_UNREAD;
    return new NodeDuplex(socket, () => below.poke());
  } catch (cause) {
    below.stream.on("error", () => {}); // It is being thrown away.
    below.stream.destroy();
    signal.throwIfAborted();
    const message = messageOf(cause);
    throw new DialError(`no TLS with the client: ${message}`, { cause, hop: "tls", address: "" });
  }
}
