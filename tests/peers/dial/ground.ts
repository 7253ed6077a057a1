/**
 * The servers and proxies of {@link ./rows.ts}, started.
 *
 * @module
 */
import { PASSWORD, type Peers, testdata, TINYPROXY_PASSWORD, USER } from "./peers.ts";
import { type Ground, type Server, SERVERS } from "./rows.ts";

/** A URL of a proxy on 127.0.0.1 with its user and password. */
export function proxyUrl(scheme: string, port: number, password: string = PASSWORD): string {
  return `${scheme}://${USER}:${encodeURIComponent(password)}@127.0.0.1:${port}`;
}

/** Starts everything that the rows need; it ends with `peers`. */
export async function ground(peers: Peers): Promise<Ground> {
  const { folder } = peers;
  const abstract = `podwire-${crypto.randomUUID()}`;
  const tcp: Partial<Record<Server, number>> = {};
  const tcp6: Partial<Record<Server, number>> = {};
  for (const server of SERVERS) {
    const [name, client] = server.split("-");
    const tls = `cert=${folder}/${name}.crt,key=${folder}/${name}.key,cafile=${folder}/ca.crt,verify=${client ? 1 : 0}`;
    const port = server === "plain"
      ? await peers.socat("TCP-LISTEN:0,bind=127.0.0.1,fork", "EXEC:cat")
      : await peers.socat(`OPENSSL-LISTEN:0,bind=127.0.0.1,fork,${tls}`, "EXEC:cat");
    tcp[server] = port;
    tcp6[server] = await peers.socat("TCP6-LISTEN:0,bind=[::1],fork", `TCP:127.0.0.1:${port}`);
    await peers.socat(`UNIX-LISTEN:${folder}/${server}.sock,fork`, `TCP:127.0.0.1:${port}`);
    await peers.socat(`ABSTRACT-LISTEN:${abstract}-${server},fork`, `TCP:127.0.0.1:${port}`);
  }
  const squid = await peers.squid();
  const socks = await peers.danted({ user: true });
  return {
    tcp: tcp as Record<Server, number>,
    tcp6: tcp6 as Record<Server, number>,
    folder,
    abstract,
    proxies: {
      "http proxy (squid)": proxyUrl("http", squid.http),
      "https proxy (squid)": proxyUrl("https", squid.https),
      "http proxy (tinyproxy)": proxyUrl("http", await peers.tinyproxy(), TINYPROXY_PASSWORD),
      "socks5 proxy (danted)": proxyUrl("socks5", socks),
      "socks5h proxy (danted)": proxyUrl("socks5h", socks),
      "socks5 proxy without a user (danted)": `socks5://127.0.0.1:${await peers.danted({ user: false })}`,
    },
    ca: testdata("ca.crt"),
    clientCertificate: { cert: testdata("client.crt"), key: testdata("client.key") },
  };
}
