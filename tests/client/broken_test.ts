/**
 * No answer is a failure, never a success: sessions with servers that break in every way. The servers are scripted byte by
 * byte; what real ones say is taken from Kubernetes' own sources.
 */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { concat, type Duplex } from "../../lib/bytes/mod.ts";
import {
  ChannelProtocolError,
  DisconnectedError,
  RemoteCommandError,
  type Status,
  StdinClosedError,
  WebSocketWire,
} from "../../lib/channels/mod.ts";
import { type Cluster, RemoteCommand, type RemoteProcess, UpgradeError } from "../../lib/client/mod.ts";
import { createDialer, HttpError } from "../../lib/dial/mod.ts";
import { WebSocketConnection, WebSocketConnectionError, WebSocketProtocolError } from "../../lib/websocket/mod.ts";
import { buildFrame, headerValue, Opcode } from "../captures/recording.ts";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { assertSharesFreshOnly } from "./idle_connection.ts";
import { closeFrame, message, type Script, SUCCESS, withCluster, withProxy, withRawServer } from "./raw_server.ts";

// A broken session must leave nothing behind.
Deno.test.sanitizer({ ops: true, resources: true });

const exec = (cluster: Cluster) => cluster.pod("web").exec(["cat"]);
const spawnCat = (cluster: Cluster, signal?: AbortSignal) =>
  cluster.pod("web").exec(["cat"], { stdin: "piped", ...(signal && { signal }) }).spawn();
const utf8 = (text: string) => new TextEncoder().encode(text);

/** A server that accepts, says `parts` in one write, and waits for the client to go. */
const says = (...parts: Uint8Array[]): Script => async (connection) => {
  await connection.accept();
  await connection.write(concat(parts));
  await connection.gone();
};

/** The same, but it ends its direction then. */
const saysAndEnds = (...parts: Uint8Array[]): Script => async (connection) => {
  await connection.accept();
  await connection.write(concat(parts));
  await connection.closeWrite();
  await connection.gone();
};

// --- Ends without an answer ---

const DISCONNECTS: ReadonlyArray<readonly [what: string, script: Script, cause: RegExp]> = [
  ["closes with code 1000 and no status", says(message(1, "half"), closeFrame(1000)), /closed with code 1000/],
  ["closes with code 1011 and no status", says(message(1, "half"), closeFrame(1011, "oops")), /code 1011 \(oops\)/],
  ["closes without a code", says(message(1, "half"), buildFrame(8, utf8(""), { masked: false })), /code 1005/],
  ["ends without a Close frame", saysAndEnds(message(1, "half")), /ended without a Close frame/],
  ["ends after half a status", saysAndEnds(message(1, "half"), message(3, SUCCESS.slice(0, 20))), /without a Close/],
];

for (const [what, script, cause] of DISCONNECTS) {
  Deno.test(`RemoteCommand.output() rejects with DisconnectedError when the server ${what}`, async () => {
    await withCluster(script, async (cluster) => {
      const error = await assertRejects(() => exec(cluster).output(), DisconnectedError);
      assertStringIncludes(error.message, "connection closed before exit status (4 bytes received, 0 bytes sent)");
      assertMatch(error.message, cause);
      assertEquals([error.bytesReceived, error.bytesSent], [4, 0]);
    });
  });
}

Deno.test("RemoteProcess: output before a break can be read, then the stream fails", async () => {
  await withCluster(saysAndEnds(message(1, "half")), async (cluster) => {
    await using process = await exec(cluster).spawn();
    const reader = process.stdout.getReader();
    assertEquals(await reader.read(), { done: false, value: new Uint8Array([...utf8("half")]) });
    await assertRejects(() => reader.read(), DisconnectedError);
    await assertRejects(() => process.status, DisconnectedError);
  });
});

Deno.test("RemoteCommand.output() rejects wherever a frame or a status is cut off", async () => {
  // 200 bytes take the two-byte length; the last cut leaves the Close frame incomplete, with its status whole.
  const whole = concat([message(1, "o".repeat(200)), message(3, SUCCESS), closeFrame()]);
  const statusEnds = whole.length - closeFrame().length;
  for (const cut of [1, 2, 3, 4, 100, 204, 205, 206, 210, statusEnds - 1]) {
    await withCluster(saysAndEnds(whole.subarray(0, cut)), async (cluster) => {
      const error = await assertRejects(() => exec(cluster).output(), DisconnectedError);
      assertEquals(error.bytesReceived, cut < 205 ? 0 : 200, `cut at ${cut}`);
    });
  }
  for (const cut of [statusEnds, statusEnds + 1, whole.length]) {
    await withCluster(saysAndEnds(whole.subarray(0, cut)), async (cluster) => {
      const { code, stdout } = await exec(cluster).output();
      assertEquals([code, stdout.length], [0, 200], "after a whole status a missing Close is harmless");
    });
  }
});

Deno.test("RemoteCommand.output() takes a status that comes byte by byte", async () => {
  await withCluster(async (connection) => {
    await connection.accept();
    for (const byte of concat([message(1, "slow"), message(3, SUCCESS), closeFrame()])) {
      await connection.write(Uint8Array.of(byte));
      await new Promise((resolve) => setTimeout(resolve));
    }
    await connection.gone();
  }, async (cluster) => {
    const { code, stdout } = await exec(cluster).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, "slow"]);
  });
});

Deno.test("RemoteCommand.output() takes a status in several messages, with output in between", async () => {
  const [start, end] = [SUCCESS.slice(0, 9), SUCCESS.slice(9)];
  const script = says(message(3, ""), message(3, start), message(1, "x"), message(3, end), closeFrame());
  await withCluster(script, async (cluster) => {
    const { code, stdout } = await exec(cluster).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, "x"]);
  });
});

Deno.test("RemoteProcess: a reset fails status, stdout and stdin alike", async () => {
  await withCluster(async (connection) => {
    await connection.accept();
    await connection.reset();
  }, async (cluster) => {
    await using process = await spawnCat(cluster);
    const writer = process.stdin.getWriter();
    await writer.write(utf8("some input"));
    const error = await assertRejects(() => process.status, DisconnectedError);
    assertEquals(error.bytesSent, 10);
    assertInstanceOf(error.cause, WebSocketConnectionError);
    await assertRejects(() => new Response(process.stdout).text(), DisconnectedError);
    await assertRejects(() => writer.closed, DisconnectedError);
    await assertRejects(() => writer.write(utf8("more")), DisconnectedError);
  });
});

// --- Answers that make no sense ---

Deno.test("RemoteCommand.output() rejects with ChannelProtocolError for a status that is none", async () => {
  for (
    const [text, words] of [
      ["command terminated", 'in "command terminated"'],
      ["[]", "not an object"],
      ["null", "not an object"],
      [SUCCESS.slice(0, 20), "in "],
      ["{}", 'unknown error: the status is ""'],
      ['{"status":"Maybe"}', 'unknown error: the status is "Maybe"'],
    ] as const
  ) {
    await withCluster(says(message(1, "out"), message(3, text), closeFrame()), async (cluster) => {
      const error = await assertRejects(() => exec(cluster).output(), ChannelProtocolError);
      assertMatch(error.message, /^error stream protocol error: /);
      assertStringIncludes(error.message, words);
    });
  }
});

/** Kubernetes' statuses of commands that ended, and the exit code or the words of the error (client-go `v4.go`). */
const STATUSES: ReadonlyArray<readonly [status: unknown, outcome: number | string]> = [
  [{ metadata: {}, status: "Success" }, 0],
  [{ status: "Success" }, 0],
  [exitStatus("command terminated with exit code 7", [{ reason: "ExitCode", message: "7" }]), 7],
  [exitStatus("error executing command [sh -c exit 7], exit code 7", [{ reason: "ExitCode", message: "7" }]), 7],
  [exitStatus("", [{ message: "other" }, { reason: "ExitCode", message: "137" }]), 137],
  [exitStatus("", [{ reason: "ExitCode", message: "0" }]), 'invalid exit code value "0"'],
  [exitStatus("", [{ reason: "ExitCode", message: "255" }]), 255],
  [exitStatus("", [{ reason: "ExitCode", message: "256" }]), 'invalid exit code value "256"'],
  [exitStatus("", [{ reason: "ExitCode", message: "-1" }]), 'invalid exit code value "-1"'],
  [exitStatus("", [{ reason: "ExitCode", message: "" }]), 'invalid exit code value ""'],
  [exitStatus("", [{ reason: "ExitCode" }]), 'invalid exit code value ""'],
  [exitStatus("", [{ reason: "Other", message: "7" }]), "no ExitCode cause given"],
  [exitStatus("", []), "no ExitCode cause given"],
  [{ status: "Failure", reason: "NonZeroExitCode" }, "details must be set"],
  [{ status: "Failure", message: "Internal error occurred: <no>", reason: "InternalError", code: 500 }, "<no>"],
  [{ status: "Failure" }, "no reason"],
];

function exitStatus(tail: string, causes: Required<Status>["details"]["causes"]): Status {
  return {
    metadata: {},
    status: "Failure",
    message: `command terminated with non-zero exit code: ${tail}`,
    reason: "NonZeroExitCode",
    details: { ...(causes && { causes }) },
  };
}

for (const [status, outcome] of STATUSES) {
  Deno.test(`RemoteCommand.output() reads ${JSON.stringify(status)}`, async () => {
    await withCluster(says(message(3, JSON.stringify(status)), closeFrame()), async (cluster) => {
      if (typeof outcome === "number") {
        const { code, success } = await exec(cluster).output();
        return assertEquals([code, success], [outcome, outcome === 0]);
      }
      const broken = (status as Status).reason === "NonZeroExitCode";
      const error = await assertRejects(
        () => exec(cluster).output(),
        broken ? ChannelProtocolError : RemoteCommandError,
      );
      assertStringIncludes(error.message, outcome);
      if (error instanceof RemoteCommandError) assertEquals(error.status, status as Status);
    });
  });
}

Deno.test("RemoteCommand.output() names the frame that breaks RFC 6455", async () => {
  const masked = buildFrame(Opcode.BINARY, utf8("\u0001x"));
  const reserved = message(1, "x").with(0, 0xc2);
  const control = buildFrame(Opcode.PING, new Uint8Array(126), { masked: false });
  const huge = Uint8Array.of(0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0);
  const continuation = buildFrame(Opcode.CONTINUATION, utf8("\u0001x"), { masked: false });
  for (const frame of [masked, reserved, control, huge, continuation]) {
    await withCluster(says(message(1, "half"), frame), async (cluster) => {
      const error = await assertRejects(() => exec(cluster).output(), DisconnectedError);
      assertInstanceOf(error.cause, WebSocketProtocolError, error.message);
      assertEquals(error.bytesReceived, 4);
    });
  }
});

// --- Black holes ---

Deno.test("Cluster.timeout ends the wait for a server that never answers", async () => {
  await withCluster((connection) => connection.gone(), async (cluster) => {
    const error = await assertRejects(() => exec(cluster).output(), HttpError);
    assertStringIncludes(error.message, "no answer to GET /api/v1/namespaces/default/pods/web/exec within 100 ms");
    await assertRejects(() => cluster.pod("web").get(), HttpError, "within 100 ms");
  }, { timeout: 100 });
});

Deno.test("Cluster.timeout ends the wait for the rest of half an answer", async () => {
  for (const part of ["HTTP/1.1 101 Swit", "HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf"]) {
    await withCluster(async (connection) => {
      await connection.write(part);
      await connection.gone();
    }, async (cluster) => {
      await assertRejects(() => exec(cluster).output(), part.includes("403") ? UpgradeError : HttpError);
    }, { timeout: 100 });
  }
});

/** A command whose connection pings often, so that a test need not wait. */
function pingingCommand(server: string, ping: { interval: number; timeout: number }): RemoteCommand {
  return new RemoteCommand(async () => {
    const { hostname, port } = new URL(server);
    const duplex = await createDialer()({ hostname, port: Number(port), tls: false });
    await duplex.write(utf8("GET /exec HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"));
    const byte = new Uint8Array(1);
    for (let head = ""; !head.endsWith("\r\n\r\n"); head += String.fromCharCode(byte[0]!)) await duplex.read(byte);
    return {
      wire: new WebSocketWire(new WebSocketConnection(duplex, { role: "client", protocol: "v5.channel.k8s.io", ping })),
    };
  }, {});
}

Deno.test("RemoteCommand.output() rejects when the server accepts and falls silent", async () => {
  let pings = 0;
  await withRawServer(async (connection) => {
    await connection.accept();
    await connection.message(1, "half");
    while (true) {
      const frame = await connection.frame();
      if (!frame) return;
      assertEquals(frame.opcode, Opcode.PING);
      pings++;
    }
  }, async (server) => {
    const error = await assertRejects(
      () => pingingCommand(server, { interval: 20, timeout: 100 }).output(),
      DisconnectedError,
    );
    assertStringIncludes(error.message, "no sign of life from the peer");
    assertEquals(error.bytesReceived, 4);
    assert(pings > 1, "it pinged before it gave up");
  });
});

Deno.test("RemoteCommand.output() takes any inbound frame for life", async () => {
  await withRawServer(async (connection) => {
    await connection.accept();
    for (let i = 0; i < 10; i++) {
      await new Promise((resolve) => setTimeout(resolve, 40));
      await connection.message(1, "."); // And never a Pong.
    }
    await connection.write(concat([message(3, SUCCESS), closeFrame()]));
    await connection.gone();
  }, async (server) => {
    const { stdout } = await pingingCommand(server, { interval: 20, timeout: 200 }).output();
    assertEquals(stdout.length, 10);
  });
});

for (const how of ["stop", "drop", "reset"] as const) {
  Deno.test(`RemoteCommand.output() rejects when a proxy on the way ${how}s after n bytes`, async () => {
    // The head takes about 160 bytes: some breaks come in it, some in the frames.
    for (const after of [1, 100, 300, 1000]) {
      await withRawServer(async (connection) => {
        await connection.accept();
        await connection.message(1, "o".repeat(2000));
        await connection.gone();
      }, async (server) => {
        await withProxy(server, { how, after }, async (server) => {
          const command = pingingCommand(server, { interval: 20, timeout: 100 });
          if (after >= 300) {
            const error = await assertRejects(() => command.output(), DisconnectedError);
            assertInstanceOf(error.cause, WebSocketConnectionError);
            if (how === "reset") assertInstanceOf(error.cause.cause, Deno.errors.ConnectionReset);
            return;
          }
          const { Cluster } = await import("../../lib/client/mod.ts");
          await using cluster = new Cluster({ server, timeout: 100 });
          await assertRejects(() => exec(cluster).output(), how === "reset" ? Error : HttpError);
        });
      });
    }
  });
}

// --- Refusals ---

const FORBIDDEN = JSON.stringify({
  kind: "Status",
  apiVersion: "v1",
  metadata: {},
  status: "Failure",
  message:
    'pods "web" is forbidden: User "getter" cannot get resource "pods/exec" in API group "" in the namespace "n"',
  reason: "Forbidden",
  details: { name: "web", kind: "pods" },
  code: 403,
});

/** Answers to an upgrade (their texts are Kubernetes'), and the message that a person sees. */
const REFUSALS: ReadonlyArray<
  readonly [line: string, type: string | undefined, body: string, message: string, reason?: string]
> = [
  [
    "403 Forbidden",
    "application/json",
    FORBIDDEN,
    `unable to upgrade connection: ${JSON.parse(FORBIDDEN).message} (pods/exec needs the verbs get and create)`,
    "Forbidden",
  ],
  [
    "403 Forbidden",
    undefined,
    "",
    "unable to upgrade connection: the server knows none of the subprotocols that were offered " +
    "(403 Forbidden without a body)",
  ],
  [
    "404 Not Found",
    "application/json",
    '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \\"web\\" not found",' +
    '"reason":"NotFound","details":{"name":"web","kind":"pods"},"code":404}',
    'unable to upgrade connection: pods "web" not found',
    "NotFound",
  ],
  [
    "401 Unauthorized",
    "application/json",
    '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized",' +
    '"reason":"Unauthorized","code":401}',
    "unable to upgrade connection: Unauthorized",
    "Unauthorized",
  ],
  ...([
    ["404 Not Found", "pod does not exist"],
    ["400 Bad Request", "you must specify at least 1 of stdin, stdout, stderr"],
    ["400 Bad Request", "Upgrade request required"],
    ["405 Method Not Allowed", "bad method"],
    ["429 Too Many Requests", "maximum number of in-flight requests exceeded"],
    ["500 Internal Server Error", 'container not found ("c")'],
    ["500 Internal Server Error", "container c not found in pod web_default"],
    ["500 Internal Server Error", "error dialing backend: dial tcp 10.0.0.1:10250: connect: connection refused"],
  ] as const).map(([line, body]) =>
    [line, "text/plain; charset=utf-8", body, `unable to upgrade connection: ${body}`] as const
  ),
  ["502 Bad Gateway", undefined, "", "unable to upgrade connection: 502 Bad Gateway"],
  ["302 Found", undefined, "", "unable to upgrade connection: 302 Found"],
  ["200 OK", "text/html", "<p>Hello</p>", "unable to upgrade connection: <p>Hello</p>"],
];

for (const [line, type, body, words, reason] of REFUSALS) {
  for (const delimited of [true, false]) {
    const how = delimited ? "a Content-Length" : "the connection's end";
    Deno.test(`Pod.exec() rejects with UpgradeError for ${line} ${JSON.stringify(body.slice(0, 40))} (${how})`, async () => {
      await withCluster(async (connection) => {
        await connection.head();
        const fields = [
          type && `Content-Type: ${type}`,
          delimited ? `Content-Length: ${body.length}` : "Connection: close",
        ];
        const head = [`HTTP/1.1 ${line}`, ...fields.filter(Boolean), "", ""].join("\r\n");
        await connection.write(head + body);
        if (!delimited) await connection.closeWrite();
        await connection.gone();
      }, async (cluster) => {
        const error = await assertRejects(() => exec(cluster).spawn(), UpgradeError);
        assertEquals(error.message, words);
        assertEquals([error.code, error.resource], [Number(line.slice(0, 3)), "pods/exec"]);
        assertEquals(error.status?.reason, reason);
        assertEquals(error.verbs, reason === "Forbidden" ? ["get", "create"] : []);
      });
    });
  }
}

Deno.test("Pod.exec() rejects with UpgradeError when the 101 is not an answer to its request", async () => {
  for (
    const [options, words] of [
      [{ accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }, "Sec-WebSocket-Accept"],
      [
        { protocol: "v3.channel.k8s.io" },
        'expected one of [v5.channel.k8s.io v4.channel.k8s.io], got "v3.channel.k8s.io"',
      ],
      [{ protocol: "" }, 'got ""'],
    ] as const
  ) {
    await withCluster(async (connection) => {
      await connection.accept(options);
      await connection.gone();
    }, async (cluster) => {
      const error = await assertRejects(() => exec(cluster).spawn(), UpgradeError, words);
      assertEquals(error.code, 101);
    });
  }
});

Deno.test("Pod.exec() rejects with HttpError when the server does not speak HTTP, or ends before it does", async () => {
  for (
    const answer of ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/2 101\r\n\r\n", "", "HTTP/1.1 101 Switching Protocols\r\nUpgr"]
  ) {
    await withCluster(async (connection) => {
      await connection.head();
      await connection.write(answer);
      await connection.closeWrite();
      await connection.gone();
    }, async (cluster) => {
      await assertRejects(() => exec(cluster).spawn(), HttpError);
    });
  }
});

// --- Input ---

Deno.test("RemoteProcess.stdin: what the server said before a reset counts more than the failed write", async () => {
  // An API server that has its answer resets the connection while the client is writing. The
  // client may be anywhere then: in a write, between two, or already reading.
  for (let round = 0; round < 20; round++) {
    await withCluster(async (connection) => {
      await connection.accept();
      assertEquals((await connection.frame())?.payload[0], 0);
      await connection.write(concat([message(1, "out"), message(3, SUCCESS), closeFrame()]));
      await connection.reset();
    }, async (cluster) => {
      await using process = await spawnCat(cluster);
      const feeding = feed(process, 64 * 1024 * 1024);
      const [output, status, fed] = await Promise.allSettled([
        new Response(process.stdout).text(),
        process.status,
        feeding,
      ]);
      // A reset may destroy what the kernel had not handed over: then it is a break, never a success with half an output.
      if (status.status === "fulfilled") {
        assertEquals(status.value.code, 0);
        assertEquals(output, { status: "fulfilled", value: "out" });
        assert(fed.status === "rejected");
        assertInstanceOf(fed.reason, StdinClosedError);
      } else {
        assertInstanceOf(status.reason, DisconnectedError);
        assert(output.status === "rejected");
      }
    });
  }
});

Deno.test("RemoteProcess.stdin errors with StdinClosedError when the command ends first", async () => {
  await withCluster(async (connection) => {
    await connection.accept();
    await connection.frame();
    await connection.write(
      concat([message(3, JSON.stringify(exitStatus("", [{ reason: "ExitCode", message: "3" }])))]),
    );
    await connection.closeFrame();
    await connection.gone();
  }, async (cluster) => {
    await using process = await spawnCat(cluster);
    const error = await assertRejects(() => feed(process, Infinity), StdinClosedError);
    assert(error.bytesSent > 0);
    assertStringIncludes(error.message, `${error.bytesSent} bytes were sent`);
    assertEquals((await process.status).code, 3);
    assertEquals((await new Response(process.stdout).text()).length, 0);
  });
});

Deno.test("RemoteProcess.stdin: closing it early sends the close signal, and the session goes on", async () => {
  await withCluster(async (connection) => {
    await connection.accept();
    const payloads: number[][] = [];
    while (payloads.at(-1)?.[0] !== 255) payloads.push([...(await connection.frame())!.payload]);
    await connection.message(1, JSON.stringify(payloads));
    await connection.write(concat([message(3, SUCCESS), closeFrame()]));
    await connection.gone();
  }, async (cluster) => {
    await using process = await spawnCat(cluster);
    const writer = process.stdin.getWriter();
    await writer.write(utf8("ab"));
    await writer.close();
    assertEquals(await new Response(process.stdout).json(), [[0, 97, 98], [255, 0]]);
    assertEquals((await process.status).code, 0);
    await assertRejects(() => writer.write(utf8("late")), TypeError);
  });
});

Deno.test("RemoteProcess.stdin: aborting it breaks the session with that reason", async () => {
  await withCluster(async (connection) => {
    await connection.accept();
    await connection.gone();
  }, async (cluster) => {
    await using process = await spawnCat(cluster);
    const reason = new Error("the file went away");
    await process.stdin.abort(reason);
    assertEquals(await process.status.catch((error) => error), reason);
    await assertRejects(() => new Response(process.stdout).text(), Error, "the file went away");
  });
});

Deno.test("Pod.exec() with stdin refuses a server that cannot end it", async () => {
  await withCluster(async (connection) => {
    assertEquals(headerValue(await connection.head(), "sec-websocket-protocol"), "v5.channel.k8s.io");
    await connection.write("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n");
    await connection.closeWrite();
    await connection.gone();
  }, async (cluster) => {
    await assertRejects(() => spawnCat(cluster), UpgradeError, "none of the subprotocols");
  });
});

/** Writes `size` bytes to a command, in chunks, and closes its input. */
async function feed(process: RemoteProcess, size: number): Promise<void> {
  const writer = process.stdin.getWriter();
  const chunk = new Uint8Array(64 * 1024);
  for (let sent = 0; sent < size; sent += chunk.length) await writer.write(chunk);
  await writer.close();
}

// --- Slow ones ---

Deno.test("RemoteProcess.stdout gives a slow reader everything", async () => {
  const size = 4 * 1024 * 1024;
  await withCluster(async (connection) => {
    await connection.accept();
    for (let sent = 0; sent < size; sent += 32 * 1024) {
      await connection.message(1, new Uint8Array(32 * 1024).fill(sent >> 15));
    }
    await connection.write(concat([message(3, SUCCESS), closeFrame()]));
    await connection.gone();
  }, async (cluster) => {
    await using process = await exec(cluster).spawn();
    let received = 0;
    for await (const chunk of process.stdout) {
      for (const byte of chunk) {
        if (byte !== (received++ >> 15) % 256) throw new Error(`wrong byte at ${received - 1}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assertEquals([received, (await process.status).code], [size, 0]);
  });
});

Deno.test("RemoteProcess.stdin gives a slow server everything, and a slow writer its time", async () => {
  const size = 4 * 1024 * 1024;
  await withCluster(async (connection) => {
    await connection.accept();
    let received = 0;
    let parts = 0;
    for (;;) {
      const frame = await connection.frame();
      if (!frame || frame.payload[0] === 255) break;
      received += frame.payload.length - 1;
      if (++parts % 16 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await connection.write(concat([message(1, String(received)), message(3, SUCCESS), closeFrame()]));
    await connection.gone();
  }, async (cluster) => {
    await using process = await spawnCat(cluster);
    const writer = process.stdin.getWriter();
    for (let i = 0; i < 5; i++) {
      await writer.write(new Uint8Array(1));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    writer.releaseLock();
    await feed(process, size);
    assertEquals(await new Response(process.stdout).text(), String(size + 5));
    assertEquals((await process.status).code, 0);
  });
});

Deno.test("RemoteProcess.stdout: cancelling it lets the command go on", async () => {
  await withCluster(async (connection) => {
    await connection.accept();
    for (let i = 0; i < 64; i++) await connection.message(1, new Uint8Array(32 * 1024));
    await connection.write(concat([message(2, "end"), message(3, SUCCESS), closeFrame()]));
    await connection.gone();
  }, async (cluster) => {
    await using process = await exec(cluster).spawn();
    await process.stdout.cancel();
    assertEquals(await new Response(process.stderr).text(), "end");
    assertEquals((await process.status).code, 0);
  });
});

// --- Cancellation and clean-up ---

Deno.test("RemoteCommandOptions.signal: aborted before, it rejects with its reason and dials nobody", async () => {
  const reason = new Error("changed my mind");
  await withCluster(() => Promise.reject(new Error("somebody dialled")), async (cluster) => {
    const error = await spawnCat(cluster, AbortSignal.abort(reason)).catch((error) => error);
    assertEquals(error, reason);
  });
});

Deno.test("RemoteCommandOptions.signal ends a dial that hangs", async () => {
  const dialing = Promise.withResolvers<void>();
  const dialer = (_: unknown, { signal }: { signal?: AbortSignal } = {}) => {
    dialing.resolve();
    return new Promise<Duplex>((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  };
  await withCluster(() => Promise.resolve(), async (cluster) => {
    const controller = new AbortController();
    const spawning = spawnCat(cluster, controller.signal);
    await dialing.promise;
    controller.abort(new Error("enough"));
    await assertRejects(() => spawning, Error, "enough");
  }, { dialer });
});

Deno.test("RemoteCommandOptions.signal ends a handshake that hangs, and the connection with it", async () => {
  const asked = Promise.withResolvers<void>();
  await withCluster(async (connection) => {
    await connection.head();
    asked.resolve();
    await connection.gone();
  }, async (cluster) => {
    const controller = new AbortController();
    const spawning = spawnCat(cluster, controller.signal);
    await asked.promise;
    controller.abort(new Error("enough"));
    await assertRejects(() => spawning, Error, "enough");
  });
});

Deno.test("RemoteCommandOptions.signal ends a running session: status, output and input reject with its reason", async () => {
  await withCluster(async (connection) => {
    await connection.accept();
    await connection.message(1, "half");
    await connection.gone();
  }, async (cluster) => {
    const controller = new AbortController();
    await using process = await spawnCat(cluster, controller.signal);
    const reader = process.stdout.getReader();
    await reader.read();
    const reading = reader.read();
    const reason = new DOMException("enough", "AbortError");
    controller.abort(reason);
    const outcomes = await Promise.allSettled([process.status, reading, process.stdin.getWriter().closed]);
    for (const outcome of outcomes) assertEquals(outcome, { status: "rejected", reason });
  });
});

Deno.test("RemoteCommandOptions.signal ends a write that the server does not take", async () => {
  const aborted = Promise.withResolvers<void>();
  await withCluster(async (connection) => {
    await connection.accept();
    await aborted.promise;
    await connection.gone();
  }, async (cluster) => {
    const controller = new AbortController();
    await using process = await spawnCat(cluster, controller.signal);
    const writer = process.stdin.getWriter();
    let written = 0;
    const feeding = (async () => {
      for (;; written++) await writer.write(new Uint8Array(64 * 1024));
    })();
    feeding.catch(() => {}); // Told below.
    for (let before = -1; before !== written || written === 0;) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    controller.abort(new Error("enough"));
    aborted.resolve();
    await assertRejects(() => feeding, Error, "enough");
    await assertRejects(() => process.status, Error, "enough");
  });
});

Deno.test("DisconnectedError.bytesSent counts what the transport took of one large write", async () => {
  await withCluster(async (connection) => {
    await connection.accept();
    for (let received = 0; received < 1024 * 1024;) received += (await connection.frame())?.payload.length ?? 0;
    await connection.reset();
  }, async (cluster) => {
    await using process = await spawnCat(cluster);
    const feeding = process.stdin.getWriter().write(new Uint8Array(64 * 1024 * 1024));
    const error = await assertRejects(() => feeding, DisconnectedError);
    assertGreaterOrEqual(error.bytesSent, 1024 * 1024);
    assertLess(error.bytesSent, 64 * 1024 * 1024);
  });
});

Deno.test("RemoteCommandOptions.signal: aborted after the end, it changes nothing", async () => {
  await withCluster(says(message(1, "out"), message(3, SUCCESS), closeFrame()), async (cluster) => {
    const controller = new AbortController();
    await using process = await cluster.pod("web").exec(["true"], { signal: controller.signal }).spawn();
    assertEquals((await process.status).code, 0);
    controller.abort();
    assertEquals(await new Response(process.stdout).text(), "out");
  });
});

Deno.test("RemoteProcess: `await using` drops a session that still runs, and nobody need look at it", async () => {
  await withCluster(async (connection) => {
    await connection.accept();
    await connection.message(1, new Uint8Array(1024 * 1024));
    await connection.gone();
  }, async (cluster) => {
    {
      await using process = await spawnCat(cluster);
      await process.stdin.getWriter().write(utf8("x"));
    }
    const process = await spawnCat(cluster);
    process.close();
    await assertRejects(() => process.status, Error, "closed before the command ended");
  });
});

Deno.test("RemoteCommand.output(): the session ends although the server keeps its end open after the status", async () => {
  // The deadline for the Close frame is ten seconds; a Close frame without an end of the connection must not take it.
  await withCluster(says(message(3, SUCCESS), closeFrame()), async (cluster) => {
    assertEquals((await exec(cluster).output()).code, 0);
  });
});

Deno.test("Cluster: a session does not risk a connection that may have been idle for too long", () =>
  assertSharesFreshOnly());

// --- The command line ---

const POD = JSON.stringify({
  metadata: { name: "web", namespace: "default" },
  spec: { containers: [{ name: "main" }] },
  status: { phase: "Running" },
});

for (
  const [what, script, expected, words] of [
    ["ends without a status", says(message(1, "half"), closeFrame()), 1, "connection closed before exit status"],
    [
      "ends in the middle of a frame",
      saysAndEnds(message(1, "half"), message(1, "more").subarray(0, 4)),
      1,
      "before exit",
    ],
    ["answers nonsense", says(message(1, "half"), message(3, "hello"), closeFrame()), 1, "error stream protocol error"],
    [
      "says that the command ended with 7",
      says(message(1, "half"), message(3, JSON.stringify(STATUSES[2]?.[0])), closeFrame()),
      7,
      "command terminated with exit code 7",
    ],
  ] as const
) {
  Deno.test(`podwire exec ends with code ${expected} and says why when the server ${what}`, async () => {
    await withRawServer(async (connection) => {
      await connection.head();
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${POD.length}\r\n\r\n${POD}`);
      await script(connection);
    }, async (server) => {
      const cli = new URL("cli.ts", ROOT).pathname;
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", ...await denoFlags(), cli, "--server", server, "exec", "web", "--", "cat"],
        env: { KUBECONFIG: "/dev/null" },
        stdin: "null",
      }).output();
      const error = new TextDecoder().decode(stderr);
      assertEquals([code, new TextDecoder().decode(stdout)], [expected, "half"], error);
      assertStringIncludes(error, words);
    });
  });
}
