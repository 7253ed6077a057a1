/**
 * What a server and a proxy may be.
 *
 * @module
 */
import { basicAuthorization, type CredentialSource } from "./credentials.ts";
import { ConfigError } from "./errors.ts";
import { Secret } from "./secret.ts";

/** Where kubectl looks when nothing is configured. */
export const DEFAULT_SERVER = "http://localhost:8080";

/**
 * An API server's URL from what a kubeconfig or a flag says. What has no scheme is http, also when
 * TLS is configured: that is what kubectl does (client-go, `rest/url_utils.go`; `clientcmd` asks it
 * before the TLS settings are known). A path stays as a prefix.
 *
 * @throws {ConfigError} when it is neither an URL nor `host:port`.
 */
export function serverUrl(server: string): URL {
  const hasScheme = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]/i.test(server);
  const url = URL.parse(hasScheme ? server : `http://${server}`);
  if (!url || (!hasScheme && url.pathname !== "/")) {
    throw new ConfigError(`host must be a URL or a host:port pair: "${withoutUser(server)}"${whyNot(server)}`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new ConfigError(`unsupported protocol scheme "${url.protocol.slice(0, -1)}" in "${withoutUser(server)}"`);
  }
  url.search = "";
  url.hash = "";
  return url;
}

/** Why a server's URL is none, where that cannot be seen. */
function whyNot(server: string): string {
  const port = /:(\d+)\/*$/.exec(server)?.[1];
  if (Number(port) > 65_535) return `: port ${port} is larger than 65535`;
  // kubectl takes one; a URL of the web's cannot have it (WHATWG URL, "IPv6 parser").
  const hasZone = /\[[0-9a-f:.]+%[^\]]*\]/i.test(server);
  return hasZone ? ": an IPv6 zone is not supported, give the server a name or an address without one" : "";
}

/**
 * Takes a user and a password out of the server's URL. They become basic authentication, the last resort as in Go's client.
 *
 * @throws {ConfigError} when they are not percent-encoded text.
 */
export function takeUser(server: URL): CredentialSource | undefined {
  const { username, password } = server;
  if (!username && !password) return undefined;
  server.username = server.password = "";
  let value: Secret;
  try {
    value = new Secret(basicAuthorization(decodeURIComponent(username), decodeURIComponent(password)));
  } catch (error) {
    throw new ConfigError(`the user in the URL of ${server.host} is not percent-encoded text`, { cause: error });
  }
  return { authorization: () => Promise.resolve(value.reveal()) };
}

/**
 * A proxy's URL.
 *
 * @throws {ConfigError} when it is not http, https or socks5.
 */
export function proxyUrl(proxy: string): URL {
  const url = URL.parse(proxy);
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(proxy)?.[1]?.toLowerCase() ?? "";
  if (scheme !== "http" && scheme !== "https" && scheme !== "socks5") {
    throw new ConfigError(`unsupported scheme "${scheme}", must be http, https, or socks5`);
  }
  if (!url?.hostname) throw new ConfigError(`could not parse: ${withoutUser(proxy)}`);
  return url;
}

/** An URL for an error's text: a user and a password in it are left out. */
export function withoutUser(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/*)?.*@/is, "$1");
}
