/** A client certificate that is renewed while connections that show the old one are open. */
import { assertEquals, assertRejects } from "@std/assert";
import { ApiError, Cluster } from "../../lib/client/mod.ts";
import { CredentialsError, loadAccess } from "../../lib/kubeconfig/mod.ts";
import { type FakeHost, systemError } from "../kubeconfig/fake_host.ts";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { until, within } from "../support/until.ts";
import {
  type CertificateServer,
  files,
  filesHost,
  type Name,
  pluginHost,
  withCertificateServer,
} from "./certificate_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Runs `use` with a cluster that takes its credentials from the host that `make` makes. */
async function withCluster(
  make: (server: CertificateServer) => FakeHost,
  use: (cluster: Cluster, server: CertificateServer, host: FakeHost) => Promise<void>,
): Promise<void> {
  await withCertificateServer(async (server) => {
    const host = make(server);
    await using cluster = new Cluster({ access: await loadAccess({}, host) });
    await use(cluster, server, host);
  });
}

/** Whom the server sees. */
async function seen(cluster: Cluster): Promise<string> {
  return (await cluster.get<{ message: string }>("/whoami")).message;
}

function write(host: FakeHost, name: Name): void {
  for (const [path, text] of Object.entries(files(name))) host.files.set(path, text);
}

Deno.test("Cluster.get() shakes hands anew when the certificate's files have changed, and not before", async () => {
  await withCluster(filesHost, async (cluster, server, host) => {
    assertEquals([await seen(cluster), await seen(cluster), server.handshakes], ["client", "client", 1]);
    write(host, "renewed");
    server.takes = "renewed";
    assertEquals([await seen(cluster), await seen(cluster), server.handshakes], ["renewed", "renewed", 2]);
    await until("the old connection is gone", () => server.open === 1);
  });
});

Deno.test("Cluster.get() shakes hands anew when a plugin's certificate has expired", async () => {
  let name: Name = "client";
  const give = () => ({ name, ...(name === "client" && { expirationTimestamp: "2026-01-01T00:00:00Z" }) });
  await withCluster((server) => pluginHost(server, give), async (cluster, server, host) => {
    assertEquals(await seen(cluster), "client");
    name = "renewed";
    assertEquals(await seen(cluster), "client", "it lasts until then");
    host.time++;
    server.takes = "renewed";
    assertEquals([await seen(cluster), await seen(cluster)], ["renewed", "renewed"]);
    assertEquals([server.handshakes, host.runs.length], [2, 2]);
  });
});

Deno.test("Cluster.get() shakes hands anew after a 401, also where another connection was idle", async () => {
  let name: Name = "client";
  await withCluster((server) => pluginHost(server, () => ({ name })), async (cluster, server, host) => {
    server.together = 2;
    assertEquals(await Promise.all([seen(cluster), seen(cluster)]), ["client", "client"]);
    assertEquals(server.handshakes, 2);
    server.together = 1;
    name = "renewed";
    server.takes = "renewed";
    await assertRejects(() => seen(cluster), ApiError, "client");
    await until("both old connections are gone", () => server.open === 0);
    assertEquals([await seen(cluster), await seen(cluster)], ["renewed", "renewed"]);
    assertEquals([server.handshakes, host.runs.length], [3, 2]);
  });
});

Deno.test("Cluster.get() goes on over an idle connection while the certificate's files are not to be had", async () => {
  await withCluster(filesHost, async (cluster, server, host) => {
    assertEquals(await seen(cluster), "client");
    host.files.set("/crt", systemError("ENOENT"));
    assertEquals([await seen(cluster), server.handshakes], ["client", 1]);
    server.takes = "renewed";
    await assertRejects(() => seen(cluster), ApiError); // That connection is not used again.
    await assertRejects(() => seen(cluster), CredentialsError, "failed to read the client certificate /crt");
  });
});

for (
  const [what, end] of [
    ["has not closed a transport whose connection by node:tls is idle", "await response.text();"],
    ["has closed it and reads no answer", "transport.close();"],
  ] as const
) {
  Deno.test(`a script ends although it ${what}`, async () => {
    await withCertificateServer(async ({ url }) => {
      const script = `
        import { createDialer } from ${JSON.stringify(new URL("lib/dial/mod.ts", ROOT).href)};
        import { SocketTransport } from ${JSON.stringify(new URL("lib/client/socket_transport.ts", ROOT).href)};
        const dial = createDialer({ tls: { insecureSkipVerify: true } });
        const transport = new SocketTransport(new URL(${JSON.stringify(url)}), dial);
        const response = await transport.request({ method: "GET", path: "/", headers: [] });
        console.log(response.status);
        ${end}`;
      const args = ["eval", ...await denoFlags(), script];
      const child = new Deno.Command(Deno.execPath(), { args, stdin: "null", stderr: "inherit" });
      const { code, stdout } = await within("the script ends", child.output(), 60_000);
      assertEquals([code, new TextDecoder().decode(stdout)], [0, "401\n"]);
    });
  });
}
