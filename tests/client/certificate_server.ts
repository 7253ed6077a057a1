/**
 * An API server that takes whoever shows the certificate that counts just now, and counts handshakes. It speaks TLS by Node's own
 * server, the way to ask for a client's certificate.
 *
 * @module
 */
import { createServer } from "node:https";
import type { TLSSocket } from "node:tls";
import { testdata } from "../dial/harness.ts";
import { hostWith, kubeconfig } from "../kubeconfig/fake_host.ts";

/** Whom the certificates of `tests/dial/testdata` name. */
export type Name = "client" | "renewed";

/** What a test knows of the server. */
export interface CertificateServer {
  /** Whom it takes; everybody else is answered 401. */
  takes: Name;
  /** Handshakes so far. */
  handshakes: number;
  /** Connections now. */
  open: number;
  /** As many requests are let wait until all of them are there. */
  together: number;
  /** Its address. */
  readonly url: string;
}

/** Runs `use` against a server that takes "client" at first; waits until its connections are gone. */
export async function withCertificateServer(use: (server: CertificateServer) => Promise<void>): Promise<void> {
  const waiting: Array<() => void> = [];
  const https = createServer({
    cert: testdata("server.crt"),
    key: testdata("server.key"),
    requestCert: true,
    rejectUnauthorized: false,
  }, (request, response) => {
    const name = (request.socket as TLSSocket).getPeerCertificate()?.subject?.CN ?? "nobody";
    waiting.push(() => {
      const body = JSON.stringify({ kind: "Status", message: name });
      response.writeHead(name === server.takes ? 200 : 401, { "Content-Length": body.length });
      response.end(body);
    });
    if (waiting.length >= server.together) { for (const answer of waiting.splice(0)) answer(); }
  });
  https.keepAliveTimeout = 60_000; // Not the server is to end them.
  https.on("secureConnection", (socket) => {
    server.handshakes++;
    server.open++;
    socket.on("close", () => server.open--);
  });
  await new Promise<void>((resolve) => https.listen(0, "127.0.0.1", resolve));
  const { port } = https.address() as { port: number };
  const server: CertificateServer = {
    takes: "client",
    handshakes: 0,
    open: 0,
    together: 1,
    url: `https://127.0.0.1:${port}`,
  };
  try {
    await use(server);
  } finally {
    await new Promise((resolve) => https.close(resolve));
  }
}

/** A host whose kubeconfig names the server, and the certificate's files; {@linkcode files} are theirs. */
export function filesHost({ url }: CertificateServer) {
  return hostWith(kubeconfig(cluster(url), "{client-certificate: /crt, client-key: /key}"), files("client"));
}

/** What is in the files for a client. */
export function files(name: Name): Record<string, string> {
  return { "/crt": testdata(`${name}.crt`), "/key": testdata(`${name}.key`) };
}

/** A host whose kubeconfig names the server, and a plugin that gives the certificate that `give` says, until it expires. */
export function pluginHost({ url }: CertificateServer, give: () => { name: Name; expirationTimestamp?: string }) {
  const apiVersion = "client.authentication.k8s.io/v1";
  const exec = `{exec: {apiVersion: ${apiVersion}, interactiveMode: Never, command: plugin}}`;
  const host = hostWith(kubeconfig(cluster(url), exec));
  host.program = () => {
    const { name, ...more } = give();
    const pair = { clientCertificateData: testdata(`${name}.crt`), clientKeyData: testdata(`${name}.key`) };
    const credential = { kind: "ExecCredential", apiVersion, status: { ...pair, ...more } };
    return Promise.resolve({ code: 0, stdout: JSON.stringify(credential) });
  };
  return host;
}

function cluster(url: string): string {
  return `{server: "${url}", certificate-authority-data: ${btoa(testdata("ca.crt"))}}`;
}
