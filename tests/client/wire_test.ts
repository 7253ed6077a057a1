/**
 * Which wire a session goes over: WebSocket, and SPDY/3.1 where a server refuses that, as client-go decides it. The
 * servers are scripted byte by byte.
 */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import { DisconnectedError } from "../../lib/channels/mod.ts";
import { Cluster, type RequestEvent, UpgradeError } from "../../lib/client/mod.ts";
import { PlatformTransport } from "../../lib/client/platform_transport.ts";
import { openFirst } from "../../lib/client/wire.ts";
import { DialError, HttpError } from "../../lib/dial/mod.ts";
import type { HttpHead } from "../captures/recording.ts";
import { dataFrame, goAwayFrame, resetFrame, SpdyPeer } from "../channels/spdy_peer.ts";
import { assertSharesFreshOnly } from "./idle_connection.ts";
import {
  closeFrame,
  message,
  type RawConnection,
  SUCCESS,
  withCluster,
  withProxy,
  withRawServer,
} from "./raw_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const AUTO = { wire: "auto" } as const;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const exec = (cluster: Cluster) => cluster.pod("web").exec(["echo", "hi"]);

const status = (code: number, reason: string, message: string) =>
  JSON.stringify({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code });

/** Answers a request with anything but a 101, and waits for the client to go. */
async function refuse(connection: RawConnection, line: string, body: string): Promise<HttpHead> {
  const head = await connection.head();
  await connection.write(`HTTP/1.1 ${line}\r\nConnection: close\r\n\r\n${body}`);
  await connection.closeWrite();
  await connection.gone();
  return head;
}

/** What a server of `echo hi` says. */
function answers(peer: SpdyPeer): Uint8Array {
  return concat([
    ...[1, 3, 5].map((id) => peer.reply(id)),
    dataFrame(3, "hi\n", true),
    dataFrame(5, "", true),
    dataFrame(1, SUCCESS),
    resetFrame(1),
    goAwayFrame(5),
  ]);
}

/** Runs `echo hi` over SPDY. */
async function serveSpdy(connection: RawConnection): Promise<HttpHead> {
  const head = await connection.acceptSpdy();
  const peer = new SpdyPeer(connection);
  assertEquals(await peer.opened(3), { error: 1, stdout: 3, stderr: 5 });
  await connection.write(answers(peer));
  await connection.gone();
  return head;
}

const REFUSALS: ReadonlyArray<readonly [line: string, body: string]> = [
  ["403 Forbidden", ""],
  ["403 Forbidden", status(403, "Forbidden", "nobody may")],
  ["400 Bad Request", 'query parameter "port" is required'],
  ["401 Unauthorized", status(401, "Unauthorized", "Unauthorized")],
  ["404 Not Found", "404 page not found"],
  ["405 Method Not Allowed", "bad method"],
  ["429 Too Many Requests", "later"],
  ["500 Internal Server Error", 'container not found ("c")'],
  ["503 Service Unavailable", ""],
  ["302 Found", ""],
  ["200 OK", "<p>Hello</p>"],
];

for (const [line, body] of REFUSALS) {
  Deno.test(`Pod.exec() goes over SPDY when a WebSocket is answered with ${line} ${JSON.stringify(body.slice(0, 30))}`, async () => {
    const heads: HttpHead[] = [];
    let connections = 0;
    await withCluster(async (connection) => {
      const mine = connections++;
      heads[mine] = await (mine === 0 ? refuse(connection, line, body) : serveSpdy(connection));
    }, async (cluster) => {
      await using process = await exec(cluster).spawn();
      assertEquals(await new Response(process.stdout).text(), "hi\n");
      assertEquals(await process.status, { success: true, code: 0 });
      assertEquals([process.wire, process.protocol], ["spdy", "v4.channel.k8s.io"]);
      assertEquals([process.refused?.code, process.refused?.statusText], [Number(line.slice(0, 3)), line.slice(4)]);
    }, AUTO);
    assertEquals(heads.map(({ startLine }) => startLine.split(" ")[0]), ["GET", "POST"]);
    assertEquals(heads[0]!.startLine.split(" ")[1], heads[1]!.startLine.split(" ")[1]);
  });
}

Deno.test("Pod.exec() goes over SPDY when a 101 is not a WebSocket, or not the one that was asked for", async () => {
  for (
    const options of [{ accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }, { protocol: "v3.channel.k8s.io" }, { protocol: "" }]
  ) {
    let connections = 0;
    await withCluster(async (connection) => {
      if (++connections === 2) return void await serveSpdy(connection);
      await connection.accept(options);
      await connection.gone();
    }, async (cluster) => {
      const { code } = await exec(cluster).output();
      assertEquals(code, 0);
    }, AUTO);
    assertEquals(connections, 2);
  }
});

Deno.test("Pod.exec() does not try SPDY when nobody has answered", async () => {
  const scripts: Array<(connection: RawConnection) => Promise<unknown>> = [
    (connection) => connection.head(), // It ends without an answer.
    async (connection) => {
      await connection.head();
      await connection.write("SSH-2.0-OpenSSH_9.6\r\n");
      await connection.gone();
    },
    (connection) => connection.gone(), // The answer is late.
  ];
  for (const script of scripts) {
    let connections = 0;
    await withCluster(
      async (connection) => {
        connections++;
        await script(connection);
      },
      (cluster) => assertRejects(() => exec(cluster).spawn(), HttpError),
      { ...AUTO, timeout: 100 },
    );
    assertEquals(connections, 1);
  }
  let server = "";
  await withCluster(() => Promise.resolve(), (cluster) => Promise.resolve(void (server = cluster.server.href)));
  await withCluster(() => Promise.resolve(), async (cluster) => {
    await assertRejects(() => exec(cluster).spawn(), DialError);
  }, { ...AUTO, server });
});

Deno.test("Pod.exec() does not try SPDY after a WebSocket was opened, whatever it says", async () => {
  for (const frames of [[closeFrame()], [message(3, status(500, "InternalError", "no such command")), closeFrame()]]) {
    let connections = 0;
    await withCluster(async (connection) => {
      connections++;
      await connection.accept();
      await connection.write(concat(frames));
      await connection.gone();
    }, async (cluster) => {
      await using process = await exec(cluster).spawn();
      assertEquals([process.wire, process.refused], ["websocket", undefined]);
      await assertRejects(() => process.status);
    }, AUTO);
    assertEquals(connections, 1);
  }
});

Deno.test("ClientOptions.wire: one wire alone is not left for another", async () => {
  for (const [wire, method] of [["websocket", "GET"], ["tunnel", "GET"], ["spdy", "POST"]] as const) {
    const methods: string[] = [];
    await withCluster(
      async (connection) => {
        methods.push((await refuse(connection, "403 Forbidden", "")).startLine.split(" ")[0]!);
      },
      (cluster) => assertRejects(() => exec(cluster).spawn(), UpgradeError),
      { wire },
    );
    assertEquals(methods, [method]);
  }
});

Deno.test("Pod.exec() rejects with the last refusal in client-go's words, its cause the first one", async () => {
  const forbidden = 'pods "web" is forbidden: User "u" cannot create resource "pods/exec"';
  const cases: Array<[line: string, body: string, words: string]> = [
    ["403 Forbidden", status(403, "Forbidden", forbidden), forbidden],
    ["403 Forbidden", '{"error":"no rights"}', "no rights"],
    ["403 Forbidden", '{"message":"  ","error":"no rights"}', "no rights"],
    ["403 Forbidden", '{"message":7}', '{"message":7}'],
    ["403 Forbidden", "[]", "[]"],
    ["403 Forbidden", "null", "null"],
    ["404 Not Found", "  pod does not exist \n", "pod does not exist"],
    ["500 Internal Server Error", "", "empty server response"],
    ["502 Bad Gateway", " \n", "empty server response"],
    ["200 OK", "{", "{"],
  ];
  for (const [line, body, words] of cases) {
    let connections = 0;
    await withCluster(async (connection) => {
      const first = ++connections === 1;
      await (first ? refuse(connection, "403 Forbidden", "") : refuse(connection, line, body));
    }, async (cluster) => {
      const error = await assertRejects(() => exec(cluster).spawn(), UpgradeError);
      assertEquals([error.message, error.code], [`unable to upgrade connection: ${words}`, Number(line.slice(0, 3))]);
      assertEquals(error.verbs, error.status?.reason === "Forbidden" ? ["create"] : []);
      assertInstanceOf(error.cause, UpgradeError);
      assertEquals(error.cause.code, 403);
    }, AUTO);
    assertEquals(connections, 2);
  }
});

Deno.test("SocketTransport.openSpdy() sends what kubectl sends, in its order", async () => {
  let head: HttpHead | undefined;
  await withCluster(async (connection) => {
    head = await serveSpdy(connection);
  }, async (cluster) => {
    assertEquals((await exec(cluster).output()).code, 0);
  }, {
    wire: "spdy",
    userAgent: "kubectl/v1.36.3",
    token: "secret",
    headers: [["Kubectl-Session", "1"], ["Kubectl-Command", "kubectl exec"]],
  });
  assertEquals(
    head?.startLine,
    "POST /api/v1/namespaces/default/pods/web/exec?command=echo&command=hi&stdout=true&stderr=true HTTP/1.1",
  );
  assertEquals(head?.headers.slice(1), [
    ["User-Agent", "kubectl/v1.36.3"],
    ["Content-Length", "0"],
    ["Authorization", "Bearer secret"],
    ["Connection", "Upgrade"],
    ["Kubectl-Command", "kubectl exec"],
    ["Kubectl-Session", "1"],
    ["Upgrade", "SPDY/3.1"],
    ["X-Stream-Protocol-Version", "v5.channel.k8s.io"],
    ["X-Stream-Protocol-Version", "v4.channel.k8s.io"],
    ["X-Stream-Protocol-Version", "v3.channel.k8s.io"],
    ["X-Stream-Protocol-Version", "v2.channel.k8s.io"],
    ["X-Stream-Protocol-Version", "channel.k8s.io"],
  ]);
  assertEquals(head?.headers[0]?.[0], "Host");
});

Deno.test("SocketTransport.openSpdy() keeps what comes right behind the 101", async () => {
  await withCluster(async (connection) => {
    await connection.acceptSpdy("v4.channel.k8s.io", answers(new SpdyPeer(connection)));
    await connection.gone();
  }, async (cluster) => {
    const { code, stdout } = await exec(cluster).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, "hi\n"]);
  }, { wire: "spdy" });
});

Deno.test("SocketTransport.openSpdy() takes no protocol for the oldest, and none that was not offered", async () => {
  await withCluster(async (connection) => {
    await connection.acceptSpdy("");
    const peer = new SpdyPeer(connection);
    await peer.opened(3);
    await connection.write(answers(peer));
    await connection.gone();
  }, async (cluster) => {
    await using process = await exec(cluster).spawn();
    assertEquals(process.protocol, "channel.k8s.io");
    // Its status is plain text, whatever that looks like.
    await assertRejects(() => process.status, Error, `Error executing remote command: ${SUCCESS}`);
  }, { wire: "spdy" });
  await withCluster(async (connection) => {
    await connection.acceptSpdy("v6.channel.k8s.io");
    await connection.gone();
  }, async (cluster) => {
    const error = await assertRejects(
      () => exec(cluster).spawn(),
      UpgradeError,
      'channel.k8s.io], got "v6.channel.k8s.io"',
    );
    assertEquals(error.code, 101);
  }, { wire: "spdy" });
});

Deno.test("SocketTransport.openSpdy() refuses a 101 to something else", async () => {
  await withCluster(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    await connection.gone();
  }, async (cluster) => {
    const error = await assertRejects(() => exec(cluster).spawn(), UpgradeError, "not to what it was asked for");
    assertEquals(error.code, 101);
  }, { wire: "spdy" });
});

Deno.test("Cluster.onRequest is told of both attempts", async () => {
  const events: RequestEvent[] = [];
  let connections = 0;
  await withCluster(async (connection) => {
    if (++connections === 1) await refuse(connection, "403 Forbidden", "");
    else await serveSpdy(connection);
  }, async (cluster) => {
    assertEquals((await exec(cluster).output()).code, 0);
  }, { ...AUTO, token: "secret", onRequest: (event) => events.push(event) });
  assertEquals(events.map(({ method, status }) => [method, status]), [["GET", 403], ["POST", 101]]);
  assertEquals(events[1]?.responseHeaders.get("x-stream-protocol-version"), "v4.channel.k8s.io");
  assert(!JSON.stringify(events).includes("secret"));
});

Deno.test("Pod.exec() over SPDY shares the connection of the request before it, while that is fresh", () =>
  assertSharesFreshOnly({ wire: "spdy" }));

Deno.test("RemoteProcess.stdin: a refused WebSocket has taken nothing of the input", async () => {
  let connections = 0;
  let input = "";
  await withCluster(async (connection) => {
    if (++connections === 1) return void await refuse(connection, "403 Forbidden", "");
    await connection.acceptSpdy();
    const peer = new SpdyPeer(connection);
    const ids = await peer.accept(4);
    const frames = await peer.until((frames) => frames.some(({ fin }) => fin));
    input = new TextDecoder().decode(concat(frames.filter(({ id }) => id === ids.stdin).map(({ data }) => data)));
    await connection.write(concat([
      dataFrame(ids.stdout!, "", true),
      dataFrame(ids.stderr!, "", true),
      dataFrame(ids.error!, SUCCESS),
      goAwayFrame(7),
    ]));
    await connection.gone();
  }, async (cluster) => {
    await using process = await cluster.pod("web").exec(["cat"], { stdin: "piped" }).spawn();
    const writer = process.stdin.getWriter();
    await writer.write(new TextEncoder().encode("all of it"));
    await writer.close();
    assertEquals(await process.status, { success: true, code: 0 });
  }, AUTO);
  assertEquals(input, "all of it");
});

Deno.test("RemoteProcess over SPDY: a connection that breaks fails status, stdout and stdin alike", async () => {
  await withCluster(async (connection) => {
    await connection.acceptSpdy();
    const peer = new SpdyPeer(connection);
    await peer.accept(4);
    await connection.write(dataFrame(5, "half"));
    await connection.closeWrite();
    await connection.gone();
  }, async (cluster) => {
    await using process = await cluster.pod("web").exec(["cat"], { stdin: "piped" }).spawn();
    const writer = process.stdin.getWriter();
    await assertRejects(() => new Response(process.stdout).text(), DisconnectedError, "4 bytes received");
    await assertRejects(() => process.status, DisconnectedError);
    await assertRejects(() => writer.closed, DisconnectedError);
  }, { wire: "spdy" });
});

for (const how of ["drop", "reset"] as const) {
  Deno.test(`RemoteCommand.output() over SPDY rejects wherever a proxy on the way ${how}s`, async () => {
    const outcomes = new Set<string>();
    for (let after = 1; after < 500; after += 7) { // At the end nothing breaks.
      await withRawServer(async (connection) => {
        await connection.acceptSpdy().catch(() => {}); // Broken on its way.
        await connection.write(answers(new SpdyPeer(connection))).catch(() => {});
        await connection.gone();
      }, async (server) => {
        await withProxy(server, { how, after }, async (server) => {
          await using cluster = new Cluster({ server, wire: "spdy" });
          const outcome = await exec(cluster).output().catch((error: Error) => error);
          outcomes.add(outcome instanceof Error ? outcome.name : "success");
          // Once the status is whole the rest is form.
          if (!(outcome instanceof Error)) {
            assertEquals([outcome.code, text(outcome.stdout)], [0, "hi\n"], `${after} bytes`);
          }
        });
      });
    }
    assert(outcomes.has("DisconnectedError") && outcomes.has("success"), [...outcomes].join());
  });
}

Deno.test("openFirst() leaves a browser's refusal alone: there is no other wire", async () => {
  const refusal = { code: 0, statusText: "", body: "", resource: "pods/exec", wire: "websocket" } as const;
  let tried = false;
  const open = () =>
    openFirst("auto", () => Promise.reject(new UpgradeError(refusal)), () => {
      tried = true;
      return Promise.resolve("spdy");
    });
  await assertRejects(open, UpgradeError, "the browser does not say why");
  assertEquals(tried, false);
  const transport = new PlatformTransport(new URL("http://127.0.0.1:1"));
  const request = { path: "/", headers: [], resource: "pods/exec", protocols: [] };
  await assertRejects(() => transport.openSpdy(request), Error, "cannot open pods/exec over SPDY/3.1 in a browser");
});
