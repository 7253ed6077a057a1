/**
 * From an endpoint to a duplex, by whatever way the options say.
 *
 * @module
 */
import { type Duplex, withDeadline } from "../bytes/mod.ts";
import { DialError } from "./errors.ts";
import { bareHost, type GetEnv, proxyFor, proxyPort, throughProxy } from "./proxy.ts";
import { connectSocket, formatAddress, type SocketAddress } from "./sockets.ts";
import { connectTls, isOwnAuthority, shakeHands, startTls } from "./tls.ts";
import type { ClientCertificate, Dialer, Endpoint, TlsOptions } from "./types.ts";

/** The ways of a dialer. */
export interface DialerOptions {
  /** How TLS is spoken with the endpoint and with an https proxy. */
  readonly tls?: Omit<TlsOptions, "clientCertificate">;
  /** Asked for the client's certificate at every connection, as certificates change. */
  readonly clientCertificate?: (options: { readonly signal: AbortSignal }) => Promise<ClientCertificate | undefined>;
  /** A unix socket to dial instead of any address; no proxy is asked then. A path, `~/…`, or `@name` for an abstract one. */
  readonly unixSocket?: string;
  /** A proxy for every connection: http, https, socks5 or socks5h. */
  readonly proxy?: URL;
  /** The environment that names a proxy when `proxy` does not. Default: none. */
  readonly env?: GetEnv;
  /** How long each step may take, in milliseconds. Default, as in client-go: 30 000, and 10 000 for TLS. */
  readonly timeout?: number;
}

/**
 * A dialer that goes the way that `options` describe: to a unix socket, through a proxy, or straight to the endpoint; with
 * TLS at the end of any of them if the endpoint has it.
 *
 * It throws {@linkcode DialError}, which names the step and the address, or the signal's reason.
 *
 * @example
 * ```ts
 * import { createDialer } from "./dialer.ts";
 *
 * const dial = createDialer({ unixSocket: "/run/k.sock" });
 * async function readyz(): Promise<void> {
 *   const duplex = await dial({ hostname: "mykubecluster.com", port: 80, tls: false });
 *   duplex.close();
 * }
 * ```
 */
export function createDialer(options: DialerOptions = {}): Dialer {
  return async (endpoint, { signal } = {}) => await new Dial(options, endpoint, signal).run();
}

/** The settings of servers that are their own authority: Deno's TLS need not be asked again. */
const OWN_AUTHORITIES = new WeakSet<TlsOptions>();

class Dial {
  readonly #options: DialerOptions;
  readonly #endpoint: Endpoint;
  readonly #signal: AbortSignal | undefined;

  constructor(options: DialerOptions, endpoint: Endpoint, signal: AbortSignal | undefined) {
    this.#options = options;
    this.#endpoint = endpoint;
    this.#signal = signal;
  }

  async run(): Promise<Duplex> {
    const tls = await this.#tls();
    const settings = this.#options.tls;
    // By node:tls, which takes it.
    const another = () => this.#open({ ...tls, onlyCaCerts: true });
    if (settings && OWN_AUTHORITIES.has(settings)) return await another();
    try {
      return await this.#open(tls);
    } catch (error) {
      if (!isOwnAuthority(error)) throw error;
      if (settings) OWN_AUTHORITIES.add(settings);
      return await another();
    }
  }

  async #open(tls: TlsOptions): Promise<Duplex> {
    const { unixSocket, env } = this.#options;
    const endpoint = this.#endpoint;
    if (unixSocket !== undefined) {
      const duplex = await this.#connect("unix", { path: unixSocket });
      return endpoint.tls ? await this.#startTls(duplex, endpoint, tls) : duplex;
    }
    const proxy = this.#options.proxy ?? (env && proxyFor(endpoint, env));
    if (proxy) {
      const tunnel = await this.#throughProxy(proxy, tls);
      return endpoint.tls ? await this.#startTls(tunnel, endpoint, tls) : tunnel;
    }
    if (!endpoint.tls) return await this.#connect("tcp", endpoint);
    const conn = await this.#step("tcp", endpoint, (signal) => connectTls(endpoint, tls, signal));
    if (conn) return await this.#step("tls", endpoint, (signal) => shakeHands(conn, endpoint, signal));
    return await this.#startTls(await this.#connect("tcp", endpoint), endpoint, tls);
  }

  async #tls(): Promise<TlsOptions> {
    const { tls = {}, clientCertificate } = this.#options;
    const certificate = this.#endpoint.tls
      ? await clientCertificate?.({ signal: this.#signal ?? new AbortController().signal })
      : undefined;
    if (!certificate) return tls;
    // Deno's node:tls goes on without a certificate that it cannot read.
    if (!/-----BEGIN [A-Z ]*CERTIFICATE-----/.test(certificate.cert)) throw this.#noPem("certificate");
    const key = /-----BEGIN ([A-Z ]*)PRIVATE KEY-----\s*(Proc-Type: *4, *ENCRYPTED)?/.exec(certificate.key);
    if (!key) throw this.#noPem("key");
    if (key[1] === "ENCRYPTED " || key[2] !== undefined) {
      // kubectl cannot ask for a password either; it says no more than that parsing failed.
      throw this.#unusable("the client's key is encrypted; decrypt it (openssl pkey -in KEY -out FILE) and use that");
    }
    return { ...tls, clientCertificate: certificate };
  }

  #noPem(what: "certificate" | "key"): DialError {
    return this.#unusable(`the client's ${what} is not PEM`);
  }

  #unusable(why: string): DialError {
    const address = formatAddress(this.#endpoint);
    return new DialError(`no TLS with ${address}: ${why}`, { hop: "tls", address });
  }

  async #throughProxy(proxy: URL, tls: TlsOptions): Promise<Duplex> {
    const address = { hostname: bareHost(proxy), port: proxyPort(proxy) };
    if (!["http:", "https:", "socks5:", "socks5h:"].includes(proxy.protocol)) {
      throw new DialError(`proxy: unknown scheme: ${proxy.protocol.slice(0, -1)}`, {
        hop: "proxy",
        address: formatAddress(address),
      });
    }
    let duplex = await this.#connect("proxy", address);
    // client-go speaks TLS with a proxy by the cluster's own settings; another server name is the endpoint's, though.
    const { serverName: _, ...own } = tls;
    if (proxy.protocol === "https:") duplex = await this.#startTls(duplex, address, own);
    return await this.#step("proxy", address, (signal) => throughProxy(duplex, proxy, this.#endpoint, signal));
  }

  #connect(hop: "tcp" | "unix" | "proxy", address: SocketAddress): Promise<Duplex> {
    return this.#step(hop, address, (signal) => connectSocket(address, signal, hop === "proxy" ? hop : "tcp"));
  }

  #startTls(
    duplex: Duplex,
    peer: { readonly hostname: string; readonly port: number },
    tls: TlsOptions,
  ): Promise<Duplex> {
    return this.#step("tls", peer, (signal) => startTls(duplex, peer, tls, signal));
  }

  /** Runs a step under its deadline and the caller's signal. */
  async #step<T>(
    hop: "tcp" | "unix" | "proxy" | "tls",
    address: SocketAddress,
    step: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { timeout = hop === "tls" ? 10_000 : 30_000 } = this.#options;
    const late = () => {
      const where = formatAddress(address);
      const what =
        { tcp: "connect to", unix: "connect to", proxy: "get through the proxy", tls: "finish TLS with" }[hop];
      const message = `could not ${what} ${where} within ${timeout} ms`;
      return new DialError(message, { hop, address: where, code: "ETIMEDOUT" });
    };
    return await withDeadline(timeout, late, this.#signal, step);
  }
}
