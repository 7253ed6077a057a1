/**
 * An https proxy whose CONNECTs lead to an API server.
 *
 * @module
 */
import type { Ground, ServerName } from "./ground.ts";

/** A proxy that listens on loopback, outside of the cluster's network namespace. */
export interface TlsProxy extends AsyncDisposable {
  /** Its URL. */
  readonly url: string;
  /** How many CONNECTs it has answered. */
  readonly connects: number;
}

/** Starts one with the API server's own certificate, as a client takes the same authority for both. */
export async function tlsProxy(cluster: Ground, server: ServerName): Promise<TlsProxy> {
  const pki = `${cluster.dir}/pki/kube-apiserver`;
  const listener = Deno.listenTls({
    hostname: "127.0.0.1",
    port: 0,
    cert: await Deno.readTextFile(`${pki}.crt`),
    key: await Deno.readTextFile(`${pki}.key`),
  });
  const wanted = new URL(cluster.url(server)).host;
  const sessions = new Set<Promise<void>>();
  let connects = 0;

  async function session(near: Deno.TlsConn): Promise<void> {
    using _near = near;
    let head = "";
    for (const buffer = new Uint8Array(4096); !head.endsWith("\r\n\r\n");) {
      const n = await near.read(buffer);
      if (n === null) return;
      head += new TextDecoder().decode(buffer.subarray(0, n));
    }
    if (!head.startsWith(`CONNECT ${wanted} HTTP/1.1\r\n`)) throw new Error(`the proxy was asked: ${head}`);
    using far = await Deno.connect({ transport: "unix", path: cluster.socket(server) });
    connects++;
    await near.write(new TextEncoder().encode("HTTP/1.1 200 Connection established\r\n\r\n"));
    await Promise.race([pump(near, far), pump(far, near)]); // Nobody here half-closes TLS.
  }

  const accepting = (async () => {
    for await (const near of listener) {
      // Whoever goes without a word has gone: the client under test says whether that was right.
      const one = session(near).catch(() => {}).finally(() => sessions.delete(one));
      sessions.add(one);
    }
  })();
  return {
    url: `https://127.0.0.1:${listener.addr.port}`,
    get connects() {
      return connects;
    },
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      await Promise.all(sessions);
    },
  };
}

async function pump(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  for (let n = await from.read(buffer); n !== null; n = await from.read(buffer)) {
    for (let sent = 0; sent < n;) sent += await to.write(buffer.subarray(sent, n));
  }
}
