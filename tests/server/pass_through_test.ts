/** Upgrades that pass through a gateway as they are: upstream's own cases by name, and where podwire does better. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import { kubeletTarget } from "../../lib/server/kubelet_target.ts";
import { StatusError } from "../../lib/server/status_error.ts";
import { headerValue } from "../captures/recording.ts";
import type { RawConnection } from "../client/raw_server.ts";
import { connect, execPath, RawClient } from "./raw_client.ts";
import { RawSpdyClient } from "./raw_spdy_client.ts";
import { readAll, writeAll } from "./ports.ts";
import { startGateway, type StreamGateway, withUpstream } from "./stream_ground.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const SWITCH = "HTTP/1.1 101 Switching Protocols\r\n";
const LOGS = "/api/v1/namespaces/default/pods/web/log?follow=true";

/** Sends a request for an upgrade on a connection of its own. */
async function upgrade(
  gateway: StreamGateway,
  path: string,
  lines: readonly string[],
  behind = "",
): Promise<Deno.Conn> {
  const connection = await connect(gateway);
  const head = [`GET ${path} HTTP/1.1`, "Host: localhost", "Connection: keep-alive, Upgrade", ...lines, "", ""];
  await writeAll(connection, new TextEncoder().encode(head.join("\r\n") + behind));
  return connection;
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** All that a gateway answers to a request for an upgrade. */
async function answer(gateway: StreamGateway, path: string, lines: readonly string[]): Promise<string> {
  using connection = await upgrade(gateway, path, lines);
  return text(await readAll(connection));
}

const WEBSOCKET = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];

/** Refuses with a status and a body. */
async function refuse(connection: RawConnection, status: string, body: string, lines = ""): Promise<void> {
  await connection.head();
  await connection.write(
    `HTTP/1.1 ${status}\r\nConnection: close\r\n${lines}Content-Length: ${body.length}\r\n\r\n${body}`,
  );
  await connection.gone();
}

Deno.test("TestProxyUpgrade: any path, any subprotocol, heads as they are, what is sent too early", async () => {
  await withUpstream(async (connection) => {
    const head = await connection.head();
    assertEquals(head.startLine, `GET ${LOGS} HTTP/1.1`);
    const lines = head.headers.filter(([name]) => /^(connection|upgrade|sec-|x-mine|cookie|authorization)/i.test(name));
    assertEquals(Object.fromEntries(lines.map(([name, value]) => [name.toLowerCase(), value])), {
      connection: "Upgrade",
      upgrade: "WebSocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "abc",
      "sec-websocket-extensions": "permessage-deflate",
      "sec-websocket-protocol": "binary.k8s.io",
      "x-mine": "1",
    });
    await connection.write(
      `${SWITCH}Upgrade: WebSocket\r\nconnection: Upgrade\r\nSec-WebSocket-Protocol: binary.k8s.io\r\nX-Other: 2\r\n\r\nhello`,
    );
    assertEquals(text((await connection.read())!), "early");
    await connection.write("bye");
    await connection.closeWrite();
    await connection.gone();
  }, async (gateway) => {
    const ended = gateway.next();
    using connection = await upgrade(gateway, LOGS, [
      "Upgrade: WebSocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: abc",
      "Sec-WebSocket-Extensions: permessage-deflate",
      "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.eA, binary.k8s.io",
      "X-Mine: 1",
      "Cookie: a=b",
      "Authorization: Bearer x",
    ], "early");
    assertEquals(
      text(await readAll(connection)),
      `${SWITCH}Upgrade: WebSocket\r\nconnection: Upgrade\r\nSec-WebSocket-Protocol: binary.k8s.io\r\nX-Other: 2\r\n\r\nhellobye`,
    );
    await connection.closeWrite();
    const { status, wireIn, wireOut, bytesIn, bytesOut, reason } = await ended;
    assertEquals([status, wireIn, wireOut, bytesIn, bytesOut, reason], [
      101,
      "websocket",
      "websocket",
      5,
      8,
      undefined,
    ]);
    assertEquals(gateway.metrics.counts, []);
  }, {});
});

Deno.test("a tail behind the upstream's last word arrives whole, while the client still sends (k/k #60140)", async () => {
  const tail = new Uint8Array(8 * 1024 * 1024).map((_, i) => i * 7);
  await withUpstream(async (connection) => {
    await connection.head();
    await connection.write(`${SWITCH}Upgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n`);
    await connection.write(tail);
    await connection.closeWrite();
    await connection.gone();
  }, async (gateway) => {
    const client = await RawSpdyClient.open(gateway, execPath(gateway, ["ls"]), ["v4.channel.k8s.io"]);
    const sending = (async () => {
      for (let i = 0; i < 100; i++) await client.write(new Uint8Array(10_000));
      await client.end();
    })();
    while (!client.ended) await client.read();
    assertEquals(client.size, tail.length);
    await sending;
    client[Symbol.dispose]();
  }, {});
});

Deno.test("a half-close passes, in either direction", async () => {
  await withUpstream(async (connection) => {
    await connection.head();
    await connection.write(`${SWITCH}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n`);
    const parts: Uint8Array[] = [];
    for (let part = await connection.read(); part; part = await connection.read()) parts.push(part);
    await connection.write(`${concat(parts).length} bytes`);
  }, async (gateway) => {
    using connection = await upgrade(gateway, LOGS, WEBSOCKET, "x".repeat(1000));
    // Before it has its answer, a client that ends its direction counts as gone.
    await connection.read(new Uint8Array(1000));
    await connection.closeWrite();
    assertEquals(text(await readAll(connection)), "1000 bytes");
  }, {});
  await withUpstream(async (connection) => {
    await connection.head();
    await connection.write(`${SWITCH}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n`);
    await connection.closeWrite();
    assertEquals(text((await connection.read())!), "after");
    await connection.gone();
  }, async (gateway) => {
    const ended = gateway.next();
    using connection = await upgrade(gateway, LOGS, WEBSOCKET);
    await readAll(connection);
    await connection.write(new TextEncoder().encode("after"));
    await connection.closeWrite();
    assertEquals((await ended).bytesIn, 5);
  }, {});
});

Deno.test("a client that is gone ends the upstream at once, also while that is asked", async () => {
  for (const agrees of [true, false]) {
    const asked = Promise.withResolvers<void>();
    await withUpstream(async (connection) => {
      await connection.head();
      asked.resolve();
      if (agrees) await connection.write(`${SWITCH}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n`);
      await connection.gone();
    }, async (gateway) => {
      const ended = gateway.next();
      const connection = await upgrade(gateway, LOGS, WEBSOCKET);
      await asked.promise;
      if (agrees) await connection.read(new Uint8Array(1000));
      connection.close();
      await ended;
    }, {});
  }
});

Deno.test("TestProxyUpgradeConnectionErrorResponse", async () => {
  await using gateway = await startGateway("http://127.0.0.1:1");
  const said = await answer(gateway, LOGS, WEBSOCKET);
  assertStringIncludes(said, "HTTP/1.1 500 Internal Server Error\r\n");
  assertStringIncludes(said, '"message":"error dialing backend: ');
  assertStringIncludes(gateway.outcomes[0]!.reason!, "127.0.0.1");
});

Deno.test("TestProxyUpgradeErrorResponseTerminates: a refusal is the client's, whole, and the connection ends", async () => {
  const body = "x".repeat(300_000);
  await withUpstream(
    (connection) => refuse(connection, "503 Try Later", body, "Retry-After: 9\r\nX-A: 1\r\nX-A: 2\r\n"),
    async (gateway) => {
      for (const lines of [WEBSOCKET, ["Upgrade: SPDY/3.1"]]) {
        const said = await answer(gateway, LOGS, lines);
        assertStringIncludes(said, "HTTP/1.1 503 Try Later\r\n");
        assertStringIncludes(said, "Retry-After: 9\r\nX-A: 1\r\nX-A: 2\r\n");
        assertStringIncludes(said, "Connection: close\r\n");
        assertEquals(said.slice(said.indexOf("\r\n\r\n") + 4), body);
      }
      assertEquals(gateway.outcomes.map(({ status }) => status), [503, 503]);
    },
    {},
  );
});

for (const status of [200, 204, 301, 302, 307, 308, 304]) {
  Deno.test(`TestProxyUpgradeErrorResponse: ${status} is 500, and no redirect is followed`, async () => {
    await withUpstream(
      (connection) => refuse(connection, `${status} X`, "", "Location: http://127.0.0.1:1/\r\n"),
      async (gateway) => {
        const said = await answer(gateway, LOGS, WEBSOCKET);
        assertStringIncludes(said, "HTTP/1.1 500 Internal Server Error\r\n");
        assertStringIncludes(said, `"message":"invalid upgrade response: status code ${status}"`);
        assertEquals(said.includes("Location"), false);
      },
      {},
    );
  });
}

Deno.test("what is no upgrade to WebSocket or SPDY reaches no upstream", async () => {
  await withUpstream(() => Promise.reject(new Error("nobody is to be asked")), async (gateway) => {
    assertStringIncludes(
      await answer(gateway, LOGS, ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]),
      "HTTP/1.1 400 ",
    );
    using connection = await connect(gateway);
    await writeAll(
      connection,
      new TextEncoder().encode(`GET ${execPath(gateway, ["ls"])} HTTP/1.0\r\nHost: x\r\n\r\n`),
    );
    assertStringIncludes(text(await readAll(connection)), '"message":"Upgrade request required"');
  }, {});
});

Deno.test("where both wires are refused, the client hears what its own was refused with", async () => {
  const wires: string[] = [];
  await withUpstream(async (connection) => {
    const wire = headerValue(await connection.head(), "Upgrade")!;
    wires.push(wire);
    await connection.write(
      `HTTP/1.1 403 Forbidden\r\nX-Wire: ${wire}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno`,
    );
    await connection.gone();
  }, async (gateway) => {
    using client = await RawClient.open(gateway, execPath(gateway, ["ls"]));
    assertEquals(headerValue(client.head, "X-Wire"), "websocket");
    assertEquals(await client.body(), "no");
    using spdy = await RawSpdyClient.open(gateway, execPath(gateway, ["ls"]), ["v4.channel.k8s.io"]);
    assertEquals(headerValue(spdy.head, "X-Wire"), "SPDY/3.1");
    assertEquals(await spdy.body(), "no");
    assertEquals(wires, ["websocket", "SPDY/3.1", "SPDY/3.1", "websocket"]);
    assertEquals(gateway.metrics.counts.slice(0, 1), ["streaming:exec:translated_at_apiserver"]);
  }, {});
});

Deno.test("where only the other wire's refusal is a Status, the client hears that", async () => {
  const status = '{"kind":"Status","status":"Failure","message":"pods \\"web\\" not found","code":404}';
  await withUpstream(async (connection) => {
    const isSpdy = headerValue(await connection.head(), "Upgrade") === "SPDY/3.1";
    const [line, body] = isSpdy ? ["404 Not Found", status] : ["403 Forbidden", "no such subprotocol"];
    await connection.write(`HTTP/1.1 ${line}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await connection.gone();
  }, async (gateway) => {
    for (const path of [execPath(gateway, ["ls"]), "/api/v1/namespaces/default/pods/web/portforward?ports=80"]) {
      using client = await RawClient.open(gateway, path, { protocol: "v4.channel.k8s.io" });
      assertEquals([client.head.startLine, await client.body()], ["HTTP/1.1 404 Not Found", status]);
    }
  }, {});
});

Deno.test("TestTranslatingHandler: what an API server would translate, by what the node declares", async () => {
  const exec = "/api/v1/namespaces/default/pods/web/exec?stdout=true";
  const forward = "/api/v1/namespaces/default/pods/web/portforward?ports=80";
  const feature = ["ExtendWebSocketsToKubelet"];
  const cases: Array<[features: string[], path: string, protocols: string, upgrade: string]> = [
    [[], exec, "v5.channel.k8s.io", "SPDY/3.1"],
    [[], exec, "v4.channel.k8s.io, v5.channel.k8s.io", "SPDY/3.1"],
    [[], exec, "v4.channel.k8s.io", "websocket"],
    [[], exec, "channel.k8s.io", "websocket"],
    [[], forward, "SPDY/3.1+portforward.k8s.io", "SPDY/3.1"],
    [[], forward, "v2.portforward.k8s.io", "SPDY/3.1"],
    [[], forward, "v4.channel.k8s.io, SPDY/3.1+portforward.k8s.io", "SPDY/3.1"],
    [[], forward, "v4.channel.k8s.io", "websocket"],
    [feature, exec, "v5.channel.k8s.io", "websocket"],
    [feature, forward, "SPDY/3.1+portforward.k8s.io", "websocket"],
  ];
  for (const [declaredFeatures, path, protocols, wanted] of cases) {
    const asked: string[] = [];
    await withUpstream(async (connection) => {
      asked.push(headerValue(await connection.head(), "Upgrade")!);
      await connection.write("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      await connection.gone();
    }, async (gateway) => {
      const client = await upgrade(gateway, path, [...WEBSOCKET, `Sec-WebSocket-Protocol: ${protocols}`]);
      await client.read(new Uint8Array(1000));
      client.close();
      await gateway.drain();
      const type = declaredFeatures.length > 0 ? "proxied_to_kubelet" : "translated_at_apiserver";
      assertEquals(gateway.metrics.counts[0]?.split(":").at(-1), type);
      assertEquals(gateway.metrics.open, 0);
    }, { declaredFeatures });
    assertEquals(asked, [wanted], `${declaredFeatures} ${protocols}`);
  }
});

Deno.test("kubeletTarget() is the kubelet's path and query", () => {
  const pod = "/api/v1/namespaces/ns/pods/p";
  const cases: Array<[path: string, query: string, target: string | undefined]> = [
    [
      `${pod}/exec`,
      "container=c&stdin=true&stdout=1&stderr=&tty=false&command=sh&command=-c&command=a+b%26",
      "/exec/ns/p/c?input=1&output=1&error=1&command=sh&command=-c&command=a+b%26",
    ],
    [`${pod}/attach`, "container=c&tty=true&stdin=0", "/attach/ns/p/c?tty=1"],
    [`${pod}/attach`, "container=c%2F..", "/attach/ns/p/c%2F.."],
    [`${pod}/portforward`, "ports=80&ports=81", "/portForward/ns/p?port=80%2C81"],
    [`${pod}/portforward`, "", "/portForward/ns/p"],
    [`${pod}/log`, "container=c", undefined],
    ["/api/v1/namespaces/ns/pods", "", undefined],
  ];
  for (const [path, query, target] of cases) assertEquals(kubeletTarget(path, query), target);
  let code = 0;
  try {
    kubeletTarget(`${pod}/exec`, "command=ls");
  } catch (error) {
    code = error instanceof StatusError ? error.code : 0;
  }
  assertEquals(code, 400);
});
