/** What a gateway's upstream does with its credentials. */
import { assertEquals } from "@std/assert";
import { loadAccess } from "../../lib/kubeconfig/mod.ts";
import { Upstream } from "../../lib/server/upstream.ts";
import { files, filesHost, withCertificateServer } from "../client/certificate_server.ts";
import { until } from "../support/until.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("Upstream.request() shakes hands anew when the client certificate's files have changed, and after a 401", async () => {
  await withCertificateServer(async (server) => {
    const host = filesHost(server);
    using upstream = Upstream.create(await loadAccess({}, host));
    const ask = async () => {
      const { head, body } = await upstream.request({ method: "GET", target: "/whoami", headers: [] });
      return `${head.status} ${JSON.parse(await new Response(body).text()).message}`;
    };
    assertEquals([await ask(), await ask(), server.handshakes], ["200 client", "200 client", 1]);
    for (const [path, text] of Object.entries(files("renewed"))) host.files.set(path, text);
    server.takes = "renewed";
    assertEquals([await ask(), await ask(), server.handshakes], ["200 renewed", "200 renewed", 2]);
    server.takes = "client";
    assertEquals(await ask(), "401 renewed");
    await until("the refused connection is gone", () => server.open === 0);
  });
});
