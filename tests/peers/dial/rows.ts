/**
 * The table of ways to a server, and what is done on each. Runs in Deno and in Node: nothing here but the dialer.
 *
 * @module
 */
import { type ClientCertificate, createDialer, type Endpoint, type TlsOptions } from "../../../lib/dial/mod.ts";

/** Where everything listens, and the certificates. */
export interface Ground {
  /** Ports on 127.0.0.1 of the servers that echo. */
  readonly tcp: Readonly<Record<Server, number>>;
  /** Ports on ::1 in front of them. */
  readonly tcp6: Readonly<Record<Server, number>>;
  /** A folder with a unix socket in front of each, called as it; it is the user's home as well. */
  readonly folder: string;
  /** What the names of the abstract sockets in front of them start with. */
  readonly abstract: string;
  /** The proxies' URLs, with credentials. */
  readonly proxies: Readonly<Record<string, string>>;
  readonly ca: string;
  readonly clientCertificate: ClientCertificate;
}

/** The servers: without TLS; for 127.0.0.1, ::1 and localhost; for cluster.test; the last two with a client certificate. */
export type Server = "plain" | "server" | "named" | "server-client" | "named-client";
/** All of them. */
export const SERVERS: readonly Server[] = ["plain", "server", "named", "server-client", "named-client"];

/** One way to one server. */
export interface Row {
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly tls: TlsOptions;
  readonly unixSocket?: string;
  readonly proxy?: string;
}

/** Every way with every kind of TLS. */
export function rows(ground: Ground): Row[] {
  const { ca, clientCertificate, tcp, tcp6, folder, abstract, proxies } = ground;
  const caCerts = [ca];
  const kinds: ReadonlyArray<readonly [name: string, server: Server, tls: TlsOptions]> = [
    ["no TLS", "plain", { caCerts }], // For the https proxy.
    ["private CA", "server", { caCerts }],
    ["client certificate", "server-client", { caCerts, clientCertificate }],
    ["another server name", "named", { caCerts, serverName: "cluster.test" }],
    ["another server name and client certificate", "named-client", {
      caCerts,
      clientCertificate,
      serverName: "cluster.test",
    }],
    ["nothing verified", "named", { insecureSkipVerify: true }],
    ["nothing verified but a client certificate", "named-client", { insecureSkipVerify: true, clientCertificate }],
  ];
  return kinds.flatMap(([kind, server, tls]) => {
    const to = (hostname: string, port: number): Endpoint => ({ hostname, port, tls: server !== "plain" });
    const direct = to("127.0.0.1", tcp[server]);
    const elsewhere = to("127.0.0.1", 1); // A unix socket is dialed whatever the address.
    const ways: Array<Omit<Row, "name" | "tls"> & { readonly way: string }> = [
      { way: "IPv4", endpoint: direct },
      { way: "IPv6", endpoint: to("::1", tcp6[server]) },
      { way: "name", endpoint: to("localhost", tcp[server]) },
      { way: "unix socket", endpoint: elsewhere, unixSocket: `${folder}/${server}.sock` },
      { way: "unix socket below ~", endpoint: elsewhere, unixSocket: `~/${server}.sock` },
      { way: "abstract unix socket", endpoint: elsewhere, unixSocket: `@${abstract}-${server}` },
      ...Object.entries(proxies).map(([way, proxy]) => ({ way, endpoint: direct, proxy })),
    ];
    return ways.map(({ way, ...row }) => ({ ...row, name: `${way}, ${kind}`, tls }));
  });
}

/** Dials `row`, sends 300,000 bytes and expects them back. */
export async function exchange(row: Row): Promise<void> {
  const { tls: { clientCertificate, ...tls }, unixSocket, proxy } = row;
  const dial = createDialer({
    tls,
    clientCertificate: () => Promise.resolve(clientCertificate),
    ...(unixSocket !== undefined && { unixSocket }),
    ...(proxy !== undefined && { proxy: new URL(proxy) }),
  });
  const duplex = await dial(row.endpoint);
  try {
    const sent = Uint8Array.from({ length: 4 * 1024 * 1024 }, (_, i) => i * 31 ^ i >> 8);
    const received = new Uint8Array(sent.length);
    const writing = duplex.write(sent);
    for (let filled = 0; filled < received.length;) {
      const n = await duplex.read(received.subarray(filled));
      if (n === null) throw new Error(`the echo ended after ${filled} bytes`);
      filled += n;
    }
    await writing;
    const differs = received.findIndex((byte, i) => byte !== sent[i]);
    if (differs >= 0) throw new Error(`the echo differs at byte ${differs}`);
  } finally {
    duplex.close();
  }
}
