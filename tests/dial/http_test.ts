/** HTTP/1.1 against answers written by hand (RFC 9112). */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type Duplex, duplexPair } from "../../lib/bytes/mod.ts";
import { HttpConnection, HttpError, type HttpRequest, UpgradeRefusedError } from "../../lib/dial/mod.ts";
import { latin1, readAll, scripted } from "./harness.ts";

const GET: HttpRequest = { method: "GET", target: "/readyz", headers: [["Host", "x"]] };
const UPGRADE: HttpRequest = {
  method: "GET",
  target: "/exec?command=secret",
  headers: [["Host", "x"], ["Connection", "Upgrade"], ["Upgrade", "websocket"]],
};
const CONNECT: HttpRequest = { method: "CONNECT", target: "x:443", headers: [["Host", "x:443"]] };
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n";
const TUNNEL = "HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n";

/** A connection and the far end of its duplex; both are closed afterwards. */
async function withConnection(use: (connection: HttpConnection, server: Duplex) => Promise<void>): Promise<void> {
  const [client, server] = duplexPair();
  const connection = new HttpConnection(client);
  try {
    await use(connection, server);
  } finally {
    connection.close();
    server.close();
  }
}

/** What has arrived at `server` until an empty line. */
async function readRequest(server: Duplex): Promise<string> {
  const buffer = new Uint8Array(1);
  let text = "";
  while (!text.endsWith("\r\n\r\n")) {
    if (await server.read(buffer) === null) throw new Error(`no request: ${JSON.stringify(text)}`);
    text += String.fromCharCode(buffer[0]!);
  }
  return text;
}

interface Row {
  readonly name: string;
  readonly answer: string;
  readonly body: string;
  /** Whether the server goes on to wait for the next request; else it ends the connection. */
  readonly keeps: boolean;
}

const ANSWERS: readonly Row[] = [
  { name: "a length", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", body: "hello", keeps: true },
  {
    name: "the same length twice",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\ncontent-length: 2\r\n\r\nok",
    body: "ok",
    keeps: true,
  },
  { name: "length 0", answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", body: "", keeps: true },
  {
    name: "chunks, an extension and a trailer",
    answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n" +
      '5\r\nhello\r\nA;x="y"\r\n, dear all\r\n0\r\nX: y\r\n\r\n',
    body: "hello, dear all",
    keeps: true,
  },
  { name: "no length", answer: "HTTP/1.1 200 OK\r\nX: y\r\n\r\nto the end\r\n", body: "to the end\r\n", keeps: false },
  { name: "HTTP/1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", body: "ok", keeps: false },
  {
    name: "Connection: close",
    answer: "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
    body: "ok",
    keeps: false,
  },
  { name: "204", answer: "HTTP/1.1 204 No Content\r\n\r\n", body: "", keeps: true },
  { name: "304", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", body: "", keeps: true },
  {
    name: "interim answers",
    answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" +
      "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n!",
    body: "!",
    keeps: true,
  },
  { name: "bare line feeds", answer: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", body: "ok", keeps: true },
];

for (const { name, answer, body, keeps } of ANSWERS) {
  Deno.test(`HttpConnection.request() reads an answer with ${name}, cut in two at every byte`, async () => {
    for (let cut = 0; cut < answer.length; cut++) {
      const connection = new HttpConnection(scripted([answer.slice(0, cut), answer.slice(cut)], { end: !keeps }));
      const response = await connection.request(GET);
      assertEquals(await new Response(response.body).text(), body, `cut at ${cut}`);
      assertEquals(connection.reusable, keeps, `cut at ${cut}`);
      connection.close();
    }
  });

  Deno.test(`HttpConnection.request() reads an answer with ${name}, byte by byte`, async () => {
    const connection = new HttpConnection(scripted([...answer], { end: !keeps }));
    const response = await connection.request(GET);
    assertEquals(await new Response(response.body).text(), body);
    assertEquals(connection.reusable, keeps);
    connection.close();
  });

  Deno.test(`HttpConnection.request() fails when an answer with ${name} ends early`, async () => {
    const head = answer.lastIndexOf("\n\n") < 0 ? answer.indexOf("\r\n\r\n") + 4 : answer.indexOf("\n\n") + 2;
    for (let end = 0; end < answer.length; end++) {
      if (name === "no length" && end >= head) continue; // Nobody can know.
      const connection = new HttpConnection(scripted([answer.slice(0, end)], { end: true }));
      await assertRejects(
        async () => await new Response((await connection.request(GET)).body).text(),
        HttpError,
        "the connection ended",
      );
      assertEquals(connection.reusable, false);
    }
  });
}

Deno.test("HttpConnection.request() gives status, reason and repeated fields", async () => {
  await withConnection(async (connection, server) => {
    await server.write(
      latin1("HTTP/1.1 404 Not  F\xf6und\r\nX-A:1\r\nx-a: \t2 \r\nEmpty:\r\nContent-Length: 0\r\n\r\n"),
    );
    const { status, statusText, headers } = await connection.request(GET);
    assertEquals([status, statusText], [404, "Not  F\xf6und"]);
    assertEquals([...headers], [["content-length", "0"], ["empty", ""], ["x-a", "1, 2"]]);
  });
});

Deno.test("HttpConnection.request() makes one of a length that is said several times", async () => {
  for (const lengths of ["Content-Length: 2\r\ncontent-length:2", "Content-Length: 2 , 2,2"]) {
    await withConnection(async (connection, server) => {
      await server.write(latin1(`HTTP/1.1 200 OK\r\nA: 1\r\n${lengths}\r\nB: 2\r\n\r\nok`));
      const { headers, lines, body } = await connection.request(GET);
      assertEquals([headers.get("content-length"), await new Response(body).text()], ["2", "ok"]);
      assertEquals(lines, [["A", "1"], ["B", "2"], ["Content-Length", "2"]], "for a gateway to pass on");
    });
  }
});

Deno.test("HttpConnection.request() sends header fields in order and spelling, and the length of a body", async () => {
  await withConnection(async (connection, server) => {
    await server.write(latin1("HTTP/1.1 204 No Content\r\n\r\n"));
    await connection.request({
      method: "POST",
      target: "/a?b=c",
      headers: [["Host", "x"], ["X-b", "2"], ["x-B", "ü"], ["A", ""]],
      body: latin1("body"),
    });
    connection.close();
    assertEquals(
      new TextDecoder().decode(latin1(await readAll(server))),
      "POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-b: 2\r\nx-B: ü\r\nA: \r\nContent-Length: 4\r\n\r\nbody",
    );
  });
});

Deno.test("HttpConnection serves requests one after the other, and then an upgrade", async () => {
  await withConnection(async (connection, server) => {
    for (const method of ["GET", "HEAD", "GET"]) {
      const answered = connection.request({ ...GET, method });
      await readRequest(server);
      await server.write(latin1(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${method === "HEAD" ? "" : "ok"}`));
      const { body } = await answered;
      if (method === "GET") {
        assertEquals(connection.reusable, false);
        await assertRejects(() => connection.request(GET), HttpError, "busy");
      }
      assertEquals(await new Response(body).text(), method === "HEAD" ? "" : "ok");
      assertEquals(connection.reusable, true);
    }
    const upgraded = connection.upgrade(UPGRADE);
    await readRequest(server);
    await server.write(latin1(`${SWITCH}first`));
    const { head, duplex } = await upgraded;
    assertEquals(head.status, 101);
    assertEquals(connection.reusable, false);
    await assertRejects(() => connection.request(GET), HttpError, "closed");
    await server.write(latin1(" second"));
    await server.closeWrite();
    assertEquals(await readAll(duplex), "first second");
    connection.close(); // Has nothing to say any more.
    await duplex.write(latin1("still open"));
    await duplex.closeWrite();
    assertEquals(await readAll(server), "still open");
    duplex.close();
  });
});

Deno.test("HttpConnection is not reusable when bytes that belong to no answer have come", async () => {
  await withConnection(async (connection, server) => {
    await server.write(latin1("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 408 Late\r\n\r\n"));
    assertEquals(await new Response((await connection.request(GET)).body).text(), "ok");
    assertEquals(connection.reusable, false);
  });
});

for (const [name, answer, reads] of [["upgrade", SWITCH, UPGRADE], ["tunnel", TUNNEL, CONNECT]] as const) {
  Deno.test(`HttpConnection.${name}() gives every byte behind the head, cut at every byte`, async () => {
    const all = `${answer}\x81\x05hello`;
    for (let cut = 0; cut <= all.length; cut++) {
      const connection = new HttpConnection(scripted([all.slice(0, cut), all.slice(cut), "rest"], { end: true }));
      const duplex = name === "upgrade" ? (await connection.upgrade(reads)).duplex : await connection.tunnel(reads);
      assertEquals(await readAll(duplex), "\x81\x05hellorest", `cut at ${cut}`);
      duplex.close();
    }
  });
}

Deno.test("HttpConnection.upgrade() gives the body of a refusal without a length that comes in three pieces", async () => {
  const pieces = [
    "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\r\n",
    '{"kind":',
    '"Status",',
    '"code":403}',
  ];
  const connection = new HttpConnection(scripted(pieces, { end: true }));
  const error = await assertRejects(() => connection.upgrade(UPGRADE), UpgradeRefusedError, "403 Forbidden");
  assertEquals([error.status, error.statusText], [403, "Forbidden"]);
  assertEquals(error.headers.get("content-type"), "application/json");
  assertEquals(JSON.parse(error.body), { kind: "Status", code: 403 });
  assertEquals(connection.reusable, false);
});

Deno.test("HttpConnection.upgrade() keeps what came of a refusal that breaks off, hangs or never ends", async () => {
  const head = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 900000\r\n\r\n";
  for (const end of [true, false]) {
    const connection = new HttpConnection(scripted([head, "some of it"], { end }));
    const error = await assertRejects(() => connection.upgrade(UPGRADE, { timeout: 50 }), UpgradeRefusedError);
    assertEquals(error.body, "some of it");
  }
  const endless = new HttpConnection(scripted([head, ..."x".repeat(100).split("").map((x) => x.repeat(1000))], {}));
  assertEquals((await assertRejects(() => endless.upgrade(UPGRADE), UpgradeRefusedError)).body, "x".repeat(64 * 1024));
});

Deno.test("HttpConnection.upgrade() refuses a switch to what was not asked for", async () => {
  for (const fields of ["", "Upgrade: websocket\r\n", "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"]) {
    const connection = new HttpConnection(scripted([`HTTP/1.1 101 Switching\r\n${fields}\r\n`], {}));
    await assertRejects(() => connection.upgrade(UPGRADE), UpgradeRefusedError, "101");
  }
  const connection = new HttpConnection(scripted([SWITCH], {}));
  await assertRejects(() => connection.request(GET), HttpError, "without being asked");
});

Deno.test("HttpConnection.tunnel() takes any 2xx and refuses the rest", async () => {
  const open = new HttpConnection(scripted(["HTTP/1.1 299 Fine\r\nContent-Length: 5\r\n\r\nhello"], { end: true }));
  assertEquals(await readAll(await open.tunnel(CONNECT)), "hello"); // RFC 9110 section 9.3.6: no content.
  for (const status of [304, 407, 502]) {
    const connection = new HttpConnection(scripted([`HTTP/1.1 ${status} No\r\nContent-Length: 5\r\n\r\nhello`], {}));
    assertEquals((await assertRejects(() => connection.tunnel(CONNECT), UpgradeRefusedError)).status, status);
    assertEquals(connection.reusable, false);
  }
});

Deno.test("HttpConnection.request() refuses what is not HTTP/1.1", async () => {
  for (
    const [answer, part] of [
      ["SSH-2.0-OpenSSH_9.2p1\r\n", "not an HTTP/1.1 answer"],
      ["HTTP/2 200\r\n", "not an HTTP/1.1 answer"],
      ["HTTP/1.1 600 No\r\n\r\n", "not an HTTP/1.1 answer"],
      ["HTTP/1.1 20 No\r\n\r\n", "not an HTTP/1.1 answer"],
      ["HTTP/1.1 200 O\x01K\r\n\r\n", "not an HTTP/1.1 answer"],
      ["\r\nHTTP/1.1 200 OK\r\n\r\n", "not an HTTP/1.1 answer"],
      ["HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "malformed header line"],
      ["HTTP/1.1 200 OK\r\n: x\r\n\r\n", "malformed header line"],
      ["HTTP/1.1 200 OK\r\nA : x\r\n\r\n", "malformed header line"],
      ["HTTP/1.1 200 OK\r\nA: x\r\n folded\r\n\r\n", "malformed header line"],
      ["HTTP/1.1 200 OK\r\nA: x\0y\r\n\r\n", "malformed value of the header A"],
      ["HTTP/1.1 200 OK\r\nA: x\x01y\r\n\r\n", "malformed value of the header A"],
      ["HTTP/1.1 200 OK\r\nA: x\x7fy\r\n\r\n", "malformed value of the header A"],
      ["HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello", "malformed Content-Length"],
      ["HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "malformed Content-Length"],
      ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "malformed Content-Length"],
      ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 05\r\n\r\nhello", "malformed Content-Length"],
      ["HTTP/1.1 200 OK\r\nContent-Length: -5, -5\r\n\r\nhello", "malformed Content-Length"],
      ["HTTP/1.1 200 OK\r\nContent-Length: ,\r\n\r\nhello", "malformed Content-Length"],
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "unknown transfer coding"],
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 'malformed size of a chunk: "xyz"'],
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "malformed size of a chunk"],
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000000\r\n", "malformed size of a chunk"],
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 'malformed end of a chunk: "b"'],
      [`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${"x".repeat(1024)}`, "too long"],
      [`HTTP/1.1 200 OK\r\nA: ${"x".repeat(64 * 1024)}`, "too long"],
      [`HTTP/1.1 200 OK\r\n${"A: x\r\n".repeat(16 * 1024)}`, "too long"],
      ["HTTP/1.1 100 Continue\r\n\r\n".repeat(4096), "too long"],
    ] as const
  ) {
    const connection = new HttpConnection(scripted([answer], {}));
    const error = await assertRejects(
      async () => await new Response((await connection.request(GET)).body).text(),
      HttpError,
      part,
    );
    assert(error.message.length < 300, `${error.message.length} characters`);
    assertEquals(connection.reusable, false);
  }
});

Deno.test("HttpConnection.request() says how long a head may be", async () => {
  await withConnection(async (connection, server) => {
    const sending = server.write(latin1("HTTP/1.1 200 OK\r\n" + `A: ${"x".repeat(1000)}\r\n`.repeat(66))).catch(
      () => {},
    );
    await assertRejects(() => connection.request(GET), HttpError, "too many headers: more than 65536 bytes");
    await sending;
  });
});

Deno.test("HttpConnection.request() sends nothing that could be read as something else", async () => {
  for (
    const request of [
      { ...GET, method: "GET /" },
      { ...GET, method: "" },
      { ...GET, target: "" },
      { ...GET, target: "/ HTTP/1.1\r\nX: y" },
      { ...GET, target: "/\u{10a}" },
      { ...GET, headers: [["X: y\r\nZ", "secret"]] },
      { ...GET, headers: [["", "secret"]] },
      { ...GET, headers: [["Authorization", "secret\r\nX: y"]] },
      { ...GET, headers: [["Authorization", "secret\nX: y"]] },
      { ...GET, headers: [["Authorization", "secret\rX: y"]] },
      { ...GET, headers: [["Authorization", "secret\0"]] },
      { ...GET, headers: [["content-length", "3"]], body: latin1("secret") },
    ] as HttpRequest[]
  ) {
    await withConnection(async (connection, server) => {
      const error = await assertRejects(() => connection.request(request), TypeError, "Cannot send");
      assert(!error.message.includes("secret"), error.message);
      assertEquals(connection.reusable, true);
      connection.close();
      assertEquals(await readAll(server), "");
    });
  }
});

Deno.test("HttpConnection.request() gives up with the signal's reason, before, during and after the head", async () => {
  const reason = new Error("enough");
  await withConnection(async (connection) => {
    assertEquals(await assertRejects(() => connection.request(GET, { signal: AbortSignal.abort(reason) })), reason);
    assertEquals(connection.reusable, true);
  });
  for (
    const answer of ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"]
  ) {
    await withConnection(async (connection, server) => {
      await server.write(latin1(answer));
      const controller = new AbortController();
      const reading = connection.request(GET, { signal: controller.signal })
        .then(({ body }) => new Response(body).text());
      await readRequest(server);
      queueMicrotask(() => controller.abort(reason));
      assertEquals(await assertRejects(() => reading), reason);
      assertEquals(await readAll(server), "", "the connection is still open");
    });
  }
});

Deno.test("HttpConnection.request() gives up on a body that nobody is reading when the signal says so", async () => {
  await withConnection(async (connection, server) => {
    await server.write(latin1("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"));
    const controller = new AbortController();
    const { body } = await connection.request(GET, { signal: controller.signal });
    controller.abort(new Error("enough"));
    assertEquals((await assertRejects(() => new Response(body).text(), Error)).message, "enough");
  });
});

Deno.test("HttpConnection.request() lets go of the signal when the answer has been read", async () => {
  await withConnection(async (connection, server) => {
    const controller = new AbortController();
    await server.write(latin1("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    await new Response((await connection.request(GET, { signal: controller.signal })).body).text();
    controller.abort();
    assertEquals(connection.reusable, true);
  });
});

Deno.test("HttpConnection.request() gives up when there is no answer in time, without telling the query", async () => {
  for (const answer of ["", "HTTP/1.1 200 OK\r\nX:"]) {
    await withConnection(async (connection, server) => {
      await server.write(latin1(answer));
      const error = await assertRejects(() => connection.upgrade(UPGRADE, { timeout: 20 }), HttpError, "within 20 ms");
      assertStringIncludes(error.message, "GET /exec");
      assert(!error.message.includes("secret"));
    });
  }
});

Deno.test("HttpConnection.request() lets a body take longer than the answer may", async () => {
  await withConnection(async (connection, server) => {
    await server.write(latin1("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"));
    const { body } = await connection.request(GET, { timeout: 10 });
    const text = new Response(body).text();
    const { promise, resolve } = Promise.withResolvers<void>();
    setTimeout(resolve, 30); // Longer than the timeout under test.
    await promise;
    await server.write(latin1("k"));
    assertEquals(await text, "ok");
  });
});

Deno.test("HttpConnection.request() waits so long for a piece of the body, and does not count while nobody reads", async () => {
  await withConnection(async (connection, server) => {
    await server.write(latin1("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n1"));
    const { body } = await connection.request(GET, { timeout: 1, bodyTimeout: 20 });
    const reader = body.getReader();
    await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 40));
    await server.write(latin1("2"));
    assertEquals((await reader.read()).value?.length, 1);
    await assertRejects(
      () => reader.read(),
      HttpError,
      "the answer to GET /readyz stopped: nothing more of it within 20 ms",
    );
    assert(connection.closed);
  });
});

Deno.test("HttpConnection drops the connection when the body is cancelled", async () => {
  await withConnection(async (connection, server) => {
    await server.write(latin1("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"));
    const { body } = await connection.request(GET);
    await body.cancel();
    assertEquals(connection.reusable, false);
    await readRequest(server);
    assertEquals(await readAll(server), "");
  });
});

Deno.test("HttpConnection reads a body no faster than it is asked to", async () => {
  const [client, server] = duplexPair({ capacity: 1024 });
  const connection = new HttpConnection(client);
  let taken = 0;
  const sending = (async () => {
    await server.write(latin1("HTTP/1.1 200 OK\r\n\r\n"));
    for (;; taken += 1024) await server.write(new Uint8Array(1024));
  })();
  const { body } = await connection.request(GET);
  for (let i = 0; i < 100; i++) await Promise.resolve();
  assert(taken <= 4096, `${taken} bytes went out unread`);
  await body.cancel();
  await sending.catch(() => {}); // It has nobody to write to any more; whether it learns so is the pair's matter.
});
