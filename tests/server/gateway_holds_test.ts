// What a gateway holds, for whom, and for how long: no client that is gone, and none that says nothing, keeps its place.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { concat, maskPath, orAbort } from "../../lib/bytes/mod.ts";
import { type AccessRecord, serveGateway } from "../../lib/server/mod.ts";
import type { Script } from "../client/raw_server.ts";
import { accessTo, ask, authorized, RawRequest, statusLine, withGateway } from "./gateway_ground.ts";
import { connect, execPath, RawClient } from "./raw_client.ts";
import { startGateway, startHost, withUpstream } from "./stream_ground.ts";

/** What must happen does so by itself; for this long a test waits to see that it does not. */
const within = <T>(work: Promise<T>): Promise<T> => orAbort(work, AbortSignal.timeout(10_000));

/** An upstream that must not be asked. */
const never: Script = () => Promise.reject(new Error("the request reached the upstream"));

/** A request with the gateway's token on a connection that goes on. */
const keptAlive = (token: string, target: string, method = "GET", line = "") =>
  `${method} ${target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n${line}\r\n`;

Deno.test("a header of any bytes is none of a translated stream's business", async () => {
  const odd = [new TextEncoder().encode("€"), Uint8Array.of(0xff, 0xfe)];
  for (const [name, value] of odd.flatMap((value) => [["X-Name: ", value], ["Upgrade: websocket, ", value]] as const)) {
    const bugs: unknown[] = [];
    await withGateway(async (connection) => {
      await connection.acceptSpdy();
      await connection.gone();
    }, async (gateway) => {
      const lines = ["Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
      const upgrade = name.startsWith("Upgrade") ? [] : ["Upgrade: websocket"];
      const head = [`GET ${execPath(gateway, ["true"])} HTTP/1.1`, "Host: localhost", ...upgrade, ...lines, name];
      using client = await RawRequest.open(gateway, head.join("\r\n"));
      await client.send(concat([value, new TextEncoder().encode("\r\n\r\n")]));
      assertEquals(statusLine(await within(client.until("\r\n\r\n"))), "HTTP/1.1 101 Switching Protocols");
    }, { wire: "spdy", onBug: (error) => bugs.push(error) });
    assertEquals(bugs, []);
  }
});

Deno.test("/readyz is one question for all who ask meanwhile, holds nobody who has left, and has a deadline", async () => {
  const left = Promise.withResolvers<void>();
  const leavers: AccessRecord[] = [];
  let questions = 0;
  await withGateway(async (connection) => {
    questions++;
    await connection.head();
    await connection.gone();
  }, async (gateway) => {
    const waiting: RawRequest[] = [];
    try {
      for (let i = 0; i < 3; i++) {
        // Behind the first answer the second request has been taken.
        const both = keptAlive(gateway.token!, "/healthz") + keptAlive(gateway.token!, "/readyz");
        waiting.push(await RawRequest.open(gateway, both));
        await waiting[i]!.until("\r\n\r\nok");
      }
      waiting[0]![Symbol.dispose]();
      waiting[1]![Symbol.dispose]();
      await within(left.promise);
      assertEquals(statusLine(await within(ask(gateway, authorized(gateway, "GET", "/healthz")))), "HTTP/1.1 200 OK");
      assertStringIncludes(await within(waiting[2]!.until("in time")), "HTTP/1.1 503 Service Unavailable");
      assertEquals(questions, 1);
    } finally {
      for (const client of waiting) client[Symbol.dispose]();
    }
  }, {
    maxConnections: 3,
    onRequest: (record) => {
      if (record.path !== "/readyz" || record.status !== 0) return;
      leavers.push(record);
      if (leavers.length === 2) left.resolve();
    },
  });
});

Deno.test("a gateway that ends asks nobody any more whether it is ready", async () => {
  const asked = Promise.withResolvers<void>();
  await withGateway(async (connection) => {
    await connection.head();
    asked.resolve();
    await connection.gone();
  }, async (gateway) => {
    const client = await RawRequest.open(gateway, authorized(gateway, "GET", "/readyz"));
    await asked.promise;
    client[Symbol.dispose]();
    const started = performance.now();
    await gateway.drain(0);
    assertEquals(performance.now() - started < 4_000, true); // Not for the question's own deadline.
  });
});

Deno.test("a connection that says nothing, or not all of a head, soon makes room for others", async () => {
  for (const text of ["", "GET /healthz HT"]) {
    await withGateway(never, async (gateway) => {
      using _silent = await RawRequest.open(gateway, text);
      const got = await within(ask(gateway, authorized(gateway, "GET", "/healthz")));
      assertEquals(statusLine(got), "HTTP/1.1 200 OK");
    }, { maxConnections: 1, limits: { first: 100 } });
  }
});

Deno.test("who is not let in keeps no connection", async () => {
  await withGateway(never, async (gateway) => {
    for (const [host, status] of [["localhost", "401 Unauthorized"], ["attacker.example", "403 Forbidden"]]) {
      const got = await within(ask(gateway, `GET /api HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
      assertEquals(statusLine(got), `HTTP/1.1 ${status}`);
    }
    // Which takes no token.
    const preflight = "OPTIONS /api HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: GET\r\n\r\n";
    assertEquals(statusLine(await within(ask(gateway, preflight))), "HTTP/1.1 204 No Content");
  });
});

Deno.test("a client that sends much behind a watch is dropped: its end could not be seen behind that", async () => {
  const over = Promise.withResolvers<AccessRecord>();
  await withGateway(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    await connection.gone();
  }, async (gateway) => {
    using client = await RawRequest.open(gateway, keptAlive(gateway.token!, "/api/v1/pods?watch=true"));
    await client.until("\r\n\r\n");
    await client.send(new Uint8Array(16 * 1024));
    assertMatch((await within(over.promise)).error!, /too much behind a request/);
  }, { onRequest: over.resolve });
});

Deno.test("an upload that the upstream does not accept is given up", async () => {
  const over = Promise.withResolvers<AccessRecord>();
  const done = Promise.withResolvers<void>();
  await withGateway(async (connection) => {
    await connection.head();
    await done.promise; // Until then it reads nothing.
    await connection.gone();
  }, async (gateway) => {
    const size = 64 * 1024 * 1024; // More than all buffers on the way.
    const head = keptAlive(gateway.token!, "/upload", "POST", `Content-Length: ${size}\r\n`);
    using client = await RawRequest.open(gateway, head);
    const sending = client.send(new Uint8Array(size)).then(() => "sent", () => "refused");
    try {
      const got = await within(client.until("for 0.5 s"));
      assertEquals(statusLine(got), "HTTP/1.1 502 Bad Gateway");
      assertStringIncludes(got, "it accepted nothing of the request");
      assertMatch((await within(over.promise)).error!, /accepted nothing/);
      assertEquals(await within(sending), "refused");
    } finally {
      done.resolve();
    }
  }, { limits: { idle: 500 }, onRequest: over.resolve });
});

Deno.test("a passed stream whose client has ended goes on while its upstream speaks, and no longer", async () => {
  const silence = 200;
  const over = Promise.withResolvers<void>();
  let heard = Promise.withResolvers<void>();
  let ticks = 0;
  await withUpstream(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    assertEquals(await connection.read(), undefined); // It does not care.
    for (const start = performance.now(); performance.now() - start < 3 * silence;) {
      heard = Promise.withResolvers();
      await connection.write(`tick ${++ticks}.`);
      await Promise.race([heard.promise, over.promise]);
    }
    await over.promise;
  }, async (gateway) => {
    const ended = gateway.next();
    const lines = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    using client = await connect(gateway);
    try {
      await client.write(new TextEncoder().encode(`GET ${execPath(gateway, ["true"])} HTTP/1.1\r\n${lines}\r\n`));
      const decoder = new TextDecoder();
      const buffer = new Uint8Array(1024);
      let got = "";
      for (let n = await client.read(buffer); n !== null; n = await within(client.read(buffer))) {
        got += decoder.decode(buffer.subarray(0, n));
        if (got.endsWith("\r\n\r\n")) await client.closeWrite();
        if (got.endsWith(`tick ${ticks}.`)) heard.resolve();
      }
      assertStringIncludes(got, `tick ${ticks}.`);
      assertMatch((await ended).reason!, /nothing has from the upstream for 0.2 s/);
    } finally {
      over.resolve();
    }
  }, { wire: "websocket", silence });
});

Deno.test("a gateway's log shows no token of one's own, however it comes", async () => {
  const token = "my own token-1".replaceAll(" ", "~");
  const records: AccessRecord[] = [];
  await withGateway(never, async (gateway) => {
    for (
      const path of [`/${token}/api`, `//${token}/api`, `/${token}x/api`, `/api/${token}`, "/%6dy~own~token-1/api"]
    ) {
      await ask(gateway, `GET ${path} HTTP/1.1\r\nHost: attacker.example\r\n\r\n`);
    }
  }, { token, onRequest: (record) => records.push(record) });
  assertEquals(records.map(({ path }) => path), [
    "/<masked>/api",
    "//<masked>/api",
    "/<masked>/api",
    "/api/<masked>",
    "/<masked>/api",
  ]);
  assertEquals(maskPath("/%zz/a%b", "a%b"), "/%zz/<masked>");
});

Deno.test("a stream to an upstream that cannot be reached is not one that was translated", async () => {
  await using gateway = await startGateway("http://127.0.0.1:1");
  using client = await RawClient.open(gateway, execPath(gateway, ["true"]));
  assertEquals(client.head.startLine, "HTTP/1.1 500 Internal Server Error");
  assertEquals(gateway.metrics.counts, ["streaming:exec:proxied_to_kubelet"]);
});

Deno.test("a command that fails is no failure of the gateway's, translated or not", async () => {
  await using host = await startHost();
  for (const wire of ["websocket", "spdy"] as const) {
    await using gateway = await serveGateway({ access: accessTo(host.url), listen: { port: 0 }, wire });
    {
      using client = await RawClient.exec(gateway, ["sh", "-c", "exit 3"]);
      await client.finish();
    }
    const metrics = await ask(gateway, authorized(gateway, "GET", "/metrics"));
    assertMatch(metrics, /apiserver_websocket_streaming_requests_total\{.*\} 1\n/);
    assertEquals(metrics.match(/^podwire_gateway_failures_total.*/gm), null);
  }
});
