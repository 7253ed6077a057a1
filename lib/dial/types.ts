/**
 * What a dialer is and what it can be told.
 *
 * @module
 */
import type { Duplex } from "../bytes/mod.ts";

/** Where a connection goes: what a URL's authority and scheme say. */
export interface Endpoint {
  /** A DNS name or an IP address, IPv6 without brackets. */
  readonly hostname: string;
  /** The TCP port. */
  readonly port: number;
  /** Whether TLS is spoken with the endpoint (`https`, `wss`). */
  readonly tls: boolean;
}

/** Opens a connection to an endpoint; whatever lies in between (proxy, TLS, unix socket) is its business. */
export type Dialer = (endpoint: Endpoint, options?: { readonly signal?: AbortSignal }) => Promise<Duplex>;

/** A client certificate and its key, both PEM. */
export interface ClientCertificate {
  /** The certificate chain, PEM. */
  readonly cert: string;
  /** The private key, PEM. */
  readonly key: string;
}

/** How TLS is spoken with the endpoint (and with an https proxy, as client-go does). */
export interface TlsOptions {
  /** Trusted authorities, PEM: besides those that Deno trusts where Deno's own TLS is used, else instead of them. */
  readonly caCerts?: readonly string[];
  /** Whether no authority is trusted besides `caCerts`, at the price of `node:tls`: about three times the CPU of Deno's own TLS. */
  readonly onlyCaCerts?: boolean;
  /** The client's own certificate. */
  readonly clientCertificate?: ClientCertificate;
  /** The name for SNI and verification instead of the endpoint's hostname. */
  readonly serverName?: string;
  /** Verify nothing. */
  readonly insecureSkipVerify?: boolean;
}
