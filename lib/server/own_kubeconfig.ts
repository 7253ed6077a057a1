/**
 * The kubeconfig by which clients find a server of podwire's.
 *
 * @module
 */
import { formatAddress } from "../dial/mod.ts";
import type { ListenAddress } from "./listener.ts";

/** What stands in it. */
export interface OwnKubeconfig {
  /** The name of the cluster and the context. */
  readonly name: string;
  /** Where the server listens. */
  readonly address: ListenAddress;
  /** What a client has to know, if anything. */
  readonly token: string | undefined;
  /** The certificate chain that it shows over TLS, PEM. */
  readonly certificate?: string;
  /** The namespace for requests that name none. */
  readonly namespace: string;
}

/**
 * The URL of a server: over TCP with the token as its path, because client-go sends no credentials without TLS but keeps the path
 * of the server's URL; over a unix socket a name only.
 */
export function serverUrl({ name, address, token, certificate }: Omit<OwnKubeconfig, "namespace">): URL {
  if (address.transport === "unix") return new URL(`http://${name}/`);
  const { hostname, port } = address;
  const host = hostname === "0.0.0.0" || hostname === "::" ? "localhost" : hostname;
  const base = `${formatAddress({ hostname: host, port })}/`;
  return new URL(certificate === undefined ? `http://${base}${token ?? ""}` : `https://${base}`);
}

/** A kubeconfig, as JSON, which is YAML: for podwire and, over TCP, for kubectl. It holds the token. */
export function formatKubeconfig(own: OwnKubeconfig): string {
  const { name, address, token, certificate, namespace } = own;
  const cluster = {
    server: serverUrl(own).href,
    ...(address.transport === "unix" && { "via-unix-socket": address.path }),
    // Kubernetes' client for JavaScript goes to no server without TLS else.
    ...(address.transport === "tcp" && certificate === undefined && { "insecure-skip-tls-verify": true }),
    ...(certificate !== undefined && { "certificate-authority-data": toBase64(certificate) }),
  };
  const user = certificate !== undefined && token !== undefined ? name : "";
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster }],
    users: user === "" ? [] : [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user, namespace } }],
    "current-context": name,
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

function toBase64(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}
