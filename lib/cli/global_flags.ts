/**
 * The flags that every command takes: which cluster, as whom, by which way.
 *
 * @module
 */
import type { Wire } from "../client/mod.ts";
import type { AccessOptions, Impersonation } from "../kubeconfig/mod.ts";
import { type FlagDefinitions, type FlagValues, readChoice, UsageError } from "./flags.ts";

/** What `--wire` can be. */
const WIRES = ["auto", "websocket", "tunnel", "spdy"] as const satisfies readonly Wire[];

/** kubectl's global flags, `--via-unix-socket` and `--wire`. */
export const GLOBAL_FLAGS = {
  "as": { kind: "string", help: "User to act as: a user, or a service account in a namespace" },
  "as-group": { kind: "list", help: "Group to act as; may be given several times" },
  "as-uid": { kind: "string", help: "UID to act as" },
  "as-user-extra": {
    kind: "list",
    help: "Further property of the user to act as, KEY=VALUE; may be given several times",
  },
  "certificate-authority": { kind: "string", help: "File with the certificate authorities to trust" },
  "client-certificate": { kind: "string", help: "File with the client's certificate for TLS" },
  "client-key": { kind: "string", help: "File with the key of the client's certificate" },
  "cluster": { kind: "string", help: "Cluster of the kubeconfig to use" },
  "context": { kind: "string", help: "Context of the kubeconfig to use" },
  "help": { kind: "boolean", short: "h", help: "Show the help of a command" },
  "insecure-skip-tls-verify": {
    kind: "boolean",
    help: "Do not check the server's certificate. Whoever is in between can then read and change everything",
  },
  "kubeconfig": { kind: "string", help: "The kubeconfig to use, instead of those in KUBECONFIG and ~/.kube/config" },
  "namespace": { kind: "string", short: "n", help: "Namespace to work in" },
  "password": { kind: "string", help: "Password for basic authentication to the server" },
  "proxy-url": { kind: "string", help: "Proxy for every request to the server: http://, https:// or socks5://" },
  "request-timeout": {
    kind: "string",
    default: "0",
    help:
      "How long one request to the server may take: seconds, or a number and a unit (1s, 2m, 3h). With 0 only each step of " +
      "it has a limit: 30s to connect, 60s for the answer to begin or, unless it is a watch or a log, to go on",
  },
  "server": { kind: "string", short: "s", help: "Address and port of the Kubernetes API server" },
  "tls-server-name": {
    kind: "string",
    help: "Name that the server's certificate must have, instead of the server's host name",
  },
  "token": { kind: "string", help: "Bearer token for authentication to the server" },
  "user": { kind: "string", help: "User of the kubeconfig to use" },
  "username": { kind: "string", help: "Name for basic authentication to the server" },
  "v": {
    kind: "integer",
    short: "v",
    help: "Show requests on stderr, without their secrets: 6 method, address and status, 8 headers too",
  },
  "via-unix-socket": {
    kind: "string",
    help: "Connect through this unix socket instead of the network: a path, or @NAME for an abstract one",
  },
  "wire": {
    kind: "string",
    default: "auto",
    reported: WIRES,
    help:
      "What streams into pods go over: websocket, spdy, tunnel (of port-forward: SPDY inside a WebSocket), or auto: " +
      "WebSocket, and SPDY where the server refuses it",
  },
} as const satisfies FlagDefinitions;

/** The values of the global flags. */
export type GlobalFlags = FlagValues<typeof GLOBAL_FLAGS>;

/**
 * The global flags as options for finding the cluster. An empty value is one that was not given, as in kubectl.
 *
 * @throws {UsageError} If `--as-user-extra` is not `KEY=VALUE`.
 */
export function accessOptions(flags: GlobalFlags): AccessOptions {
  const impersonate = impersonation(flags);
  return {
    ...given("kubeconfig", flags.kubeconfig),
    ...given("context", flags.context),
    ...given("cluster", flags.cluster),
    ...given("user", flags.user),
    ...given("namespace", flags.namespace),
    ...given("server", flags.server),
    ...given("token", flags.token),
    ...given("username", flags.username),
    ...given("password", flags.password),
    ...given("certificateAuthority", flags["certificate-authority"]),
    ...given("clientCertificate", flags["client-certificate"]),
    ...given("clientKey", flags["client-key"]),
    ...given("tlsServerName", flags["tls-server-name"]),
    ...given("proxyUrl", flags["proxy-url"]),
    ...given("viaUnixSocket", flags["via-unix-socket"]),
    ...(flags["insecure-skip-tls-verify"] && { insecureSkipTlsVerify: true }),
    ...(impersonate && { impersonate }),
  };
}

/**
 * What streams into pods go over: as `--wire` says, else as kubectl's switch for the command does
 * (kubectl `pkg/cmd/util/helpers.go`): WebSocket first, unless it is `false`.
 *
 * @param off The value of the command's switch.
 * @throws {UsageError} If `--wire` is none of the wires.
 */
export function wireOption({ wire }: Pick<GlobalFlags, "wire">, off: string | undefined): Wire {
  const known = readChoice("--wire", wire, WIRES);
  return known === "auto" && off?.toLowerCase() === "false" ? "spdy" : known;
}

function impersonation(flags: GlobalFlags): Impersonation | undefined {
  const extra = new Map<string, string[]>();
  for (const pair of flags["as-user-extra"]) {
    const equals = pair.indexOf("=");
    if (equals < 1) throw new UsageError(`--as-user-extra must be KEY=VALUE, not ${JSON.stringify(pair)}`);
    const key = pair.slice(0, equals);
    extra.set(key, [...extra.get(key) ?? [], pair.slice(equals + 1)]);
  }
  const groups = flags["as-group"];
  const impersonate: Impersonation = {
    ...given("user", flags.as),
    ...given("uid", flags["as-uid"]),
    ...(groups.length > 0 && { groups }),
    ...(extra.size > 0 && { extra: Object.fromEntries(extra) }),
  };
  return Object.keys(impersonate).length > 0 ? impersonate : undefined;
}

function given<K extends string>(key: K, value: string): { [P in K]?: string } {
  return value === "" ? {} : { [key]: value } as { [P in K]: string };
}
