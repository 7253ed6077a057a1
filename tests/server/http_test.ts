import { assertEquals, assertRejects } from "@std/assert";
import { duplexPair, PodwireError } from "../../lib/bytes/mod.ts";
import { type HttpLimits, HttpRequestError, HttpServerConnection } from "../../lib/server/http.ts";

const encode = (text: string) => new TextEncoder().encode(text);

async function serve(sent: string, limits?: HttpLimits) {
  const [client, server] = duplexPair();
  await client.write(encode(sent));
  await client.closeWrite();
  return { client, connection: new HttpServerConnection(server, limits) };
}

async function readAll(client: { read(into: Uint8Array): Promise<number | null> }): Promise<string> {
  const buffer = new Uint8Array(1024);
  let text = "";
  for (let n = await client.read(buffer); n !== null; n = await client.read(buffer)) {
    text += new TextDecoder().decode(buffer.subarray(0, n));
  }
  return text;
}

async function statusOf(sent: string, limits?: HttpLimits): Promise<number> {
  const { connection } = await serve(sent, limits);
  const error = await assertRejects(async () => {
    await connection.next();
    await connection.body();
  }, HttpRequestError);
  return (error as HttpRequestError).status;
}

Deno.test("next() takes a request apart", async () => {
  const { connection } = await serve(
    "\r\nGET /api/v1/pods?limit=500&x=a?b HTTP/1.1\r\nHost: a:1\r\naccept:  */* \r\nX: 1\r\nx: 2, Three\r\n\r\n",
  );
  const request = (await connection.next())!;
  assertEquals([request.method, request.path, request.query], ["GET", "/api/v1/pods", "limit=500&x=a?b"]);
  assertEquals(request.minorVersion, 1);
  assertEquals(request.headers.get("Accept"), "*/*");
  assertEquals(request.headers.get("x"), "1");
  assertEquals(request.headers.tokens("X"), ["1", "2", "three"]);
  assertEquals(await connection.next(), undefined);
});

Deno.test("next() takes an absolute target and HTTP/1.0", async () => {
  const { connection } = await serve("GET http://host:80/a?b HTTP/1.0\r\n\r\n");
  const request = (await connection.next())!;
  assertEquals([request.path, request.query, request.minorVersion], ["/a", "b", 0]);
  assertEquals(await connection.next(), undefined);
});

Deno.test("next() serves requests that come at once, and reads the bodies that nobody read", async () => {
  const { connection } = await serve(
    "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
      "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n" +
      "GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n",
  );
  assertEquals((await connection.next())?.path, "/1");
  assertEquals((await connection.next())?.path, "/2");
  assertEquals(new TextDecoder().decode(await connection.body()), "abcde");
  assertEquals((await connection.next())?.path, "/3");
  assertEquals(await connection.next(), undefined);
});

Deno.test("next() and body() refuse what is no request", async () => {
  const host = "Host: a\r\n";
  const cases: Array<[string, number, HttpLimits?]> = [
    ["GET /\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\n\r\n", 400], // No Host.
    [`GET / HTTP/1.1\r\n${host}${host}\r\n`, 400],
    [`GET / HTTP/2.0\r\n${host}\r\n`, 505],
    [`GET x HTTP/1.1\r\n${host}\r\n`, 400],
    [`GET  / HTTP/1.1\r\n${host}\r\n`, 400],
    [`G(T / HTTP/1.1\r\n${host}\r\n`, 400],
    [`GET / HTTP/1.1\r\n${host}A : b\r\n\r\n`, 400],
    [`GET / HTTP/1.1\r\n${host}A: b\r\n c\r\n\r\n`, 400], // A folded line.
    [`GET / HTTP/1.1\r\n${host}A: b\nC: d\r\n\r\n`, 400],
    [`GET / HTTP/1.1\r\n${host}A: b\0\r\n\r\n`, 400],
    [`GET / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, 400],
    [`GET / HTTP/1.1\r\n${host}Content-Length: -1\r\n\r\n`, 400],
    [`GET / HTTP/1.1\r\n${host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    [`GET / HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n\r\n`, 501],
    [`GET / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\nxx\r\n`, 400],
    [`GET / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n1\r\nabc`, 400],
    [`GET / HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nab`, 400],
    [`GET / HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nabcde`, 413, { body: 4 }],
    [`GET / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n`, 413, { body: 4 }],
    [`GET /${"a".repeat(100)} HTTP/1.1\r\n${host}\r\n`, 431, { head: 100 }],
    [`GET /${"a".repeat(100)}`, 431, { head: 100 }],
    ["GET / HT", 400],
  ];
  for (const [sent, status, limits] of cases) assertEquals(await statusOf(sent, limits), status, sent);
});

Deno.test("next() gives up on a silent client", async () => {
  for (const [sent, limits] of [["", { idle: 10 }], ["GET / HT", { request: 10 }]] as const) {
    const [client, server] = duplexPair();
    await client.write(encode(sent));
    const connection = new HttpServerConnection(server, limits);
    await assertRejects(() => connection.next(), PodwireError, "the connection is closed");
    await assertRejects(() => client.write(encode("x")));
  }
});

Deno.test("body() tells a waiting client to go on", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpServerConnection(server);
  await client.write(encode("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"));
  await connection.next();
  const body = connection.body();
  const buffer = new Uint8Array(100);
  const n = await client.read(buffer);
  assertEquals(new TextDecoder().decode(buffer.subarray(0, n!)), "HTTP/1.1 100 Continue\r\n\r\n");
  await client.write(encode("ab"));
  assertEquals(new TextDecoder().decode(await body), "ab");
});

Deno.test("respond() writes an answer, without a body where there must be none", async () => {
  for (
    const [method, status, expected] of [
      ["GET", 200, "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"],
      ["HEAD", 200, "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"],
      ["GET", 204, "HTTP/1.1 204 No Content\r\nA: b\r\nConnection: close\r\n\r\n"],
    ] as const
  ) {
    const [client, server] = duplexPair();
    const connection = new HttpServerConnection(server);
    await client.write(encode(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`));
    await connection.next();
    await connection.respond({ status, headers: [["A", "b"]], body: "body", close: true });
    await server.closeWrite();
    assertEquals((await readAll(client)).replace(/Date: .*GMT\r\n/, ""), expected);
  }
});

Deno.test("upgrade() hands over what came behind the request", async () => {
  const { client, connection } = await serve("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\nfirst bytes");
  await connection.next();
  const duplex = await connection.upgrade([["Upgrade", "x"]]);
  const buffer = new Uint8Array(5);
  assertEquals(await duplex.read(buffer), 5);
  assertEquals(new TextDecoder().decode(buffer), "first");
  assertEquals(await readAll(duplex), " bytes");
  await duplex.closeWrite();
  assertEquals(await readAll(client), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
  assertEquals(await connection.next(), undefined);
});

Deno.test("watchClient() tells that the client is gone, and what it had sent is not lost", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpServerConnection(server);
  await client.write(encode("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab"));
  await connection.next();
  const gone = connection.watchClient();
  await client.write(encode("cGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"));
  assertEquals(new TextDecoder().decode(await connection.body()), "abc");
  await connection.respond({ status: 200 });
  assertEquals((await connection.next())?.path, "/2");
  const second = connection.watchClient();
  await client.closeWrite();
  await new Promise((resolve) => second.addEventListener("abort", resolve));
  assertEquals([gone.aborted, (second.reason as Error).name], [false, "ClientGoneError"]);
});

Deno.test("upgrade() hands over what comes while the client is watched", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpServerConnection(server);
  await client.write(encode("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n"));
  await connection.next();
  connection.watchClient(); // A read is under way from here on.
  const duplex = await connection.upgrade([["Upgrade", "x"]]);
  await client.write(encode("first"));
  const buffer = new Uint8Array(3);
  assertEquals([await duplex.read(buffer), new TextDecoder().decode(buffer)], [3, "fir"]);
  await client.write(encode("second"));
  await client.closeWrite();
  assertEquals(await readAll(duplex), "stsecond");
});

Deno.test("upgrade() reads no further ahead", async () => {
  const [client, server] = duplexPair();
  let reads = 0;
  const connection = new HttpServerConnection({
    read: (into) => {
      reads++;
      return server.read(into);
    },
    write: (data) => server.write(data),
    closeWrite: () => server.closeWrite(),
    close: () => server.close(),
  });
  await client.write(encode("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n"));
  await connection.next();
  connection.watchClient();
  const duplex = await connection.upgrade([["Upgrade", "x"]]);
  const buffer = new Uint8Array(5);
  for (const text of ["first", "again"]) {
    await client.write(encode(text));
    assertEquals([await duplex.read(buffer), new TextDecoder().decode(buffer)], [5, text]);
  }
  assertEquals(reads, 3); // The head, and each text: none is under way.
});

Deno.test("stream() gives a body of any length as it comes", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpServerConnection(server, { body: 1 });
  await client.write(encode("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
  await connection.next();
  assertEquals(connection.hasBody, true);
  const pieces = connection.stream();
  assertEquals(new TextDecoder().decode((await pieces.next()).value!), "abc");
  await client.write(encode("1\r\nd"));
  assertEquals(new TextDecoder().decode((await pieces.next()).value!), "d");
  await client.write(encode("\r\n0\r\n\r\n"));
  assertEquals([(await pieces.next()).done, connection.received, connection.hasBody], [true, 4, false]);
});

Deno.test("stream() gives up on a client that falls silent", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpServerConnection(server, { idle: 10 });
  await client.write(encode("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab"));
  await connection.next();
  await assertRejects(() => Array.fromAsync(connection.stream()), PodwireError, "the connection is closed");
});

Deno.test("respond() sends pieces as they come, in the way that the client knows", async () => {
  const body = async function* () {
    yield await Promise.resolve(encode("ab"));
    yield encode("");
    yield encode("c");
  };
  const rows = [
    ["HTTP/1.1", {}, "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", "/2"],
    ["HTTP/1.1", { "Content-Length": "3" }, "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\n\r\nabc", "/2"],
    ["HTTP/1.0", {}, "HTTP/1.1 200 Fine\r\nConnection: close\r\n\r\nabc", undefined],
    [
      "HTTP/1.0",
      { "Content-Length": "3" },
      "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
      "/2",
    ],
  ] as const;
  for (const [version, headers, expected, next] of rows) {
    const keep = version === "HTTP/1.0" ? "Connection: keep-alive\r\n" : "";
    const second = `GET /2 ${version}\r\nHost: a\r\n\r\n`;
    const { client, connection } = await serve(`GET / ${version}\r\nHost: a\r\n${keep}\r\n${second}`);
    await connection.next();
    await connection.respond({ status: 200, reason: "Fine", headers: Object.entries(headers), body: body() });
    assertEquals([connection.sent, (await connection.next())?.path], [3, next]);
    const buffer = new Uint8Array(1024);
    let got = "";
    while (got.length < expected.length) {
      got += new TextDecoder().decode(buffer.subarray(0, (await client.read(buffer))!));
    }
    assertEquals(got.replace(/Date: .*GMT\r\n/, "").slice(0, expected.length), expected);
  }
});

Deno.test("finish() makes the current request the last one", async () => {
  const { connection } = await serve("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  await connection.next();
  connection.finish();
  await connection.respond({ status: 200 });
  assertEquals(await connection.next(), undefined);
});
