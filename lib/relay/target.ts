/**
 * Connecting to a target that takes streams.
 *
 * @module
 */
import { type Duplex, orAbort, pause, systemText } from "../bytes/mod.ts";
import { connectTcp, createDialer, DialError } from "../dial/mod.ts";
import { type Address, formatAddress, systemPath } from "./address.ts";
import type { TargetEndpoint } from "./config.ts";
import { RelayError } from "./errors.ts";
import { SocketDuplex } from "./socket_duplex.ts";
import type { TlsFiles } from "./tls_files.ts";

/** How long to wait before a unix socket with a full backlog is tried again, in milliseconds. */
const BUSY = 5;

/** What a kubeconfig calls otherwise, for its advice about certificates. */
const KEYS: Readonly<Record<string, string>> = {
  "certificate-authority": "(target.tls.caFile)",
  "tls-server-name": "(target.tls.serverName)",
};

/**
 * Connects to `target`.
 *
 * @param timeout In milliseconds; then it aborts `attempt` by itself.
 * @throws {RelayError} With reason `connect` or `connect_timeout`.
 * @throws The reason that `attempt` was aborted for.
 */
export async function connectTarget(
  target: TargetEndpoint,
  files: TlsFiles,
  timeout: number,
  attempt: AbortController,
): Promise<Duplex> {
  const { signal } = attempt;
  const where = () => formatAddress(target.address);
  const timer = setTimeout(() => {
    attempt.abort(new RelayError(`no connection to ${where()} within ${timeout} ms`, "connect_timeout"));
  }, timeout);
  try {
    if (!target.tls) return await connect(target.address, signal);
    return await orAbort(dialTls(target, files, signal), signal, (late) => late.close());
  } catch (cause) {
    signal.throwIfAborted();
    const text = cause instanceof DialError
      ? cause.message.replace(/\(([a-z-]+)\)/, (all, key) => KEYS[key] ?? all)
      : `cannot connect to ${where()}: ${systemText(cause)}`;
    throw new RelayError(text, "connect", { cause });
  } finally {
    clearTimeout(timer);
  }
}

async function connect(address: Address, signal: AbortSignal): Promise<Duplex> {
  if ("port" in address) {
    const conn = await connectTcp(address.hostname, address.port, signal);
    quicken(conn);
    return new SocketDuplex(conn);
  }
  for (;;) {
    try {
      return new SocketDuplex(await Deno.connect({ transport: "unix", path: systemPath(address.path) }));
    } catch (error) {
      // A unix socket with a full backlog refuses at once, where TCP lets wait (connect(2), EAGAIN).
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      await pause(BUSY, signal);
      signal.throwIfAborted();
    }
  }
}

/** What goes through a relay is not held back, and a peer that has vanished is noticed. */
export function quicken(conn: Deno.TcpConn): void {
  try {
    conn.setNoDelay(true);
    conn.setKeepAlive(true);
  } catch {
    // The peer has gone already (EINVAL): the first read says so.
  }
}

function dialTls({ address, tls = {} }: TargetEndpoint, files: TlsFiles, signal: AbortSignal): Promise<Duplex> {
  const file = (path: string | undefined) => path === undefined ? undefined : files.get(path);
  const [ca, cert, key] = [file(tls.caFile), file(tls.certFile), file(tls.keyFile)];
  const dial = createDialer({
    tls: {
      ...(ca !== undefined && { caCerts: [ca], onlyCaCerts: true }),
      ...(tls.serverName !== undefined && { serverName: tls.serverName }),
      ...(tls.insecureSkipVerify !== undefined && { insecureSkipVerify: tls.insecureSkipVerify }),
    },
    ...(cert !== undefined && key !== undefined && { clientCertificate: () => Promise.resolve({ cert, key }) }),
    ...("path" in address && { unixSocket: address.path }),
  });
  const endpoint = "path" in address ? { hostname: tls.serverName ?? "localhost", port: 0 } : address;
  return dial({ hostname: endpoint.hostname, port: endpoint.port, tls: true }, { signal });
}
