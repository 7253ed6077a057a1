/** Port-forward translated from one wire to another: upstream's own cases by name, and servers that say what no real one does. */
import { assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { headerValue, Opcode } from "../captures/recording.ts";
import { SpdyType } from "../captures/spdy_recording.ts";
import { dataFrame, goAwayFrame, SpdyPeer } from "../channels/spdy_peer.ts";
import { data, fin } from "../spdy/harness.ts";
import { echo, withPort } from "./ports.ts";
import { RawClient } from "./raw_client.ts";
import { RawSpdyClient, TUNNEL } from "./raw_spdy_client.ts";
import { startGateway, startHost, type StreamGateway, withUpstream } from "./stream_ground.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const PATH = "/api/v1/namespaces/default/pods/web/portforward";
const PROTOCOL = "portforward.k8s.io";

/** Runs `work` with a gateway that tunnels to the embedded host, whose port 80 repeats what comes and whose 81 is refused. */
async function withEcho(work: (gateway: StreamGateway) => Promise<void>): Promise<void> {
  await withPort(echo, async (port, refused) => {
    await using host = await startHost({ 80: port, 81: refused });
    await using gateway = await startGateway(host.url, { wire: "spdy" });
    await work(gateway);
  });
}

/** Opens the two streams of a connection, `id` and `id + 2`. */
async function openPair(client: RawSpdyClient, id: number, port: number): Promise<void> {
  const headers = { port: String(port), requestid: String(id) };
  await client.send(
    client.open(id, { streamtype: "error", ...headers }),
    client.open(id + 2, { streamtype: "data", ...headers }),
  );
}

for (const name of [TUNNEL, "v2.portforward.k8s.io"]) {
  Deno.test(`TestTunnelingHandler_UpgradeStreamingAndTunneling: ${name}`, async () => {
    await withEcho(async (gateway) => {
      const ended = gateway.next();
      using client = await RawSpdyClient.tunnel(gateway, PATH, name);
      assertEquals(client.head.startLine, "HTTP/1.1 101 Switching Protocols");
      assertEquals(headerValue(client.head, "Sec-WebSocket-Protocol"), name);
      for (const [id, port] of [[1, 80], [5, 80], [9, 81]] as const) await openPair(client, id, port);
      const bytes = new Uint8Array(100_000).fill(0x61);
      for (let at = 0; at < bytes.length; at += 10_000) {
        for (const id of [3, 7]) await client.send(data(id, bytes.subarray(at, at + 10_000)));
      }
      await client.send(fin(3), fin(7), fin(11));
      const { streams } = await client.until(({ streams }) =>
        [3, 7].every((id) => streams[id]?.ended) && streams[9]?.ended === true
      );
      assertEquals([streams[3]!.data.length, streams[7]!.data.length], [bytes.length, bytes.length]);
      assertStringIncludes(streams[9]!.data, "connection refused");
      await client.send(goAwayFrame(0));
      await client.finish();
      const { wireIn, wireOut, bytesIn, reason } = await ended;
      assertEquals([wireIn, wireOut, reason], ["websocket", "spdy", undefined]);
      assertGreater(bytesIn, 200_000);
      assertEquals(gateway.metrics.counts, ["streaming:portforward:translated_at_apiserver", "tunnel:101"]);
    });
  });
}

Deno.test("TestTunnelingHandler_HeaderInterceptingConn: a head in pieces, with frames right behind it", async () => {
  await withUpstream(async (connection) => {
    const head = await connection.head();
    assertEquals(head.startLine, `POST ${PATH} HTTP/1.1`);
    assertEquals(headerValue(head, "Upgrade"), "SPDY/3.1");
    assertEquals(headerValue(head, "X-Stream-Protocol-Version"), PROTOCOL);
    assertEquals(headerValue(head, "User-Agent"), "test/1");
    assertEquals(head.headers.filter(([name]) => /^sec-websocket/i.test(name)), []);
    const answer = `HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: spdy/3.1\r\n` +
      `X-Stream-Protocol-Version: ${PROTOCOL}\r\n\r\n`;
    for (const character of answer.slice(0, -1)) await connection.write(character);
    await connection.write(Uint8Array.of(10, ...dataFrame(1, "early")));
    await connection.gone();
  }, async (gateway) => {
    using client = await RawSpdyClient.request(gateway, `GET ${PATH}`, [
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      `Sec-WebSocket-Protocol: ${TUNNEL}`,
      "User-Agent: test/1",
    ]);
    await client.until(({ streams }) => streams[1]?.data === "early");
  });
});

Deno.test("TestTunnelingHandler_BadRequestWithoutProtcols: what is no tunnel is asked for as it is", async () => {
  await withUpstream(async (connection) => {
    const head = await connection.head();
    assertEquals([head.startLine, headerValue(head, "Sec-WebSocket-Protocol")], [
      `GET ${PATH} HTTP/1.1`,
      "other.k8s.io",
    ]);
    await connection.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nno id");
    await connection.gone();
  }, async (gateway) => {
    using client = await RawSpdyClient.tunnel(gateway, PATH, "other.k8s.io");
    assertEquals([client.head.startLine, await client.body()], ["HTTP/1.1 400 Bad Request", "no id"]);
  });
});

Deno.test("TestTunnelingHandler_BadHandshakeError", async () => {
  for (const lines of ["Upgrade: SPDY/3.1", "Connection: Upgrade", "Connection: Upgrade\r\nUpgrade: websocket"]) {
    await withUpstream(async (connection) => {
      await connection.head();
      await connection.write(`HTTP/1.1 101 Switching Protocols\r\n${lines}\r\n\r\n`);
      await connection.gone();
    }, async (gateway) => {
      using client = await RawSpdyClient.tunnel(gateway, PATH);
      assertEquals(client.head.startLine, "HTTP/1.1 500 Internal Server Error");
      assertStringIncludes(await client.body(), "unable to upgrade: missing upgrade headers in response");
      await gateway.drain();
      assertEquals(gateway.metrics.counts.at(-1), "tunnel:500");
    });
  }
});

Deno.test("TestTunnelingHandler_UpstreamSPDYServerErrorPropagated", async () => {
  const body =
    "unable to upgrade: unable to negotiate protocol: client supports [other.k8s.io], server accepts [portforward.k8s.io]\n";
  await withUpstream(async (connection) => {
    const head = await connection.head();
    assertEquals(headerValue(head, "X-Stream-Protocol-Version"), "other.k8s.io");
    await connection.write(
      `HTTP/1.1 403 Forbidden\r\nX-Accepted-Stream-Protocol-Versions: ${PROTOCOL}\r\nAudit-Id: 7\r\n` +
        `Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    await connection.gone();
  }, async (gateway) => {
    using client = await RawSpdyClient.tunnel(gateway, PATH, "SPDY/3.1+other.k8s.io");
    assertEquals(client.head.startLine, "HTTP/1.1 403 Forbidden");
    assertEquals(headerValue(client.head, "X-Accepted-Stream-Protocol-Versions"), PROTOCOL);
    assertEquals(headerValue(client.head, "Audit-Id"), "7");
    assertEquals(headerValue(client.head, "Connection"), "close");
    assertEquals(await client.body(), body);
    await gateway.drain();
    assertEquals(gateway.metrics.counts, ["streaming:portforward:translated_at_apiserver", "tunnel:403"]);
  });
});

Deno.test("a GOAWAY of the upstream ends the tunnel, though its connection stays", async () => {
  const gone = Promise.withResolvers<void>();
  await withUpstream(async (connection) => {
    await connection.acceptSpdy(PROTOCOL);
    await connection.write(goAwayFrame(0));
    await connection.gone();
    gone.resolve();
  }, async (gateway) => {
    using client = await RawSpdyClient.tunnel(gateway, PATH);
    await client.until(({ goAway }) => goAway !== undefined);
    while (!client.messages.some(({ opcode }) => opcode === Opcode.CLOSE)) await client.read();
    const close = client.messages.at(-1)!;
    assertEquals([...close.payload], [3, 232]);
    await gone.promise;
  });
});

Deno.test("a GOAWAY of the client, its Close and its leaving end the upstream's connection", async () => {
  let left = 0;
  await withUpstream(async (connection) => {
    await connection.acceptSpdy(PROTOCOL);
    await connection.gone();
    left++;
  }, async (gateway) => {
    const leave = async (how: (client: RawSpdyClient) => Promise<void> | void) => {
      const ended = gateway.next();
      using client = await RawSpdyClient.tunnel(gateway, PATH);
      await how(client);
      await ended;
    };
    await leave((client) => client.send(goAwayFrame(0)));
    await leave((client) => client.write(Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 3, 232)));
    await leave((client) => client[Symbol.dispose]());
  });
  assertEquals(left, 3);
});

Deno.test("channels over SPDY greet, carry bytes, tell errors, and close when all ports are done", async () => {
  await withEcho(async (gateway) => {
    using client = await RawClient.open(gateway, `${PATH}?ports=80&ports=81`, { protocol: "v4.channel.k8s.io" });
    assertEquals(client.head.startLine, "HTTP/1.1 101 Switching Protocols");
    await client.send(0, "hello");
    const { channels, closes } = await client.until(({ channels }) =>
      channels[0] === "P\0hello" && (channels[3]?.length ?? 0) > 2
    );
    assertEquals([channels[1], channels[2], closes], ["P\0", "Q\0", []]);
    assertStringIncludes(channels[3]!, "error forwarding port 81 to pod web");
    await client.control(Opcode.CLOSE, Uint8Array.of(3, 232));
    while (!client.ended) await client.read();
  });
});

Deno.test("channels over SPDY pass the upstream's words on, which come behind the data's end", async () => {
  const gone = Promise.withResolvers<void>();
  await withUpstream(async (connection) => {
    const head = await connection.acceptSpdy(PROTOCOL);
    assertEquals(headerValue(head, "X-Stream-Protocol-Version"), PROTOCOL);
    const peer = new SpdyPeer(connection);
    const ids = await peer.accept(2);
    const [error] = peer.frames.filter(({ type }) => type === SpdyType.SYN_STREAM);
    assertEquals([error!.headers.streamtype, error!.headers.port], ["error", "80"]);
    await peer.write(dataFrame(ids.data!, "tail", true));
    await peer.write(dataFrame(ids.error!, "error forwarding port 80 to pod x, uid : no", true));
    await connection.gone();
    gone.resolve();
  }, async (gateway) => {
    using client = await RawClient.open(gateway, `${PATH}?ports=80`, { protocol: "v4.channel.k8s.io" });
    const { channels, closes } = await client.finish();
    assertEquals([channels[0], channels[1]], ["P\0tail", "P\0error forwarding port 80 to pod x, uid : no"]);
    assertEquals(closes, [1000]);
    await gone.promise;
  }, { wire: "spdy" });
});

Deno.test("an upstream that is cut off ends the tunnel", async () => {
  await withUpstream(async (connection) => {
    await connection.acceptSpdy(PROTOCOL);
    await connection.read();
    connection.close();
  }, async (gateway) => {
    const ended = gateway.next();
    using client = await RawSpdyClient.tunnel(gateway, PATH);
    await client.send(data(1, "x"), data(1, "y"));
    await client.finish();
    assertEquals((await ended).status, 101);
  });
});
