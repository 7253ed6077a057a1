/**
 * What a server and a proxy may be.
 *
 * @module
 */
import { ConfigError } from "./errors.ts";

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
    const port = /:(\d+)\/*$/.exec(server)?.[1];
    const why = Number(port) > 65_535 ? `: port ${port} is larger than 65535` : "";
    throw new ConfigError(`host must be a URL or a host:port pair: "${withoutUser(server)}"${why}`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new ConfigError(`unsupported protocol scheme "${url.protocol.slice(0, -1)}" in "${withoutUser(server)}"`);
  }
  url.search = "";
  url.hash = "";
  return url;
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
