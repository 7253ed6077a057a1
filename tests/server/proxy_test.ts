// Plain requests through a gateway: what passes, what does not, and that nothing is held back.
import { assert, assertEquals, assertLess, assertMatch, assertStringIncludes } from "@std/assert";
import { CredentialsError } from "../../lib/kubeconfig/mod.ts";
import { type Gateway, serveGateway } from "../../lib/server/mod.ts";
import type { RawConnection, Script } from "../client/raw_server.ts";
import { standstill } from "../support/until.ts";
import { accessTo, ask, authorized, RawRequest, statusLine, withGateway } from "./gateway_ground.ts";

const MEBIBYTE = 1024 * 1024;

/** Answers every request of a connection alike, and notes what it was asked. */
function answering(answer: string, heads: string[] = []): Script {
  return async (connection) => {
    for (;;) {
      let head;
      try {
        head = await connection.head();
      } catch {
        return; // The gateway has closed the connection.
      }
      heads.push([head.startLine, ...head.headers.map(([name, value]) => `${name}: ${value}`)].join("\n"));
      await connection.write(answer);
    }
  };
}

const never: Script = () => Promise.reject(new Error("the request reached the upstream"));

/** A request with a body of which nothing has been sent. */
function upload(gateway: Gateway, method: string, ...lines: readonly string[]): Promise<RawRequest> {
  return RawRequest.open(gateway, authorized(gateway, method, "/upload", ...lines));
}

Deno.test("a gateway passes a request on without what concerns only its client, or says who that is", async () => {
  const heads: string[] = [];
  const text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  await withGateway(answering(text, heads), async (gateway) => {
    await ask(
      gateway,
      authorized(
        gateway,
        "GET",
        "/api/v1/pods?limit=5&x=%2F",
        "Accept: application/json;as=Table",
        "User-Agent: kubectl",
        "Kubectl-Session: 1",
        "X-Multi: a",
        "X-Multi: b",
        "Connection: x-named",
        "X-Named: 1",
        "Keep-Alive: 1",
        "TE: trailers",
        "Proxy-Authorization: Basic x",
        "Proxy-Connection: keep-alive",
        "Cookie: a=b",
        "Referer: http://127.0.0.1/token/x",
        "X-Remote-User: admin",
        "x-remote-group: system:masters",
        "X-Remote-Extra-Scopes: all",
        "X-Forwarded-For: 203.0.113.1",
        "X-Forwarded-User: admin",
        "Forwarded: for=203.0.113.1",
        "X-Real-IP: 203.0.113.1",
        "Client-Cert: :MIIB:",
        "X-SSL-Client-DN: CN=admin",
        "X-Forwarded-Client-Cert: Hash=1",
        "Via: 1.1 other",
      ),
    );
    const [host] = heads[0]!.match(/(?<=\nHost: ).*/)!;
    assertMatch(host, /^127\.0\.0\.1:\d+$/);
    assertEquals(heads[0]!.split("\n"), [
      "GET /api/v1/pods?limit=5&x=%2F HTTP/1.1",
      `Host: ${host}`,
      "Accept: application/json;as=Table",
      "User-Agent: kubectl",
      "Kubectl-Session: 1",
      "X-Multi: a",
      "X-Multi: b",
      "X-Forwarded-For: 127.0.0.1",
      "X-Forwarded-Host: localhost",
      "X-Forwarded-Proto: http",
      "Authorization: Bearer upstream-secret",
    ]);
  });
});

Deno.test("a gateway passes an answer back as it is, without what concerns only its own connection", async () => {
  const answer = 'HTTP/1.1 429 Slow Down\r\nContent-Type: text/plain; charset=\xfctf\r\nWarning: 299 - "a"\r\n' +
    'warning: 299 - "b"\r\nAudit-Id: 1\r\nRetry-After: 1\r\nDate: Sat, 21 Nov 2026 03:49:22 GMT\r\nConnection: x-hop\r\n' +
    "X-Hop: 1\r\nKeep-Alive: timeout=1\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n" +
    "2;ext=1\r\nab\r\n1\r\nc\r\n0\r\nX: trailer\r\n\r\n";
  const bytes = Uint8Array.from(answer, (character) => character.charCodeAt(0));
  await withGateway(async (connection) => {
    await connection.head();
    await connection.write(bytes);
  }, async (gateway) => {
    const got = await ask(gateway, authorized(gateway, "GET", "/api"));
    assertEquals(got.split("\r\n"), [
      "HTTP/1.1 429 Slow Down",
      "Content-Type: text/plain; charset=\ufffdtf", // The byte 0xfc, which is no UTF-8.
      'Warning: 299 - "a"',
      'warning: 299 - "b"',
      "Audit-Id: 1",
      "Retry-After: 1",
      "Date: Sat, 21 Nov 2026 03:49:22 GMT",
      "Transfer-Encoding: chunked",
      "Connection: close",
      "",
      "2",
      "ab",
      "1",
      "c",
      "0",
      "",
      "",
    ]);
  });
});

Deno.test("a gateway knows answers without a body, and clients that know no chunks", async () => {
  const rows: Array<[request: (gateway: Gateway) => string, upstream: string, answer: RegExp]> = [
    [
      (gateway) => authorized(gateway, "HEAD", "/api"),
      "HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n",
      /^HTTP\/1\.1 200 OK\r\nContent-Length: 123\r\nDate: .*\r\nConnection: close\r\n\r\n$/,
    ],
    [
      (gateway) => authorized(gateway, "HEAD", "/api"),
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
      /^HTTP\/1\.1 200 OK\r\nDate: .*\r\nConnection: close\r\n\r\n$/,
    ],
    [
      (gateway) => authorized(gateway, "DELETE", "/api"),
      "HTTP/1.1 204 No Content\r\n\r\n",
      /^HTTP\/1\.1 204 No Content\r\nDate: .*\r\nConnection: close\r\n\r\n$/,
    ],
    [
      (gateway) => authorized(gateway, "GET", "/openapi/v3", 'If-None-Match: "1"'),
      'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n',
      /^HTTP\/1\.1 304 Not Modified\r\nETag: "1"\r\nDate: .*\r\nConnection: close\r\n\r\n$/,
    ],
    [
      (gateway) => `GET /${gateway.token}/api HTTP/1.0\r\nHost: localhost\r\n\r\n`,
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
      /^HTTP\/1\.1 200 OK\r\nDate: .*\r\nConnection: close\r\n\r\nabc$/,
    ],
    [
      (gateway) => authorized(gateway, "GET", "/api"),
      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
      /\r\nTransfer-Encoding: chunked\r\n[^]*\r\nd\r\nuntil the end\r\n0\r\n\r\n$/,
    ],
  ];
  for (const [request, upstream, answer] of rows) {
    await withGateway(async (connection) => {
      await connection.head();
      await connection.write(upstream);
    }, async (gateway) => {
      assertMatch(await ask(gateway, request(gateway)), answer);
    });
  }
});

Deno.test("a gateway keeps a client's connection, and its own to the upstream", async () => {
  let connections = 0;
  const heads: string[] = [];
  const answer = answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes", heads);
  await withGateway((connection) => {
    connections++;
    return answer(connection);
  }, async (gateway) => {
    const request = authorized(gateway, "GET", "/1").replace("Connection: close\r\n", "");
    using client = await RawRequest.open(gateway, request + request.replace("/1", "/2")); // The second before the first's answer.
    await client.send(authorized(gateway, "GET", "/3"));
    assertEquals((await client.until()).split("yes").length, 4);
    assertEquals([connections, heads.map((head) => head.split(" ")[1])], [1, ["/1", "/2", "/3"]]);
  });
});

Deno.test("a gateway shows each event of a watch when it happens", async () => {
  const seen = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await withGateway(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    await seen[0]!.promise;
    await connection.write("5\r\nevent\r\n");
    await seen[1]!.promise;
    await connection.write("0\r\n\r\n");
  }, async (gateway) => {
    using client = await RawRequest.open(gateway, authorized(gateway, "GET", "/api/v1/pods?watch=1"));
    await client.until("\r\n\r\n");
    seen[0]!.resolve();
    await client.until("5\r\nevent\r\n");
    seen[1]!.resolve();
    assertMatch(await client.until(), /\r\n0\r\n\r\n$/);
  });
});

Deno.test("a client that goes away ends its request at the upstream, also while nothing happens there", async () => {
  for (const how of ["before the answer", "close", "half-close"] as const) {
    const gone = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    await withGateway(async (connection) => {
      await connection.head();
      asked.resolve();
      if (how !== "before the answer") await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      await connection.gone();
      gone.resolve();
    }, async (gateway, records) => {
      using client = await RawRequest.open(gateway, authorized(gateway, "GET", "/api/v1/pods?watch=1"));
      await asked.promise;
      if (how !== "before the answer") await client.until("\r\n\r\n");
      if (how === "half-close") await client.closeWrite();
      else client[Symbol.dispose]();
      await gone.promise;
      await gateway.drain(5_000);
      assertEquals(records[0]!.error, "the client went away before the end of its answer", how);
    });
  }
});

/** Whether all bytes are 7; `every` takes seconds for so many. */
function isSevens(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 7) return false;
  return true;
}

/** Reads a body of `length` bytes, all of them 7. */
async function readSevens(connection: RawConnection, length: number): Promise<void> {
  for (let got = 0; got < length;) {
    const bytes = await connection.read();
    assert(bytes, `the body ended after ${got} bytes`);
    assert(isSevens(bytes));
    got += bytes.length;
    assert(got <= length);
  }
}

Deno.test("100 MiB pass up and down, and whoever sends faster than the other reads is held back", async () => {
  const length = 100 * MEBIBYTE;
  const piece = new Uint8Array(MEBIBYTE).fill(7);
  let [up, down] = [0, 0];
  const mayReadUp = Promise.withResolvers<void>();
  await withGateway(async (connection) => {
    const head = await connection.head();
    assertEquals(head.headers.find(([name]) => name === "Content-Length"), ["Content-Length", String(length)]);
    await mayReadUp.promise;
    await readSevens(connection, length);
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`);
    for (; down < length; down += piece.length) await connection.write(piece);
  }, async (gateway, records) => {
    using client = await upload(gateway, "PUT", `Content-Length: ${length}`);
    const sending = (async () => {
      for (; up < length; up += piece.length) await client.send(piece);
    })();
    assertLess(await standstill(() => up), SOCKETS_HOLD);
    mayReadUp.resolve();
    await sending;
    await client.until("\r\n\r\n");
    assertLess(await standstill(() => down), SOCKETS_HOLD);
    const got = await client.count((bytes) => assert(isSevens(bytes)));
    assert(got > 0.99 * length); // Some came with the head.
    assertEquals(records.map(({ received, sent }) => [received, sent]), [[length, length]]);
  });
});

/** More than four sockets' buffers and the gateway's own take, in bytes. */
const SOCKETS_HOLD = 24 * MEBIBYTE;

Deno.test("a body in chunks passes as one, without its trailers", async () => {
  const bodies: string[] = [];
  await withGateway(async (connection) => {
    const head = await connection.head();
    assertEquals(head.headers.filter(([name]) => /^(transfer-encoding|content-length|trailer)$/i.test(name)), [
      ["Transfer-Encoding", "chunked"],
    ]);
    let body = "";
    while (!body.endsWith("0\r\n\r\n")) body += new TextDecoder().decode(await connection.read());
    bodies.push(body);
    await connection.write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
  }, async (gateway) => {
    using client = await upload(gateway, "POST", "Transfer-Encoding: chunked", "Trailer: X");
    await client.send("3;x=y\r\nabc\r\n");
    await client.send("2\r\nde\r\n0\r\nX: 1\r\n\r\n");
    assertEquals(statusLine(await client.until()), "HTTP/1.1 201 Created");
  });
  assertEquals(bodies[0]!.replaceAll(/\r\n|[0-9]/g, ""), "abcde");
});

Deno.test("a gateway tells a client that waits to send its body", async () => {
  await withGateway(async (connection) => {
    const head = await connection.head();
    assertEquals(head.headers.some(([name]) => /^expect$/i.test(name)), false);
    assertEquals(new TextDecoder().decode(await connection.read()), "ab");
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  }, async (gateway) => {
    using client = await upload(gateway, "POST", "Content-Length: 2", "Expect: 100-continue");
    await client.until("HTTP/1.1 100 Continue\r\n\r\n");
    await client.send("ab");
    assertStringIncludes(await client.until(), "HTTP/1.1 200 OK");
  });
});

Deno.test("an answer that comes before the body has been sent reaches the client", async () => {
  await withGateway(async (connection) => {
    await connection.head();
    await connection.write(
      "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
    );
  }, async (gateway) => {
    using client = await upload(gateway, "POST", `Content-Length: ${100 * MEBIBYTE}`);
    await client.send(new Uint8Array(1000));
    assertMatch(await client.until(), /^HTTP\/1\.1 413 [^]*big$/);
  });
});

Deno.test("a client that is refused can read why while it sends its body", async () => {
  await withGateway(never, async (gateway) => {
    using client = await RawRequest.open(
      gateway,
      "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 150000\r\n\r\n",
    );
    await client.send(new Uint8Array(150_000));
    const answer = await client.until();
    assertMatch(answer, /^HTTP\/1\.1 401 Unauthorized\r\n/);
    assertEquals(answer.split("HTTP/1.1 ").length, 2); // Nothing of the body was taken for a request.
  });
});

Deno.test("a gateway refuses what two servers could read in two ways", async () => {
  await withGateway(never, async (gateway) => {
    const start = `POST /api HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${gateway.token}\r\n`;
    const rows = [
      `${start}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `${start}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`,
      `${start}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde`,
      `${start}Content-Length: 4, 4\r\n\r\nabcd`,
      `${start}Content-Length: +4\r\n\r\nabcd`,
      `${start}Content-Length: 0x4\r\n\r\nabcd`,
      `${start}Content-Length : 4\r\n\r\nabcd`,
      `${start}Transfer-Encoding: identity\r\n\r\n`,
      `${start}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`,
      `${start}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
      `${start}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n`,
      `${start}X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `${start}X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `${start}X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `${start}X: a\0b\r\n\r\n`,
      `${start}: empty\r\n\r\n`,
      `${start}Host: other\r\n\r\n`,
      `POST /api HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `GET /${gateway.token}/\xe4 HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      `GET /${gateway.token}/a\tb HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      `GET /${gateway.token}/a#b HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    ];
    for (const row of rows) {
      assertMatch(statusLine(await ask(gateway, row)), /^HTTP\/1\.1 (400|501) /, JSON.stringify(row));
    }
    const many = `GET /api HTTP/1.1\r\nHost: localhost\r\n${"X: y\r\n".repeat(256)}\r\n`;
    assertMatch(statusLine(await ask(gateway, many)), /^HTTP\/1\.1 431 /);
    const long = `GET /${"x".repeat(257 * 1024)} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
    assertMatch(statusLine(await ask(gateway, long)), /^HTTP\/1\.1 431 /);
  });
});

Deno.test("a chunked body that is malformed ends the request on both sides", async () => {
  for (const body of ["x\r\n", "5\nabcde\r\n", "3\r\nabcd\r\n", "-1\r\n", "100000000\r\n"]) {
    const ended = Promise.withResolvers<string>();
    await withGateway(async (connection) => {
      await connection.head();
      let rest = "";
      for (let bytes = await connection.read(); bytes; bytes = await connection.read()) {
        rest += new TextDecoder().decode(bytes);
      }
      ended.resolve(rest);
    }, async (gateway) => {
      using client = await upload(gateway, "POST", "Transfer-Encoding: chunked");
      await client.send(body);
      assertEquals(statusLine(await client.until()), "HTTP/1.1 400 Bad Request", body);
      assertEquals((await ended.promise).endsWith("0\r\n\r\n"), false, body);
    });
  }
});

Deno.test("a redirect is not followed, and not passed on", async () => {
  const text = "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 2\r\n\r\nhi";
  await withGateway(answering(text), async (gateway) => {
    const got = await ask(gateway, authorized(gateway, "GET", "/api"));
    assertEquals(statusLine(got), "HTTP/1.1 502 Bad Gateway");
    assertStringIncludes(got, "the backend attempted to redirect this request, which is not permitted");
    assertEquals(got.includes("elsewhere"), false);
  });
});

Deno.test("a gateway says why its upstream gives no answer, as a text, which is what kubectl shows", async () => {
  /** The body of an answer of 502. */
  const failure = async (gateway: Gateway) => {
    const answer = await ask(gateway, authorized(gateway, "GET", "/api"));
    assertEquals(statusLine(answer), "HTTP/1.1 502 Bad Gateway");
    assertStringIncludes(answer, "\r\nContent-Type: text/plain; charset=utf-8\r\n");
    return answer.slice(answer.indexOf("\r\n\r\n") + 4);
  };
  const failing = accessTo("http://127.0.0.1:1");
  await using nowhere = await serveGateway({ access: failing, listen: { port: 0 } });
  assertMatch(await failure(nowhere), /^error dialing backend: .*127\.0\.0\.1:1\b.*refused/);

  const socket = { ...failing, unixSocket: "/nonexistent/k.sock" };
  await using absent = await serveGateway({ access: socket, listen: { port: 0 } });
  assertMatch(await failure(absent), /^error dialing backend: .*\/nonexistent\/k\.sock/);

  const credentials = { ...failing.credentials, headers: () => Promise.reject(new CredentialsError("no plugin")) };
  await using nobody = await serveGateway({ access: { ...failing, credentials }, listen: { port: 0 } });
  assertEquals(await failure(nobody), "the gateway has no credentials: no plugin\n");

  for (const answer of ["", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"]) {
    await withGateway(async (connection) => {
      await connection.head();
      await connection.write(answer);
    }, async (gateway) => {
      assertStringIncludes(await failure(gateway), "the backend broke the connection: ");
    });
  }
});

Deno.test("an answer that breaks off does not look whole to the client", async () => {
  const rows = [
    ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome", /Content-Length: 9\r\n[^]*\r\n\r\nsome$/],
    ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", /\r\n\r\n4\r\nsome\r\n$/],
  ] as const;
  for (const [answer, expected] of rows) {
    await withGateway(async (connection) => {
      await connection.head();
      await connection.write(answer);
    }, async (gateway, records) => {
      assertMatch(await ask(gateway, authorized(gateway, "GET", "/api")), expected);
      await gateway.drain(5_000);
      assertStringIncludes(records[0]!.error!, "the backend broke off its answer: ");
    });
  }
});

Deno.test("a GET is sent again when the idle connection was closed meanwhile", async () => {
  let connections = 0;
  const closed = Promise.withResolvers<void>();
  await withGateway(async (connection) => {
    connections++;
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    if (connections > 1) return;
    connection.close();
    closed.resolve();
  }, async (gateway) => {
    await ask(gateway, authorized(gateway, "GET", "/1"));
    await closed.promise;
    assertEquals(statusLine(await ask(gateway, authorized(gateway, "GET", "/2"))), "HTTP/1.1 200 OK");
    assertEquals(connections, 2);
  });
});
