/**
 * The relay's configuration: as a file holds it ({@linkcode RelaySpec}), and as the engine takes it
 * ({@linkcode Relay}). The file's keys are those that a `Relay` custom resource has for the same things.
 *
 * @module
 */
import type { IpRange } from "../dial/mod.ts";
import type { Address } from "./address.ts";

/** One file's content. A folder's files count as one configuration; no two relays in it have one name. */
export interface RelayFile {
  /** The relays. */
  readonly relays: readonly RelaySpec[];
}

/** One relay as the file has it: a socket that listens, and what its connections or datagrams go to. */
export interface RelaySpec {
  /** Its name: a DNS-1123 label, unique. It names the relay in logs, metrics and errors. */
  readonly name: string;
  /** Where it listens. */
  readonly listen: ListenSpec;
  /** Where it goes. */
  readonly target: TargetSpec;
  /** Speaks HTTP/1.1 and lets only these requests through. */
  readonly http?: HttpSpec;
  /** Source ranges (CIDR) that may connect; everybody who can reach the address, if absent. Not for unix sockets. */
  readonly allowFrom?: readonly string[];
  /** The most connections (or flows of datagrams) at once; 1024 if absent. */
  readonly maxConnections?: number;
  /** How long connecting to the target may take, as `5s`, `500ms` or `1m30s`; 5s if absent. */
  readonly connectTimeout?: string;
  /** How long neither side may say anything. If absent, 60s for flows of datagrams and forever (0s) for streams. */
  readonly idleTimeout?: string;
}

/** Where a relay listens. */
export interface ListenSpec {
  /**
   * `tcp:HOST:PORT`, `udp:HOST:PORT`, `unix:PATH`, `unix:@NAME` (abstract) or `unix-dgram:PATH`. HOST is an IP address,
   * IPv6 in brackets; without it 127.0.0.1. Every address of the machine is only had by saying so: 0.0.0.0, or [::] for
   * IPv6 and IPv4.
   * `unix-dgram:` takes datagrams and brings no answers back; it needs Deno's `--unstable-net`.
   */
  readonly address: string;
  /** Speaks TLS; streams only. */
  readonly tls?: ListenTlsSpec;
  /** A path socket's mode, octal and in quotes; `"0600"` if absent. */
  readonly mode?: string;
  /** A path socket's owner; whoever runs the relay, if absent. */
  readonly uid?: number;
  /** A path socket's group. */
  readonly gid?: number;
}

/** The listening side's TLS. */
export interface ListenTlsSpec {
  /** The certificate chain's file, PEM. */
  readonly certFile: string;
  /** The private key's file, PEM. */
  readonly keyFile: string;
  /** Clients must show a certificate that one of this file's authorities signed. */
  readonly clientCaFile?: string;
}

/** Where a relay goes. */
export interface TargetSpec {
  /** As {@linkcode ListenSpec.address}, but HOST may be a name. */
  readonly address: string;
  /** Speaks TLS; streams only. */
  readonly tls?: TargetTlsSpec;
  /** Says first who connected, in the PROXY protocol's text (`v1`) or binary (`v2`) form; streams without TLS only. */
  readonly proxyProtocol?: "v1" | "v2";
}

/** The target side's TLS. */
export interface TargetTlsSpec {
  /** The authorities' file, PEM; those that Deno trusts, if absent. */
  readonly caFile?: string;
  /** Our certificate chain's file, PEM. */
  readonly certFile?: string;
  /** Its private key's file, PEM. */
  readonly keyFile?: string;
  /** The name for SNI and verification instead of the address's HOST. */
  readonly serverName?: string;
  /** Verifies nothing: for a server on this machine whose certificate nobody can know, as kube-scheduler's. */
  readonly insecureSkipVerify?: boolean;
}

/**
 * Which HTTP requests pass. Of their header fields only those do that scrapers send (`Accept…`, `Authorization`, conditions and ranges,
 * `User-Agent`, trace context, Prometheus' own): others make some servers answer for another path.
 *
 * Whatever `idleTimeout` says, a request's head may take 10 s, the next request on a connection 90 s to come, and a piece of an
 * answer 60 s to be taken.
 */
export interface HttpSpec {
  /** The paths that `GET` and `HEAD` may ask for, whole and as they are (`/metrics`); everything else is answered 403. */
  readonly paths: readonly string[];
}

/** One relay as the engine takes it: checked, defaults filled in. */
export interface Relay {
  /** Its name. */
  readonly name: string;
  /** Where it listens. */
  readonly listen: ListenEndpoint;
  /** Where it goes. */
  readonly target: TargetEndpoint;
  /** The HTTP paths that may be asked for; `undefined` if bytes are passed as they are. */
  readonly paths: readonly string[] | undefined;
  /** Who may connect; everybody if `undefined`. */
  readonly allowFrom: readonly IpRange[] | undefined;
  /** The most connections or flows at once. */
  readonly maxConnections: number;
  /** How long connecting may take, in milliseconds. */
  readonly connectTimeout: number;
  /** How long a connection or flow may be silent, in milliseconds; 0 is forever. */
  readonly idleTimeout: number;
}

/** Where a relay listens. */
export interface ListenEndpoint extends Omit<ListenSpec, "address" | "mode"> {
  /** The address. */
  readonly address: Address;
  /** A path socket's mode. */
  readonly mode: number;
}

/** Where a relay goes. */
export interface TargetEndpoint extends Omit<TargetSpec, "address"> {
  /** The address. */
  readonly address: Address;
}
