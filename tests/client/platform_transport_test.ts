/** The transport of a browser: Deno has `fetch` and `WebSocket` too. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Cluster, DialError, HttpBreakError } from "../../mod.ts";
import { PlatformTransport } from "../../lib/client/platform_transport.ts";
import { withPort } from "../server/ports.ts";
import { withRawServer } from "./raw_server.ts";

Deno.test("PlatformTransport gives up a request and a WebSocket that are not answered in time", async () => {
  await withRawServer((connection) => connection.gone(), async (server) => {
    const transport = new PlatformTransport(new URL(server), { timeout: 50 });
    await assertRejects(
      () => transport.request({ method: "GET", path: "/api?x=y", headers: [] }),
      HttpBreakError,
      "no answer to GET /api within 50 ms",
    );
    await assertRejects(
      () => transport.openWebSocket({ path: "/exec?x=y", headers: [], protocols: ["x"], resource: "pods/exec" }),
      HttpBreakError,
      "no answer to GET /exec within 50 ms",
    );
  });
});

Deno.test("PlatformTransport asks for the whole of a query that has a ? in it", async () => {
  let asked = "";
  await withRawServer(async (connection) => {
    asked = (await connection.head()).startLine;
    await connection.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    await connection.gone();
  }, async (server) => {
    const transport = new PlatformTransport(new URL("/pre/", server));
    const answer = await transport.request({ method: "GET", path: "/x?a=b?c&d=?", headers: [] });
    assertEquals(await answer.text(), "ok");
  });
  assertEquals(asked, "GET /pre/x?a=b?c&d=? HTTP/1.1");
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

Deno.test("PlatformTransport says whom it cannot reach", async () => {
  await withPort(() => Promise.resolve(), async (_, refused) => {
    const server = `http://127.0.0.1:${refused}`;
    await using cluster = new Cluster({ server, transport: new PlatformTransport(new URL(server)) });
    const error = await assertRejects(() => cluster.pod("web").get(), DialError, `cannot reach 127.0.0.1:${refused}: `);
    assertEquals([error.hop, error.address], ["tcp", `127.0.0.1:${refused}`]);
    const reason = new Error("no time");
    const request = { method: "GET", path: "/", headers: [], signal: AbortSignal.abort(reason) };
    assertEquals(await assertRejects(() => new PlatformTransport(new URL(server)).request(request)), reason);
  });
});

Deno.test("PlatformTransport refuses what cannot be sent as what it is, and what is no time", async () => {
  const transport = new PlatformTransport(new URL("http://127.0.0.1"));
  await assertRejects(() => transport.request({ method: "GET", path: "/", headers: [["a b", "c"]] }), TypeError);
  for (const timeout of [NaN, -1]) {
    assertThrows(() => new PlatformTransport(new URL("http://127.0.0.1"), { timeout }), RangeError, "timeout");
  }
});

/** What a module says in a runtime without Deno and Node: a worker that has lost both. */
async function inBrowser(script: string): Promise<unknown> {
  const root = new URL("../../", import.meta.url);
  const source = `
    delete globalThis.Deno;
    delete globalThis.process;
    const { Cluster, forwardUdp, ListenError } = await import(${JSON.stringify(new URL("mod.ts", root))});
    const { PortForward } = await import(${JSON.stringify(new URL("lib/client/port_forward.ts", root))});
    try {
      ${script}
      postMessage("nothing was thrown");
    } catch (error) {
      postMessage([error instanceof ListenError, error.name, error.message, error.address]);
    }`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  try {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
    return await promise;
  } finally {
    worker.terminate();
    URL.revokeObjectURL(url);
  }
}

Deno.test("a browser that cannot listen says so", async () => {
  const pod = { metadata: { name: "web-0" }, status: { phase: "Running" } };
  const forward = `await PortForward.open({
    byName: true,
    resolve: () => Promise.resolve(${JSON.stringify(pod)}),
    connection: { wire: "websocket", request: () => new Promise(() => {}) },
  })`;
  assertEquals(await inBrowser(`await (${forward}).listen({ port: 8080, target: 80 });`), [
    true,
    "ListenError",
    "cannot listen on 127.0.0.1:8080: a browser has no TCP or unix socket; use connect()",
    { hostname: "127.0.0.1", port: 8080 },
  ]);
  assertEquals(await inBrowser(`await forwardUdp(undefined, { port: 5353, target: 53 });`), [
    true,
    "ListenError",
    "cannot listen on 127.0.0.1:5353: a browser has no UDP socket; forward from Deno or Node",
    { hostname: "127.0.0.1", port: 5353 },
  ]);
});
