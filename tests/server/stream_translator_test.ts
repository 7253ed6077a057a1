/** exec translated from one wire to another: upstream's own cases by name, and servers that say what no real one does. */
import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { RemoteCommandError } from "../../lib/channels/mod.ts";
import { Cluster, type RemoteProcess, type Wire } from "../../lib/client/mod.ts";
import { headerValue, Opcode } from "../captures/recording.ts";
import { SpdyType } from "../captures/spdy_recording.ts";
import { dataFrame, goAwayFrame, resetFrame, SpdyPeer } from "../channels/spdy_peer.ts";
import { type RawConnection, type Script, SUCCESS } from "../client/raw_server.ts";
import { execPath, RawClient } from "./raw_client.ts";
import { RawSpdyClient } from "./raw_spdy_client.ts";
import { startGateway, startHost, type StreamGateway, withOldServer, withUpstream } from "./stream_ground.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const V5 = "v5.channel.k8s.io";
const V4 = "v4.channel.k8s.io";

/** A scripted SPDY server that has accepted `count` streams. */
async function spdyServer(connection: RawConnection, count: number, protocol = V4) {
  const head = await connection.acceptSpdy(protocol);
  const peer = new SpdyPeer(connection);
  return { head, peer, ids: await peer.accept(count) };
}

/** A server's orderly end: FIN of the outputs, the status, RST of the rest, GOAWAY. */
async function finish(connection: RawConnection, peer: SpdyPeer, ids: Record<string, number>, status: string) {
  const ends = [ids.stdout, ids.stderr].filter((id) => id !== undefined).map((id) => dataFrame(id, "", true));
  const rest = [ids.error!, ...(ids.stdin === undefined ? [] : [ids.stdin])].map((id) => resetFrame(id));
  await peer.write(...ends, ...(status === "" ? [] : [dataFrame(ids.error!, status)]), ...rest, goAwayFrame(7));
  await connection.closeWrite();
  await connection.gone();
}

/** Runs `work` with the embedded host behind a gateway that always takes the other wire than `wire`. */
async function withTranslation(
  wire: "websocket" | "spdy",
  work: (cluster: Cluster, gateway: StreamGateway) => Promise<void>,
): Promise<void> {
  await using host = await startHost();
  await using gateway = await startGateway(host.url, { wire: wire === "spdy" ? "websocket" : "spdy" });
  await using cluster = new Cluster({ server: gateway.url.href, wire: wire as Wire });
  await work(cluster, gateway);
}

async function text(stream: ReadableStream<Uint8Array>): Promise<string> {
  return await new Response(stream).text();
}

/** Writes `bytes` to a process's input and ends it. */
async function feed(process: RemoteProcess, bytes: Uint8Array): Promise<void> {
  const writer = process.stdin.getWriter();
  await writer.write(bytes);
  await writer.close();
}

function random(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return bytes;
}

async function digest(bytes: BufferSource): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

for (const wire of ["websocket", "spdy"] as const) {
  Deno.test(`TestStreamTranslator_LoopbackStdinToStdout from ${wire}`, async () => {
    await withTranslation(wire, async (cluster, gateway) => {
      const ended = gateway.next();
      const data = random(1024 * 1024);
      await using process = await cluster.pod("web").exec(["cat"], { stdin: "piped", stderr: "null" }).spawn();
      const output = new Response(process.stdout).arrayBuffer();
      await feed(process, data);
      assertEquals(await digest(await output), await digest(data));
      assertEquals((await process.status).code, 0);
      const { status, bytesIn, bytesOut, wireOut, reason } = await ended;
      assertEquals([status, wireOut, reason], [101, wire === "spdy" ? "websocket" : "spdy", undefined]);
      assertGreater(bytesIn, data.length);
      assertGreater(bytesOut, data.length);
      assertEquals(gateway.metrics.counts, ["streaming:exec:translated_at_apiserver", "translator:200"]);
    });
  });

  Deno.test(`TestStreamTranslator_LoopbackStdinToStderr from ${wire}`, async () => {
    await withTranslation(wire, async (cluster) => {
      const data = random(256 * 1024);
      await using process = await cluster.pod("web").exec(["sh", "-c", "cat >&2"], { stdin: "piped" }).spawn();
      const output = new Response(process.stderr).arrayBuffer();
      await Promise.all([feed(process, data), text(process.stdout)]);
      assertEquals(await digest(await output), await digest(data));
      assertEquals((await process.status).code, 0);
    });
  });

  Deno.test(`TestStreamTranslator_MultipleReadChannels from ${wire}`, async () => {
    await withTranslation(wire, async (cluster) => {
      const command = ["sh", "-c", "tee /dev/stderr"];
      const data = random(200_000);
      await using process = await cluster.pod("web").exec(command, { stdin: "piped" }).spawn();
      const outputs = [process.stdout, process.stderr].map((stream) => new Response(stream).arrayBuffer());
      await feed(process, data);
      for (const output of await Promise.all(outputs)) assertEquals(await digest(output), await digest(data));
    });
  });

  Deno.test(`TestStreamTranslator_ErrorStream from ${wire}`, async () => {
    await withTranslation(wire, async (cluster, gateway) => {
      for (const code of [0, 1, 7, 137, 255]) {
        const ended = gateway.next();
        const output = await cluster.pod("web").exec(["sh", "-c", `exit ${code}`]).output();
        assertEquals(output.code, code);
        assertEquals((await ended).reason, undefined);
      }
      const error = await assertRejects(
        () => cluster.pod("web").exec(["/no/such"]).output(),
        RemoteCommandError,
        "no such file or directory",
      );
      assertEquals([error.status.reason, error.status.code], ["InternalError", 500]);
      await gateway.drain();
      // The command was refused by the upstream: its own code counts, as in Kubernetes.
      assertEquals(gateway.metrics.counts.filter((count) => count.startsWith("translator")), [
        ...Array<string>(5).fill("translator:200"),
        "translator:500",
      ]);
    });
  });

  // The host's terminals are a library of the system's, which stays loaded.
  Deno.test(`TestStreamTranslator_TTYResizeChannel from ${wire}`, { sanitizeResources: false }, async () => {
    await withTranslation(wire, async (cluster) => {
      const command = ["sh", "-c", "while stty size; do sleep 0.05; done"];
      await using process = await cluster.pod("web").exec(command, {
        stdin: "piped",
        tty: true,
        size: { columns: 77, rows: 21 },
      }).spawn();
      const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
      let screen = "";
      const until = async (wanted: string) => {
        while (!screen.includes(wanted)) {
          const { value, done } = await reader.read();
          assert(!done, screen);
          screen += value;
        }
      };
      await process.resize({ columns: 101, rows: 33 });
      await until("33 101");
      await process.stdin.getWriter().write(new Uint8Array([3])); // Ctrl-C.
      while (!(await reader.read()).done);
      assertEquals((await process.status).code, 130);
    });
  });
}

Deno.test("TestStreamTranslator_WebSocketServerErrors", async () => {
  await withUpstream(() => Promise.reject(new Error("nobody is to be asked")), async (gateway) => {
    const client = await RawSpdyClient.request(gateway, `GET ${execPath(gateway, ["ls"])}`, [
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 12",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      `Sec-WebSocket-Protocol: ${V5}`,
    ]);
    assertEquals(client.head.startLine, "HTTP/1.1 400 Bad Request");
    client[Symbol.dispose]();
    await gateway.drain();
    assertEquals(gateway.metrics.counts, ["streaming:exec:translated_at_apiserver", "translator:400"]);
  });
});

for (const code of [301, 302, 303, 307, 308]) {
  Deno.test(`TestStreamTranslator_BlockRedirects: ${code}`, async () => {
    await withUpstream(async (connection) => {
      await connection.head();
      await connection.write(`HTTP/1.1 ${code} Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n`);
      await connection.gone();
    }, async (gateway) => {
      using client = await RawClient.exec(gateway, ["ls"]);
      const { channels, closes } = await client.finish();
      const status = JSON.parse(channels[3]!);
      assertEquals([status.status, status.reason, status.code], ["Failure", "InternalError", 500]);
      assertStringIncludes(status.message, "redirect not allowed");
      assertEquals(closes, [1000]);
      await gateway.drain();
      assertEquals(gateway.metrics.counts.at(-1), "translator:500");
    });
  });
}

Deno.test("a refusal of the kubelet comes as the session's status, in the API server's words", async () => {
  await withUpstream(async (connection) => {
    const head = await connection.head();
    assertMatch(head.startLine, /^POST /);
    assertEquals(
      head.headers.filter(([name]) => name.toLowerCase() === "x-stream-protocol-version").map(([, value]) => value),
      [
        V5,
        V4,
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
      ],
    );
    assertEquals(headerValue(head, "Sec-WebSocket-Key"), undefined);
    assertEquals(headerValue(head, "Content-Length"), "0");
    const body = 'container not found ("done")';
    await connection.write(`HTTP/1.1 500 Internal Server Error\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await connection.gone();
  }, async (gateway) => {
    using client = await RawClient.exec(gateway, ["ls"]);
    const { channels, firstChannel } = await client.finish();
    assertEquals(firstChannel, 1);
    const text = 'unable to upgrade connection: container not found ("done")';
    assertEquals(
      channels[3],
      JSON.stringify({
        metadata: {},
        status: "Failure",
        message: `Internal error occurred: ${text}`,
        reason: "InternalError",
        details: { causes: [{ message: text }] },
        code: 500,
      }),
    );
  });
});

Deno.test("a kubelet that cannot be reached is the session's status", async () => {
  await using gateway = await startGateway("http://127.0.0.1:1", { declaredFeatures: [] });
  using client = await RawClient.exec(gateway, ["ls"]);
  const status = JSON.parse((await client.finish()).channels[3]!);
  assertEquals([status.reason, status.code], ["InternalError", 500]);
});

Deno.test("what the upstream says about the end passes byte for byte", async () => {
  const status = '{ "status":"Failure","message":"a <b> & c","reason":"NonZeroExitCode","code":0,' +
    '"details":{"causes":[{"reason":"ExitCode","message":"3"}],"uid":"x"},"mine":[1]}\n';
  await withUpstream(async (connection) => {
    const { peer, ids } = await spdyServer(connection, 3);
    await peer.write(dataFrame(ids.stdout!, "out"));
    await finish(connection, peer, ids, status);
  }, async (gateway) => {
    for (const options of [undefined, V4]) {
      using client = await RawClient.exec(gateway, ["ls"], undefined, options);
      const { channels, order } = await client.finish();
      assertEquals([channels[1], channels[3]], ["out", status]);
      assertEquals(order, ["data", "status", "close"]);
    }
  }, { wire: "spdy" });
});

Deno.test("an upstream's bare text becomes a Status, and a Status bare text, as the protocols on either side have it", async () => {
  const failure = "command terminated with non-zero exit code: exit 3";
  const script = (protocol: string, said: string): Script => async (connection) => {
    const { peer, ids } = await spdyServer(connection, 3, protocol);
    await finish(connection, peer, ids, said);
  };
  const run = async (upstream: string, said: string, client: string) => {
    let channels: Record<number, string> = {};
    await withUpstream(script(upstream, said), async (gateway) => {
      using raw = await RawClient.exec(gateway, ["ls"], undefined, client);
      ({ channels } = await raw.finish());
    }, { wire: "spdy" });
    return channels[3];
  };
  for (const protocol of ["v2.channel.k8s.io", "v3.channel.k8s.io"]) {
    assertEquals(await run(protocol, failure, "channel.k8s.io"), failure);
    const status = JSON.parse((await run(protocol, failure, V5))!);
    assertEquals(status.message, `Internal error occurred: error executing remote command: ${failure}`);
    assertEquals(await run(protocol, "", V5), SUCCESS);
    assertEquals(await run(protocol, "", "channel.k8s.io"), undefined);
  }
  const json = '{"metadata":{},"status":"Failure","reason":"NonZeroExitCode","message":"m",' +
    '"details":{"causes":[{"reason":"ExitCode","message":"3"}]}}';
  assertEquals(await run(V4, json, "channel.k8s.io"), "m");
  assertEquals(await run(V4, SUCCESS, "channel.k8s.io"), undefined);
  // How a command ended, v1 cannot say: that is no success.
  assertEquals(JSON.parse((await run("channel.k8s.io", "", V5))!).reason, "InternalError");
});

for (
  const [how, end] of Object.entries({
    "says GOAWAY": (_: RawConnection, peer: SpdyPeer) => peer.write(goAwayFrame(7)),
    "ends its streams": (_: RawConnection, peer: SpdyPeer, ids: Record<string, number>) =>
      peer.write(...Object.values(ids).map((id) => dataFrame(id, "", true))),
    "ends the connection": (connection: RawConnection) => connection.closeWrite(),
    "is killed": (connection: RawConnection) => Promise.resolve(connection.close()),
    "breaks the protocol": (_: RawConnection, peer: SpdyPeer) =>
      peer.write(Uint8Array.of(0x80, 3, 0, 2, 0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff)), // No header block.
  })
) {
  Deno.test(`an upstream that ${how} without a status is an InternalError, after all of its output`, async () => {
    await withUpstream(async (connection) => {
      const { peer, ids } = await spdyServer(connection, 3);
      await peer.write(dataFrame(ids.stdout!, "half"));
      await end(connection, peer, ids);
      if (how !== "is killed") await connection.gone();
    }, async (gateway) => {
      const ended = gateway.next();
      using client = await RawClient.exec(gateway, ["ls"]);
      const { channels, closes, order } = await client.finish();
      assertEquals(channels[1], "half");
      const status = JSON.parse(channels[3]!);
      assertEquals([status.status, status.reason, status.code, closes], ["Failure", "InternalError", 500, [1000]]);
      assertEquals(order, ["data", "status", "close"]);
      assertMatch((await ended).reason!, /closed before exit status|SPDY|frame/);
      assertEquals(gateway.metrics.counts.at(-1), "translator:500");
    });
  });
}

Deno.test("the same over a WebSocket: a Close 1000 without a status is no success for an old client", async () => {
  await withUpstream(async (connection) => {
    await connection.accept();
    await connection.message(1, "half");
    await connection.closeFrame();
    await connection.gone();
  }, async (gateway) => {
    await using cluster = new Cluster({ server: gateway.url.href, wire: "spdy" });
    await using process = await cluster.pod("web").exec(["ls"]).spawn();
    assertEquals(await text(process.stdout), "half");
    await assertRejects(() => process.status, RemoteCommandError, "connection closed before exit status");
  }, { wire: "websocket" });
});

Deno.test("a client that goes ends the upstream's session at once", async () => {
  const gone = Promise.withResolvers<void>();
  await withUpstream(async (connection) => {
    const { peer } = await spdyServer(connection, 4);
    await peer.until(() => false);
    gone.resolve();
  }, async (gateway) => {
    const leave = async (how: (client: RawClient) => Promise<void> | void) => {
      using client = await RawClient.exec(gateway, ["cat"], "stdin=true&stdout=true&stderr=true");
      await how(client);
      await gone.promise;
    };
    await leave((client) => client.control(Opcode.CLOSE, Uint8Array.of(3, 232)));
    await leave((client) => client[Symbol.dispose]());
  });
});

Deno.test("a size without a terminal reaches nobody and wedges nothing", async () => {
  await withUpstream(async (connection) => {
    const { peer, ids } = await spdyServer(connection, 4);
    const frames = await peer.until((frames) =>
      frames.some(({ id, type, fin }) => id === ids.stdin && type === 0 && fin)
    );
    assertEquals(frames.filter(({ type }) => type === SpdyType.SYN_STREAM).map(({ headers }) => headers.streamtype), [
      "error",
      "stdin",
      "stdout",
      "stderr",
    ]);
    await finish(connection, peer, ids, SUCCESS);
  }, async (gateway) => {
    using client = await RawClient.exec(gateway, ["cat"], "stdin=true&stdout=true&stderr=true");
    for (let i = 0; i < 3; i++) await client.send(4, '{"Width":80,"Height":24}\n');
    await client.control(Opcode.PING, Uint8Array.of(0x31));
    await client.send(0, "x");
    await client.send(255, Uint8Array.of(0));
    const { channels, pongs } = await client.finish();
    assertEquals([channels[3], pongs], [SUCCESS, ["1"]]);
  });
});

Deno.test("a command that does not read stops neither output nor signs of life, and holds little", async () => {
  await using host = await startHost();
  await withOldServer(host, ["websocket"], async (server) => {
    await using gateway = await startGateway(server);
    const script = "while echo tick; do sleep 0.1; done";
    using client = await RawClient.exec(gateway, ["sh", "-c", script], "stdin=true&stdout=true&stderr=true");
    let taken = 0;
    const data = new Uint8Array(32 * 1024);
    // Far more than is held on the way, the system's buffers included: the last writes wait until the client ends.
    const sending = (async () => {
      for (; taken < 512 * 1024 * 1024; taken += data.length) await client.send(0, data);
    })().catch(() => {});
    // No Ping of the client's was answered: it sent none. client-go, which counts Pongs only, stays alive by these.
    while (!client.frames.some(({ opcode }) => opcode === Opcode.PONG)) await client.read();
    const ticks = () => client.conversation.channels[1]!.split("tick").length;
    const now = ticks();
    await client.until(() => ticks() > now + 3);
    assertLess(taken, 96 * 1024 * 1024);
    client[Symbol.dispose]();
    await sending;
  });
});

for (const wire of ["websocket", "spdy"] as const) {
  Deno.test(`a client over ${wire} that goes while its input waits is noticed`, async () => {
    const gone = Promise.withResolvers<void>();
    const full = Promise.withResolvers<void>();
    await withUpstream(async (connection) => {
      if (wire === "websocket") await spdyServer(connection, 3);
      else await connection.accept();
      await full.promise; // It reads nothing until then, and the client has gone by that time.
      await gone.promise;
    }, async (gateway) => {
      const ended = gateway.next();
      const path = execPath(gateway, ["cat"], "stdin=true&stdout=true");
      const data = new Uint8Array(32 * 1024);
      let send: () => Promise<void>;
      let leave: () => void;
      if (wire === "websocket") {
        const client = await RawClient.open(gateway, path);
        send = () => client.send(0, data);
        leave = () => client[Symbol.dispose]();
      } else {
        const client = await RawSpdyClient.open(gateway, path, [V4]);
        const open = (id: number, streamtype: string) => client.open(id, { streamtype });
        await client.send(open(1, "error"), open(3, "stdin"), open(5, "stdout"));
        send = () => client.send(dataFrame(3, data));
        leave = () => client[Symbol.dispose]();
      }
      let sent = 0;
      const sending = (async () => {
        for (;; sent++) await send();
      })().catch(() => {});
      for (let before = -1; sent === 0 || sent !== before;) {
        before = sent;
        await new Promise((resolve) => setTimeout(resolve, 100)); // Until nothing more is taken.
      }
      leave();
      await sending;
      full.resolve();
      await ended;
      gone.resolve();
    }, { wire: wire === "websocket" ? "spdy" : "websocket" });
  });
}

Deno.test("a half-closed input that the upstream's v4 cannot express ends the session with a word", async () => {
  await withUpstream(async (connection) => {
    await connection.accept({ protocol: V4 });
    await connection.gone();
  }, async (gateway) => {
    await using cluster = new Cluster({ server: gateway.url.href, wire: "spdy" });
    await using process = await cluster.pod("web").exec(["cat"], { stdin: "piped" }).spawn();
    await process.stdin.close();
    await assertRejects(() => process.status, RemoteCommandError, "v4.channel.k8s.io cannot end channel 0");
  }, { wire: "websocket" });
});

Deno.test("a client that opens no streams costs the upstream its session, not more", async () => {
  const gone = Promise.withResolvers<void>();
  await withUpstream(async (connection) => {
    await connection.accept();
    await connection.gone();
    gone.resolve();
  }, async (gateway) => {
    const path = execPath(gateway, ["ls"]);
    const client = await RawSpdyClient.open(gateway, path, [V4]);
    client[Symbol.dispose]();
    await gone.promise;
  }, { wire: "websocket" });
});

Deno.test("a gateway that ends tells its clients why", async () => {
  await using host = await startHost();
  const gateway = await startGateway(host.url, { wire: "spdy" });
  using client = await RawClient.exec(gateway, ["sh", "-c", "echo begun; exec sleep 60"]);
  await client.until(({ channels }) => channels[1] === "begun\n");
  const drained = gateway.drain();
  const { channels, closes } = await client.finish();
  assertEquals(JSON.parse(channels[3]!).message, "Internal error occurred: the gateway is ending");
  assertEquals(closes, [1000]);
  await drained;
  assertEquals(gateway.outcomes[0]?.reason, "the gateway is ending");
});
