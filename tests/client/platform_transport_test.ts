/** The transport of a browser: Deno has `fetch` and `WebSocket` too. */
import { assertEquals, assertRejects } from "@std/assert";
import { PodwireError } from "../../lib/bytes/mod.ts";
import { PlatformTransport } from "../../lib/client/platform_transport.ts";
import { withRawServer } from "./raw_server.ts";

Deno.test("PlatformTransport gives up a request and a WebSocket that are not answered in time", async () => {
  await withRawServer((connection) => connection.gone(), async (server) => {
    const transport = new PlatformTransport(new URL(server), { timeout: 50 });
    await assertRejects(
      () => transport.request({ method: "GET", path: "/api?x=y", headers: [] }),
      PodwireError,
      "no answer to GET /api within 50 ms",
    );
    await assertRejects(
      () => transport.openWebSocket({ path: "/exec?x=y", headers: [], protocols: ["x"], resource: "pods/exec" }),
      PodwireError,
      "no answer to GET /exec within 50 ms",
    );
  });
});

Deno.test("PlatformTransport lets a body take longer than its head may", async () => {
  await withRawServer(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\no");
    await new Promise((resolve) => setTimeout(resolve, 400));
    await connection.write("k");
    await connection.gone();
  }, async (server) => {
    const transport = new PlatformTransport(new URL(server), { timeout: 200 });
    assertEquals(await (await transport.request({ method: "GET", path: "/", headers: [] })).text(), "ok");
  });
});
