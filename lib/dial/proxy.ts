/**
 * Which proxy to go through, and how.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";
import { DialError, HttpBreakError, UpgradeRefusedError } from "./errors.ts";
import { HttpConnection } from "./http.ts";
import { inRange, isLoopback, parseCidr, parseIp } from "./ip.ts";
import { explain, formatAddress } from "./sockets.ts";
import type { Endpoint } from "./types.ts";

/** Looks up an environment variable. */
export type GetEnv = (name: string) => string | undefined;

/**
 * The proxy that the environment names for `endpoint`, as Go reads it
 * (golang.org/x/net `http/httpproxy`): `HTTPS_PROXY` for TLS, `HTTP_PROXY` without, either in lower case,
 * not for what `NO_PROXY` lists, and never for this machine. Unlike Go it does not go without a proxy when the
 * variable cannot be read.
 *
 * @throws {DialError} If the variable's value is no URL, or a CGI server may have set `HTTP_PROXY` from a header.
 */
export function proxyFor(endpoint: Endpoint, env: GetEnv): URL | undefined {
  const get = (name: string) => env(name) || env(name.toLowerCase()) || "";
  const name = endpoint.tls ? "HTTPS_PROXY" : "HTTP_PROXY";
  const value = get(name);
  if (value === "") return undefined;
  const fail = (why: string) => new DialError(why, { hop: "proxy", address: name });
  if (!endpoint.tls && env("REQUEST_METHOD")) {
    throw fail("refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy");
  }
  if (!usesProxy(endpoint, get("NO_PROXY"))) return undefined;
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? value : `http://${value}`);
  if (!url?.hostname) throw fail(`the environment variable ${name} is not a proxy's URL`);
  return url;
}

function usesProxy({ hostname, port }: Endpoint, noProxy: string): boolean {
  const host = hostname.toLowerCase();
  const ip = parseIp(host);
  if (host === "localhost" || ip && isLoopback(ip)) return false;
  return !noProxy.toLowerCase().split(",").map((entry) => entry.trim()).some((entry) =>
    entry !== "" && matchesNoProxy(entry, host, ip, `${port}`)
  );
}

function matchesNoProxy(entry: string, host: string, ip: Uint8Array | undefined, port: string): boolean {
  if (entry === "*") return true;
  const network = parseCidr(entry);
  if (network) return ip !== undefined && inRange(ip, network);
  const [, bracketed, bare, wanted = ""] = /^(?:\[(.*)\]|([^:]*)):([^:]*)$/.exec(entry) ?? [];
  const name = bracketed ?? bare ?? entry;
  if (name === "" || wanted !== "" && wanted !== port) return false;
  const address = parseIp(name);
  if (address) return ip?.join() === address.join();
  const suffix = name.replace(/^\*\./, ".");
  return suffix.startsWith(".") ? host.endsWith(suffix) : host === suffix || host.endsWith(`.${suffix}`);
}

/** The port of a proxy's URL. */
export function proxyPort(proxy: URL): number {
  const defaults: Record<string, number> = { "http:": 80, "https:": 443, "socks5:": 1080, "socks5h:": 1080 };
  return Number(proxy.port) || (defaults[proxy.protocol] ?? 0);
}

/**
 * Asks the proxy at the other end of `duplex` for a connection to `endpoint`.
 *
 * @throws {DialError} If it refuses or misbehaves. Its credentials are in no error.
 * @throws The signal's reason.
 */
export async function throughProxy(
  duplex: Duplex,
  proxy: URL,
  endpoint: Endpoint,
  signal: AbortSignal,
): Promise<Duplex> {
  const address = { hostname: bareHost(proxy), port: proxyPort(proxy) };
  return await explain("proxy", address, signal, async () => {
    try {
      if (proxy.protocol.startsWith("socks5")) {
        await socks5(duplex, proxy, endpoint, signal);
        return duplex;
      }
      return await connect(duplex, proxy, endpoint, signal);
    } catch (cause) {
      duplex.close();
      signal.throwIfAborted();
      if (cause instanceof DialError) throw cause;
      const where = formatAddress(address);
      if (cause instanceof HttpBreakError) throw cause.cause ?? cause; // What broke names the proxy by itself.
      if (!(cause instanceof UpgradeRefusedError)) throw cause;
      const answer = `${cause.status} ${cause.statusText}`.trimEnd();
      const advice = cause.status === 407
        ? `; ${proxy.username ? "check" : "add"} the user and password in its URL`
        : "";
      throw new DialError(`CONNECT request to ${where} returned response: ${answer}${advice}`, {
        cause,
        hop: "proxy",
        address: where,
      });
    }
  });
}

/** A URL's host, an IPv6 address without brackets. */
export function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

async function connect(duplex: Duplex, proxy: URL, endpoint: Endpoint, signal: AbortSignal): Promise<Duplex> {
  const target = formatAddress(endpoint);
  const headers: Array<[string, string]> = [["Host", target]];
  if (proxy.username || proxy.password) {
    const { user, password } = credentials(proxy);
    const bytes = Uint8Array.of(...user, COLON, ...password);
    headers.push(["Proxy-Authorization", `Basic ${btoa(String.fromCharCode(...bytes))}`]);
  }
  return await new HttpConnection(duplex).tunnel({ method: "CONNECT", target, headers }, { signal });
}

const COLON = 58;

function credentials(proxy: URL): { readonly user: Uint8Array; readonly password: Uint8Array } {
  try {
    const encode = (text: string) => new TextEncoder().encode(decodeURIComponent(text));
    return { user: encode(proxy.username), password: encode(proxy.password) };
  } catch {
    throw new PodwireError("the user or the password in its URL is not percent-encoded");
  }
}

/** SOCKS 5 (RFC 1928) with a name or an address, and a user (RFC 1929) if the URL has one. */
async function socks5(duplex: Duplex, proxy: URL, endpoint: Endpoint, signal: AbortSignal): Promise<void> {
  const address = formatAddress({ hostname: bareHost(proxy), port: proxyPort(proxy) });
  const fail = (why: string): never => {
    throw new DialError(`cannot get through the proxy ${address}: ${why}`, { hop: "proxy", address });
  };
  const abort = () => duplex.close();
  signal.addEventListener("abort", abort, { once: true });
  try {
    const known = proxy.username !== "";
    await duplex.write(known ? Uint8Array.of(5, 2, 0, 2) : Uint8Array.of(5, 1, 0));
    const [version, method] = await readExactly(duplex, 2);
    if (version !== 5) fail("it does not speak SOCKS 5");
    if (method === 2 && known) {
      const { user, password } = credentials(proxy);
      if (user.length > 255 || password.length > 255) fail("user or password is longer than 255 bytes");
      await duplex.write(Uint8Array.of(1, user.length, ...user, password.length, ...password));
      const [loginVersion, status] = await readExactly(duplex, 2);
      if (loginVersion !== 1) fail("it does not speak SOCKS 5");
      if (status !== 0) fail("it refuses the user or the password");
    } else if (method !== 0) fail(known ? "it takes no user and password" : "it wants a user and a password");
    await duplex.write(Uint8Array.of(5, 1, 0, ...socksAddress(endpoint), endpoint.port >> 8, endpoint.port & 0xff));
    const [replyVersion, reply = 0xff, , kind = 0] = await readExactly(duplex, 4);
    if (replyVersion !== 5 || ![1, 3, 4].includes(kind)) fail("it does not speak SOCKS 5");
    if (reply !== 0) fail(`${formatAddress(endpoint)}: ${SOCKS_REPLIES[reply] ?? `reply ${reply}`}`);
    const length = kind === 1 ? 4 : kind === 4 ? 16 : (await readExactly(duplex, 1))[0]!;
    await readExactly(duplex, length + 2);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function socksAddress({ hostname }: Endpoint): number[] {
  const ip = parseIp(hostname);
  if (ip) return [ip.length === 4 ? 1 : 4, ...ip];
  const name = new TextEncoder().encode(hostname);
  if (name.length > 255) throw new PodwireError(`the name ${hostname} is longer than SOCKS 5 can carry`);
  return [3, name.length, ...name];
}

/** RFC 1928 section 6. */
const SOCKS_REPLIES: readonly string[] = [
  "succeeded",
  "general SOCKS server failure",
  "connection not allowed by ruleset",
  "network is unreachable",
  "no route to host",
  "connection refused",
  "TTL expired",
  "command not supported",
  "address type not supported",
];

async function readExactly(duplex: Duplex, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let filled = 0; filled < length;) {
    const n = await duplex.read(bytes.subarray(filled));
    if (n === null) throw new PodwireError("it closed the connection");
    filled += n;
  }
  return bytes;
}
