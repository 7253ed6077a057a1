/** Request bodies in pieces (RFC 9112 section 7.1), and answers that come before their end. */
import { assertEquals, assertRejects } from "@std/assert";
import { duplexPair } from "../../lib/bytes/mod.ts";
import { HttpConnection, HttpError, type HttpRequest } from "../../lib/dial/mod.ts";
import { latin1, readAll } from "./harness.ts";

async function* pieces(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield await Promise.resolve(latin1(text));
}

function post(body: AsyncIterable<Uint8Array>, ...headers: HttpRequest["headers"]): HttpRequest {
  return { method: "POST", target: "/", headers: [["Host", "x"], ...headers], body };
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

Deno.test("HttpConnection.request() sends a body in pieces: in chunks, or as its Content-Length says", async () => {
  const rows: Array<[request: HttpRequest, sent: string]> = [
    [
      post(pieces("abc", "", "x".repeat(17))),
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
      `3\r\nabc\r\n11\r\n${"x".repeat(17)}\r\n0\r\n\r\n`,
    ],
    [
      post(pieces("abc", "de"), ["content-length", "5"]),
      "POST / HTTP/1.1\r\nHost: x\r\ncontent-length: 5\r\n\r\nabcde",
    ],
  ];
  for (const [request, sent] of rows) {
    const [client, server] = duplexPair();
    const connection = new HttpConnection(client);
    const answered = connection.request(request);
    const buffer = new Uint8Array(1024);
    let got = "";
    while (got.length < sent.length) {
      const n = await server.read(buffer);
      got += new TextDecoder().decode(buffer.subarray(0, n!));
    }
    assertEquals(got, sent);
    await server.write(latin1(OK));
    assertEquals(await new Response((await answered).body).text(), "ok");
    assertEquals(connection.reusable, true);
    connection.close();
  }
});

Deno.test("HttpConnection.request() has an answer before the body's end, and uses the connection no more", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpConnection(client);
  const more = Promise.withResolvers<void>();
  const body = async function* () {
    yield latin1("abc");
    await more.promise;
    yield latin1("def");
  };
  await server.write(latin1(OK));
  const answer = await connection.request(post(body()));
  assertEquals(await new Response(answer.body).text(), "ok");
  assertEquals([connection.reusable, connection.closed], [false, true]);
  more.resolve();
  assertEquals((await readAll(server)).endsWith("3\r\nabc\r\n"), true);
});

Deno.test("HttpConnection.request() tells the answer of a server that takes no more of the body", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpConnection({ ...methods(client), write: refuseAfter(client, 1) });
  await server.write(latin1("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
  assertEquals((await connection.request(post(pieces("abc", "def")))).status, 413);
});

Deno.test("HttpConnection.request() fails as its body does, and says no end of it", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpConnection(client);
  const body = async function* () {
    yield await Promise.resolve(latin1("abc"));
    throw new Error("the client went away");
  };
  await assertRejects(() => connection.request(post(body())), Error, "the client went away");
  assertEquals(connection.closed, true);
  assertEquals((await readAll(server)).endsWith("3\r\nabc\r\n"), true);
});

Deno.test("HttpConnection.request() counts the time for the answer from the body's last piece", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpConnection(client);
  const started = performance.now();
  const body = async function* () {
    while (performance.now() - started < 60) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      yield latin1("x");
    }
  };
  const reading = readAll(server);
  await assertRejects(
    () => connection.request(post(body()), { timeout: 40 }),
    HttpError,
    "no answer to POST / within 40 ms",
  );
  assertEquals(performance.now() - started >= 95, true);
  assertEquals((await reading).endsWith("0\r\n\r\n"), true);
});

Deno.test("HttpConnection.negotiate() has the answer of a server that refuses, body and all", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpConnection(client);
  const headers = [["Host", "x"], ["Connection", "Upgrade"], ["Upgrade", "websocket"]] as const;
  await server.write(latin1("HTTP/1.1 403 Forbidden\r\nX-A: 1\r\nx-a: 2 \r\nContent-Length: 2\r\n\r\nno"));
  const answer = await connection.negotiate({ method: "GET", target: "/", headers });
  if (!("body" in answer)) throw new Error("it was accepted");
  assertEquals([answer.status, answer.lines, await new Response(answer.body).text()], [
    403,
    [["X-A", "1"], ["x-a", "2"], ["Content-Length", "2"]],
    "no",
  ]);
  assertEquals(connection.closed, true, "whoever passes a refusal on may end the connection");
});

Deno.test("HttpConnection.negotiate() has the stream of a server that agrees, from its first byte", async () => {
  const [client, server] = duplexPair();
  const connection = new HttpConnection(client);
  const headers = [["Host", "x"], ["Connection", "Upgrade"], ["Upgrade", "websocket"]] as const;
  await server.write(
    latin1("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\nfirst"),
  );
  const upgraded = await connection.negotiate({ method: "GET", target: "/", headers });
  if ("body" in upgraded) throw new Error("it was refused");
  const buffer = new Uint8Array(5);
  await upgraded.duplex.read(buffer);
  assertEquals([upgraded.head.status, new TextDecoder().decode(buffer)], [101, "first"]);
  upgraded.duplex.close();
});

type Duplex = ReturnType<typeof duplexPair>[0];

function methods(duplex: Duplex): Duplex {
  return {
    read: (into) => duplex.read(into),
    write: (data) => duplex.write(data),
    closeWrite: () => duplex.closeWrite(),
    close: () => duplex.close(),
  };
}

/** Writes that fail after so many. */
function refuseAfter(duplex: Duplex, count: number): Duplex["write"] {
  let written = 0;
  return (data) => written++ < count ? duplex.write(data) : Promise.reject(new Error("broken pipe"));
}
