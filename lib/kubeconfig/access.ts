/**
 * The one value that a kubeconfig, an environment and a few flags come down to.
 *
 * @module
 */
import type { ClientCertificate, HeaderFields, TlsOptions } from "../dial/mod.ts";

/** Who the client is. Asked again for every request, so that expiring credentials renew themselves. */
export interface Credentials {
  /** The headers that go with every request: `Authorization`, `Impersonate-*`. Names may repeat. */
  headers(options?: { readonly signal?: AbortSignal }): Promise<Array<[name: string, value: string]>>;
  /** The client certificate for new connections, if any. */
  clientCertificate(options?: { readonly signal?: AbortSignal }): Promise<ClientCertificate | undefined>;
  /**
   * The server answered 401: forget what is cached, so that the next request asks anew. With the very array that
   * {@linkcode Credentials.headers} gave for the refused request, credentials that are newer stay.
   */
  invalidate(refused?: HeaderFields): void;
}

/** How to reach a cluster and as whom. */
export interface ClusterAccess {
  /** The API server, its path kept as a prefix. */
  readonly server: URL;
  /** The namespace for requests that name none. */
  readonly namespace: string;
  /** TLS with the server, without the client certificate (see {@linkcode Credentials}). */
  readonly tls: Omit<TlsOptions, "clientCertificate">;
  /** A proxy for every request (`proxy-url`); without it the environment decides. */
  readonly proxy?: URL;
  /** A unix socket to dial instead of the server's address. */
  readonly unixSocket?: string;
  /** Who the client is. */
  readonly credentials: Credentials;
}
