/** Port-forward over SPDY, plain and in a tunnel: a scripted client against the host. */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { type AddressInfo, createServer } from "node:net";
import { concat, duplexPair } from "../../lib/bytes/mod.ts";
import { type HostServer, serveHost } from "../../lib/server/mod.ts";
import { servePortForward } from "../../lib/server/port_forward.ts";
import { buildFrame, headerValue, Opcode } from "../captures/recording.ts";
import { type SpdyTalk, SpdyType } from "../captures/spdy_recording.ts";
import { BytePeer, data, fin, goAway, pattern, ping, rstStream, synStream } from "../spdy/harness.ts";
import { until, within } from "../support/until.ts";
import { echo, readAll, withPodPort, withPort, writeAll } from "./ports.ts";
import { RawClient } from "./raw_client.ts";
import { assertRefused, RawSpdyClient, TUNNEL } from "./raw_spdy_client.ts";

const path = (host: HostServer) => `${host.url.pathname}/api/v1/namespaces/default/pods/web/portforward`;

const WIRES = {
  spdy: (host: HostServer) => RawSpdyClient.open(host, path(host), ["portforward.k8s.io"]),
  tunnel: (host: HostServer) => RawSpdyClient.tunnel(host, path(host)),
} as const;

/** The frames that open connection number `n`, whose error stream has the id 4n + 1 and whose data stream 4n + 3. */
function openPair(client: RawSpdyClient, n: number, port = 80): Uint8Array {
  const headers = { port: String(port), requestid: String(n) };
  return concat([
    client.open(4 * n + 1, { streamtype: "error", ...headers }),
    fin(4 * n + 1),
    client.open(4 * n + 3, { streamtype: "data", ...headers }),
  ]);
}

const text = (value: string) => new TextEncoder().encode(value);
const hasEnded = (id: number) => ({ streams }: SpdyTalk) => streams[id]?.ended ?? false;

for (const [wire, connect] of Object.entries(WIRES)) {
  Deno.test(`port-forward over ${wire} echoes, ends data and then error, and says that it keeps a half-close`, async () => {
    await withPodPort(echo, async (host) => {
      using client = await connect(host);
      assertEquals(client.head.startLine, "HTTP/1.1 101 Switching Protocols");
      await client.send(openPair(client, 0), data(3, "hello"));
      await client.until(({ streams }) => streams[3]?.data === "hello");
      await client.send(data(3, ", you"), fin(3));
      const { streams } = await client.until(hasEnded(1));
      assertEquals(streams, {
        1: { replied: true, data: "", ended: true },
        3: { replied: true, data: "hello, you", ended: true },
      });
      const replies = client.frames.filter(({ type }) => type === SpdyType.SYN_REPLY);
      assertEquals(replies.map(({ id, headers }) => [id, headers]), [
        [1, { "half-close": "kept" }],
        [3, { "half-close": "kept" }],
      ]);
      const ends = client.frames.filter(({ fin }) => fin).map(({ type, id }) => [type, id]);
      assertEquals(ends, [[0, 3], [0, 1]]);
    });
  });

  Deno.test(`port-forward over ${wire} brings an answer that comes after the client's end`, async () => {
    const count = async (connection: Deno.Conn) => {
      const { length } = await readAll(connection);
      await writeAll(connection, text(`${length} bytes`));
    };
    await withPodPort(count, async (host) => {
      using client = await connect(host);
      await client.send(openPair(client, 0), data(3, pattern(100_000)), fin(3));
      assertEquals((await client.until(hasEnded(1))).streams[3], { replied: true, data: "100000 bytes", ended: true });
    });
  });

  Deno.test(`port-forward over ${wire} lets the client go on after the process's end`, async () => {
    const received = Promise.withResolvers<string>();
    const speakFirst = async (connection: Deno.Conn) => {
      await writeAll(connection, text("over"));
      await connection.closeWrite();
      received.resolve(new TextDecoder().decode(await readAll(connection)));
    };
    await withPodPort(speakFirst, async (host) => {
      using client = await connect(host);
      await client.send(openPair(client, 0));
      // The verdict comes with the process's end; older clients wait for it.
      await client.until((talk) => hasEnded(3)(talk) && hasEnded(1)(talk));
      await client.send(data(3, "and out"), fin(3));
      assertEquals(await received.promise, "and out");
    });
  });

  Deno.test(`port-forward over ${wire} carries 32 MiB both ways without a change`, async () => {
    await withPodPort(echo, async (host) => {
      using client = await connect(host);
      const bytes = pattern(32 * 1024 * 1024);
      await client.send(openPair(client, 0));
      const sending = (async () => {
        for (let at = 0; at < bytes.length; at += 100_000) await client.send(data(3, bytes.subarray(at, at + 100_000)));
        await client.send(fin(3));
      })();
      while (client.size < bytes.length) await client.read();
      await sending;
      await client.until(hasEnded(1));
      const back = concat(client.frames.filter(({ type, id }) => type === 0 && id === 3).map(({ data }) => data));
      assertEquals(await digest(back), await digest(bytes));
    });
  });

  Deno.test(`port-forward over ${wire} refuses one connection and leaves the others alone`, async () => {
    await withPodPort(echo, async (host) => {
      using client = await connect(host);
      await client.send(openPair(client, 0), openPair(client, 1, 81));
      const { streams } = await client.until((talk) => hasEnded(5)(talk) && hasEnded(7)(talk));
      assertMatch(
        streams[5]!.data,
        /^error forwarding port 81 to pod web, uid [0-9a-f-]{36}: failed to connect to localhost:\d+, IPv4: dial tcp4 127\.0\.0\.1:\d+: connect: connection refused, IPv6: dial tcp6 \[::1\]:\d+: connect: \S.*$/,
      );
      const order = client.frames.filter(({ id, type }) => id === 5 || id === 7 || type === 3).map(({ type, fin }) =>
        [type, fin] as const
      );
      assertEquals(order.slice(-3), [[0, false], [0, true], [SpdyType.RST_STREAM, false]]);
      await client.send(data(3, "still here"));
      await client.until(({ streams }) => streams[3]?.data === "still here");
      assertEquals(hasEnded(1)(client.talk), false);
    });
  });
}

Deno.test("port-forward over the tunnel ends with Close 1000 after GOAWAY, and answers a Close", async () => {
  await withPodPort(echo, async (host) => {
    for (const leave of ["goaway", "close"] as const) {
      using client = await WIRES.tunnel(host);
      await client.send(openPair(client, 0), data(3, "x"));
      await client.until(({ streams }) => streams[3]?.data === "x");
      if (leave === "goaway") await client.send(goAway(0));
      await client.write(buildFrame(Opcode.CLOSE, Uint8Array.of(3, 232)));
      await client.finish();
      assertEquals(client.messages.filter(({ opcode }) => opcode === 8).map(({ payload }) => [...payload]), [[3, 232]]);
    }
  });
});

Deno.test("port-forward refuses what upstream refuses, in its words", async () => {
  await withPodPort(echo, async (host) => {
    const portForward = path(host);
    using version = await RawSpdyClient.open(host, portForward, ["v4.channel.k8s.io"]);
    const accepts = "server accepts [portforward.k8s.io]\n";
    const refusal = "unable to upgrade: unable to negotiate protocol: client supports";
    await assertRefused(version, "403 Forbidden", `${refusal} [v4.channel.k8s.io], ${accepts}`);
    using tunnel = await RawSpdyClient.tunnel(host, portForward, "SPDY/3.1+other.k8s.io, v4.channel.k8s.io");
    assertEquals(headerValue(tunnel.head, "X-Accepted-Stream-Protocol-Versions"), "portforward.k8s.io");
    await assertRefused(tunnel, "403 Forbidden", `${refusal} [other.k8s.io], ${accepts}`);
    using both = await RawSpdyClient.tunnel(host, portForward, `v4.channel.k8s.io, ${TUNNEL}`);
    assertEquals(headerValue(both.head, "Sec-WebSocket-Protocol"), TUNNEL);
    using none = await RawSpdyClient.open(host, portForward.replace("/web/", "/none/"), ["portforward.k8s.io"]);
    assertEquals(none.head.startLine, "HTTP/1.1 404 Not Found");
    using plain = await RawSpdyClient.request(host, `PUT ${portForward}`, ["Upgrade: SPDY/3.1"]);
    assertEquals(plain.head.startLine, "HTTP/1.1 405 Method Not Allowed");
  });
});

Deno.test("streams with headers that make no sense are reset without an answer", async () => {
  await withPodPort(echo, async (host) => {
    using client = await WIRES.spdy(host);
    const wrong = [
      { streamtype: "error", requestid: "0" },
      { streamtype: "error", requestid: "1", port: "0" },
      { streamtype: "data", requestid: "2", port: "x" },
      { streamtype: "data", requestid: "3", port: "65536" },
      { streamtype: "data", requestid: "4", port: "+80" },
      { requestid: "5", port: "80" },
      { streamtype: "other", requestid: "6", port: "80" },
    ];
    await client.send(...wrong.map((headers, i) => client.open(2 * i + 1, headers)), ping(1));
    const talk = await client.until(({ pings }) => pings.length > 0);
    const resets = client.frames.filter(({ type }) => type === SpdyType.RST_STREAM);
    assertEquals(resets.map(({ id, status }) => [id, status]), wrong.map((_, i) => [2 * i + 1, 5]));
    assertEquals(Object.values(talk.streams).filter(({ replied }) => replied), []);
  });
});

Deno.test("a stream that cannot be answered harms nobody", async () => {
  await withPodPort(echo, async (host) => {
    using client = await WIRES.spdy(host);
    const UNIDIRECTIONAL = 2;
    const headers = { port: "81", requestid: "one-way" };
    await client.send(
      client.open(1, { streamtype: "error", ...headers }, UNIDIRECTIONAL),
      client.open(3, { streamtype: "data", ...headers }, UNIDIRECTIONAL),
      client.open(5, { streamtype: "error", ...headers }, UNIDIRECTIONAL),
      openPair(client, 2),
      data(11, "x"),
    );
    await client.until(({ streams }) => streams[11]?.data === "x");
  });
});

Deno.test("streams without ids pair by their numbers, in any order, and the data stream's port counts", async () => {
  await withPodPort(echo, async (host) => {
    using client = await WIRES.spdy(host);
    await client.send(
      client.open(1, { streamtype: "error", port: "81" }),
      client.open(3, { streamtype: "data", port: "80" }),
      // The data comes before its pair is there.
      client.open(5, { streamtype: "data", port: "80", requestid: "late" }),
      data(5, "early"),
      ping(1),
      data(3, "no ids"),
    );
    await client.until(({ pings }) => pings.length > 0);
    await client.send(client.open(7, { streamtype: "error", port: "80", requestid: "late" }));
    await client.until(({ streams }) => streams[3]?.data === "no ids" && streams[5]?.data === "early");
  });
});

Deno.test("a second stream of a kind is told so and reset, and the first goes on", async () => {
  await withPodPort(echo, async (host) => {
    using client = await WIRES.spdy(host);
    const headers = { port: "80", requestid: "7" };
    await client.send(
      client.open(1, { streamtype: "error", ...headers }),
      client.open(3, { streamtype: "error", ...headers }),
    );
    const { streams } = await client.until(hasEnded(3));
    assertEquals(streams[1]!.data, "error processing stream for request 7: error stream already assigned");
    await client.send(client.open(5, { streamtype: "data", ...headers }), data(5, "x"));
    await client.until(({ streams }) => streams[5]?.data === "x");
    await client.send(client.open(7, { streamtype: "data", ...headers }));
    await client.until(hasEnded(7));
    assertMatch(client.talk.streams[1]!.data, /request 7: data stream already assigned$/);
  });
});

Deno.test("a stream whose other half does not come is told so, and nothing of it is left", async () => {
  const [left, right] = duplexPair();
  const serving = servePortForward(left, { name: "web", uid: "u", ports: {} }, { pairTimeout: 50 });
  const peer = new BytePeer(right);
  const open = (id: number, streamtype: string) =>
    synStream(id, peer.blocks.of(["streamtype", streamtype], ["port", "80"], ["requestid", String(id)]));
  await peer.send(open(1, "error"), open(3, "data"), data(3, "nobody reads it"));
  assertEquals([(await peer.frame()).type, (await peer.frame()).type], [SpdyType.SYN_REPLY, SpdyType.SYN_REPLY]);
  const told = await peer.frame();
  assertMatch(
    new TextDecoder().decode(told.body),
    /^\(conn=0x[0-9a-f]{12}, request=1\) timed out waiting for streams$/,
  );
  const rest = [await peer.frame(), await peer.frame()].map(({ type, id, flags }) => [type, id, flags]);
  assertEquals(rest, [[0, 1, 1], [SpdyType.RST_STREAM, 3, 0]]);
  // The id is free again.
  await peer.send(synStream(5, peer.blocks.of(["streamtype", "error"], ["port", "80"], ["requestid", "1"])));
  assertEquals((await peer.frame()).type, SpdyType.SYN_REPLY);
  right.close();
  await serving;
});

Deno.test("a connection that the process resets is reset, not ended", async () => {
  const server = createServer((socket) => void socket.once("data", () => socket.resetAndDestroy()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await using host = await serveHost({
      listen: { port: 0 },
      pods: [{ name: "web", ports: { 80: port }, containers: [{ name: "main", command: ["sleep", "600"] }] }],
    });
    using client = await WIRES.spdy(host);
    for (let n = 0; n < 20; n++) {
      await client.send(openPair(client, n), data(4 * n + 3, pattern(1000)));
      const { streams } = await client.until((talk) => hasEnded(4 * n + 1)(talk) && hasEnded(4 * n + 3)(talk));
      assertEquals(streams[4 * n + 1]!.data, "");
      assert(client.frames.some(({ type, id }) => type === SpdyType.RST_STREAM && id === 4 * n + 3));
    }
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});

Deno.test("a client's reset ends the process's connection, and the end of the session ends all", async () => {
  let open = 0;
  const count = async (connection: Deno.Conn) => {
    open++;
    await readAll(connection).catch(() => {}); // A reset is an end too.
    open--;
  };
  await withPodPort(count, async (host) => {
    using client = await WIRES.spdy(host);
    await client.send(openPair(client, 0), openPair(client, 1), openPair(client, 2));
    await until("three connections are open", () => open === 3);
    await client.send(rstStream(3));
    await client.until(hasEnded(1));
    await until("one of them ends", () => open === 2);
    client[Symbol.dispose]();
    await until("all have ended", () => open === 0);
    using other = await WIRES.tunnel(host);
    await other.send(openPair(other, 0));
    await until("a connection is open", () => open === 1);
    await host.close();
    await until("all have ended", () => open === 0);
    await other.finish();
  });
});

Deno.test("a half-closed connection ends with its session, though its process says nothing", async () => {
  const accepted = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const silent = async (connection: Deno.Conn) => {
    await readAll(connection);
    accepted.resolve();
    await released.promise;
  };
  await withPodPort(silent, async (host) => {
    using client = await WIRES.spdy(host);
    await client.send(openPair(client, 0), fin(3));
    await accepted.promise;
    client[Symbol.dispose]();
    await host.close(); // It waits for every connection.
    released.resolve();
  });
});

Deno.test("an id is free again once the verdict is out", async () => {
  const received: string[] = [];
  const speakFirst = async (connection: Deno.Conn) => {
    await connection.closeWrite();
    received.push(new TextDecoder().decode(await readAll(connection)));
  };
  await withPodPort(speakFirst, async (host) => {
    using client = await WIRES.spdy(host);
    const headers = { port: "80", requestid: "0" };
    await client.send(openPair(client, 0));
    await client.until((talk) => hasEnded(1)(talk) && hasEnded(3)(talk));
    await client.send(
      client.open(5, { streamtype: "error", ...headers }),
      client.open(7, { streamtype: "data", ...headers }),
      data(7, "second"),
      fin(7),
      data(3, "first"),
      fin(3),
    );
    await client.until((talk) => hasEnded(5)(talk) && hasEnded(7)(talk));
    await until("both have arrived", () => received.length === 2);
    assertEquals(received.sort(), ["first", "second"]);
    assertEquals(client.talk.streams[1]!.data + client.talk.streams[5]!.data, "");
  });
});

Deno.test("a thousand connections at once, a tenth of them refused", async () => {
  await withPodPort(echo, async (host) => {
    using client = await WIRES.spdy(host);
    const count = 1000;
    for (let n = 0; n < count; n++) {
      const id = 4 * n + 3;
      const frames = n % 10 === 9 ? [openPair(client, n, 81)] : [openPair(client, n), data(id, `is ${n}`), fin(id)];
      await client.send(...frames);
    }
    let ended = 0;
    while (ended < count) {
      await client.read();
      ended = client.frames.filter(({ type, id, fin }) => type === 0 && fin && id % 4 === 1).length;
    }
    const { streams } = client.talk;
    for (let n = 0; n < count; n++) {
      if (n % 10 === 9) assertMatch(streams[4 * n + 1]!.data, /connection refused/);
      else assertEquals(streams[4 * n + 3], { replied: true, data: `is ${n}`, ended: true });
    }
  });
});

Deno.test("a process that does not read holds up its session only beyond 256 KiB, and nothing is lost", async () => {
  const release = Promise.withResolvers<void>();
  let first = true;
  const answer = async (connection: Deno.Conn) => {
    if (!first) return await echo(connection);
    first = false;
    await release.promise;
    const { length } = await readAll(connection);
    await writeAll(connection, text(String(length)));
  };
  await withPodPort(answer, async (host) => {
    using client = await WIRES.spdy(host);
    await client.send(openPair(client, 0));
    await until("the first one is there", () => !first);
    await client.send(data(3, new Uint8Array(200_000)), openPair(client, 1), data(7, "quick"));
    await client.until(({ streams }) => streams[7]?.data === "quick");
    // Now more than all queues and sockets hold.
    const total = 64 * 1024 * 1024;
    let sent = 200_000;
    const sending = (async () => {
      for (; sent < total; sent += 100_000) await client.send(data(3, new Uint8Array(100_000)));
      await client.send(data(7, " again"), fin(3));
    })();
    let before = -1;
    while (sent !== before) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assertLess(sent, 32 * 1024 * 1024);
    // Another session notices nothing.
    using other = await WIRES.tunnel(host);
    await other.send(openPair(other, 0), data(3, "free"));
    await other.until(({ streams }) => streams[3]?.data === "free");
    release.resolve();
    await sending;
    const { streams } = await client.until((talk) => hasEnded(1)(talk) && talk.streams[7]!.data === "quick again");
    assertEquals(streams[3]!.data, String(sent));
  });
});

async function digest(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes))).toHex();
}

/** Deletes the host's pod `web`. */
async function deletePod(host: HostServer): Promise<void> {
  const url = new URL(`${host.url.pathname}/api/v1/namespaces/default/pods/web`, host.url);
  await (await fetch(url, { method: "DELETE" })).body?.cancel();
}

for (const [wire, connect] of Object.entries(WIRES)) {
  Deno.test(`port-forward over ${wire} ends with its pod, and resets its connections`, async () => {
    let open = 0;
    const count = async (connection: Deno.Conn) => {
      open++;
      await echo(connection).catch(() => {}); // However it ends.
      open--;
    };
    await withPodPort(count, async (host) => {
      using client = await connect(host);
      await client.send(openPair(client, 0), data(3, text("there?")));
      await client.until(({ streams }) => streams[3]?.data === "there?");
      await deletePod(host);
      const { streams, goAway } = await within("the session ends", client.finish());
      assert(client.frames.some(({ type, id }) => type === SpdyType.RST_STREAM && id === 3), JSON.stringify(streams));
      assertEquals(goAway, [3, 0]);
      await until("the process's connection ends", () => open === 0);
      using late = await connect(host);
      assertEquals(late.head.startLine, "HTTP/1.1 404 Not Found");
    });
  });
}

Deno.test("port-forward ends when the last container of its pod has ended by itself", async () => {
  await withPort(echo, async (port) => {
    const containers = [{ name: "main", command: ["sh", "-c", "read _"], stdin: true }];
    await using host = await serveHost({
      listen: { port: 0 },
      pods: [{ name: "web", ports: { 80: port }, containers }],
    });
    using client = await WIRES.spdy(host);
    await client.send(openPair(client, 0), data(3, text("there?")));
    await client.until(({ streams }) => streams[3]?.data === "there?");
    using input = await RawClient.open(host, path(host).replace("/portforward", "/attach?stdin=true&stdout=true"));
    await input.until(({ firstChannel }) => firstChannel !== undefined);
    await input.send(0, "\n");
    await within("the session ends", client.finish());
    assert(client.frames.some(({ type, id }) => type === SpdyType.RST_STREAM && id === 3));
  });
});

Deno.test("port-forward notices that it leads to its own client, and says so", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const containers = [{ name: "main", command: ["sleep", "600"] }];
  await using host = await serveHost({ listen: { port: 0 }, pods: [{ name: "web", containers }] });
  using client = await WIRES.spdy(host);
  // As kubectl: each connection to the local port becomes one to the pod's, which is the same.
  const accepted: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      await client.send(openPair(client, accepted.push(connection) - 1, port));
    }
  })();
  using _first = await Deno.connect({ hostname: "127.0.0.1", port });
  const said = ({ streams }: SpdyTalk) => Object.values(streams).find((stream) => stream.data !== "")?.data;
  const talk = await within("the host notices", client.until((talk) => said(talk) !== undefined));
  assertMatch(
    said(talk)!,
    new RegExp(
      `^error forwarding port ${port} to pod web, uid \\S+: failed to connect to localhost:${port}, ` +
        "where 128 connections wait that were never answered: the port-forward seems to lead to itself,",
    ),
  );
  assertEquals(accepted.length, 130);
  listener.close();
  await accepting;
  for (const connection of accepted) connection.close();
});

Deno.test("many connections that are answered, or closed, are nobody's own", async () => {
  await withPodPort(echo, async (host) => {
    using client = await WIRES.spdy(host);
    for (let n = 0; n < 150; n++) {
      await client.send(openPair(client, n), data(4 * n + 3, text("x")));
      await client.until(({ streams }) => streams[4 * n + 3]?.data === "x");
    }
    for (let n = 150; n < 300; n++) {
      await client.send(openPair(client, n), rstStream(4 * n + 3));
      await client.until(hasEnded(4 * n + 1));
    }
    assertEquals(Object.values(client.talk.streams).filter(({ data }) => data.includes("error")), []);
  });
});

Deno.test("many connections that nobody answers are not each other's, if they come on their own", async () => {
  const listensOnly = async (connection: Deno.Conn) => {
    while (await connection.read(new Uint8Array(64)) !== null);
  };
  await withPodPort(listensOnly, async (host) => {
    using client = await WIRES.spdy(host);
    const open = async (n: number) => await client.send(openPair(client, n), data(4 * n + 3, text("x")));
    for (let n = 0; n < 128; n++) {
      await open(n);
      await client.until(({ streams }) => streams[4 * n + 3] !== undefined);
    }
    // The next one is held back, as it may be the last one's doing; the ones after it show that it is not.
    for (let n = 128; n < 200; n++) await open(n);
    await client.until(({ streams }) => Object.keys(streams).length === 400);
    assertEquals(Object.values(client.talk.streams).filter(({ data }) => data.includes("error")), []);
  });
});
