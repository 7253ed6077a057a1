/**
 * What kubectl's global flags say.
 *
 * @module
 */
import type { Impersonation } from "./kubeconfig.ts";

/** Each is the kubectl flag of the same name; what is not given comes from the kubeconfig. */
export interface AccessOptions {
  /** The one file to read, which must exist, instead of `KUBECONFIG` and `~/.kube/config`. */
  readonly kubeconfig?: string;
  /** The context to use. */
  readonly context?: string;
  /** The cluster to use. */
  readonly cluster?: string;
  /** The user to use. */
  readonly user?: string;
  /** The namespace for requests that name none. */
  readonly namespace?: string;
  /** The API server: an URL or `host:port`. */
  readonly server?: string;
  /** A bearer token. Unlike kubectl's flag it also wins over a `tokenFile`. */
  readonly token?: string;
  /** The name for basic authentication. */
  readonly username?: string;
  /** The password for basic authentication. */
  readonly password?: string;
  /** `--as`, `--as-uid`, `--as-group`, `--as-user-extra`. */
  readonly impersonate?: Impersonation;
  /** A file with the authorities to trust. */
  readonly certificateAuthority?: string;
  /** A file with the client certificate. */
  readonly clientCertificate?: string;
  /** A file with the client certificate's key. */
  readonly clientKey?: string;
  /** Leaves the server's certificate unchecked. */
  readonly insecureSkipTlsVerify?: boolean;
  /** The name that the server's certificate must have. */
  readonly tlsServerName?: string;
  /** A proxy for every request: http, https or socks5. */
  readonly proxyUrl?: string;
  /** A unix socket to dial instead of the server's address: a path, `~/…`, or `@name` for an abstract one. */
  readonly viaUnixSocket?: string;
  /** Whether exec plugins may use standard input when it is a terminal; by default they may. */
  readonly interactive?: boolean;
  /** Told what kubectl warns about. What it throws is reported as an event listener's is, and changes nothing. */
  readonly onWarning?: (message: string) => void;
}
