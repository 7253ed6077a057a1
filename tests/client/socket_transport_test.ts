/** Which connection a request goes over, and what is sent again: against servers that say just what they are told to. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { duplexPair } from "../../lib/bytes/mod.ts";
import { isLongRunning } from "../../lib/client/transport.ts";
import { SocketTransport } from "../../lib/client/socket_transport.ts";
import { createDialer, HttpError } from "../../lib/dial/mod.ts";
import { type RawConnection, withRawServer } from "./raw_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Runs `work` with a transport to a server that does `script` on its nth connection. */
async function withTransport(
  script: (connection: RawConnection, n: number) => Promise<void>,
  work: (transport: SocketTransport) => Promise<void>,
  options: { readonly timeout?: number } = {},
): Promise<number> {
  let connections = 0;
  await withRawServer((connection) => script(connection, ++connections), async (server) => {
    const transport = new SocketTransport(new URL(server), createDialer(), options);
    try {
      await work(transport);
    } finally {
      transport.close();
    }
  });
  return connections;
}

async function get(transport: SocketTransport, path = "/", method = "GET"): Promise<string> {
  return await (await transport.request({ method, path, headers: [] })).text();
}

Deno.test("SocketTransport.request() never gives a connection to two requests, however close they come", async () => {
  for (let delay = 0; delay < 40; delay++) {
    const transport = new SocketTransport(new URL("http://x/"), () => {
      const [client, server] = duplexPair();
      void (async () => {
        const buffer = new Uint8Array(1024);
        while (await server.read(buffer) !== null) await server.write(new TextEncoder().encode(OK));
        server.close();
      })();
      return Promise.resolve(client);
    });
    const first = get(transport);
    for (let i = 0; i < delay; i++) await Promise.resolve();
    assertEquals(await Promise.all([first, get(transport)]), ["ok", "ok"], `${delay} microtasks apart`);
    transport.close();
  }
});

Deno.test("SocketTransport.request() sends a GET again, and only that, when the idle connection had been closed", async () => {
  for (const [method, again] of [["GET", true], ["DELETE", false]] as const) {
    const connections = await withTransport(async (connection) => {
      await connection.head();
      await connection.write(OK);
      await connection.head().catch(() => {}); // Closed on the next one, unanswered.
    }, async (transport) => {
      assertEquals(await get(transport), "ok");
      if (again) assertEquals(await get(transport, "/", method), "ok");
      else await assertRejects(() => get(transport, "/", method), HttpError, "ended before an answer");
    });
    assertEquals(connections, again ? 2 : 1);
  }
});

Deno.test("SocketTransport.request() sends nothing again that was late or answered with nonsense", async () => {
  for (
    const [answer, words] of [["", "within 100 ms"], ["nonsense\r\n", "not an HTTP/1.1 answer"], [
      "HTTP",
      "line",
    ]] as const
  ) {
    const connections = await withTransport(async (connection) => {
      await connection.head();
      await connection.write(OK);
      await connection.head();
      await connection.write(answer);
      if (answer === "HTTP") await connection.closeWrite();
      await connection.gone();
    }, async (transport) => {
      assertEquals(await get(transport), "ok");
      await assertRejects(() => get(transport), HttpError, words);
    }, { timeout: 100 });
    assertEquals(connections, 1, `the answer ${JSON.stringify(answer)}`);
  }
});

Deno.test("SocketTransport.request() gives up on a body that stops, unless it is a watch's or a log's", async () => {
  const TIMEOUT = 100;
  const half: (connection: RawConnection) => Promise<void> = async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    await connection.gone();
  };
  await withTransport(half, async (transport) => {
    await assertRejects(
      () => get(transport, "/api?x=y"),
      HttpError,
      "the answer to GET /api stopped: nothing more of it",
    );
  }, { timeout: TIMEOUT });
  for (const path of ["/api/v1/pods?watch=true", "/api/v1/namespaces/x/pods/y/log?follow=true"]) {
    await withTransport(async (connection) => {
      await connection.head();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
      await new Promise((resolve) => setTimeout(resolve, 2 * TIMEOUT));
      await connection.write("k");
      await connection.gone();
    }, async (transport) => {
      assertEquals(await get(transport, path), "ok");
    }, { timeout: TIMEOUT });
  }
});

Deno.test("isLongRunning() knows watches, logs and proxies", () => {
  const NS = "/api/v1/namespaces/log";
  for (const path of [`${NS}/pods?watch=1`, `${NS}/pods?a=b&watch=true`, `${NS}/pods/x/log`, `${NS}/pods/x/proxy/y`]) {
    assert(isLongRunning(path), path);
  }
  for (
    const path of [`${NS}/pods`, `${NS}/pods?watch=false`, `${NS}/pods?watch=0`, `${NS}/pods/log`, `${NS}/pods?x=watch`]
  ) {
    assert(!isLongRunning(path), path);
  }
});
