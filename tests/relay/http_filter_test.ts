/** The HTTP path allow-list. */
import { assert, assertEquals, assertMatch, assertNotMatch, assertRejects } from "@std/assert";
import { type Duplex, duplexPair } from "../../lib/bytes/mod.ts";
import { RelayError } from "../../lib/relay/errors.ts";
import { filterHttp } from "../../lib/relay/http_filter.ts";
import { HTTP_DEADLINES, type HttpDeadlines } from "../../lib/relay/http_request.ts";
import { ask, Ground, readAll, Server, writeAll } from "./harness.ts";

const ANY = { address: "tcp:127.0.0.1:0" };
const METRICS = { paths: ["/metrics"] };

/** An HTTP server that notes what it is asked, byte by byte. */
function webServer(answer: (request: string) => string): { readonly server: Server; readonly heads: string[] } {
  const heads: string[] = [];
  const server = new Server(async (conn) => {
    let text = "";
    const buffer = new Uint8Array(4096);
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
      text += new TextDecoder().decode(buffer.subarray(0, n));
      for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
        const head = text.slice(0, end + 4);
        text = text.slice(end + 4);
        heads.push(head);
        const reply = answer(head);
        await writeAll(conn, reply);
        if (/connection: close/i.test(reply)) return;
      }
    }
  });
  return { server, heads };
}

const sized = (body: string) =>
  `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

async function filtered(answer: (request: string) => string) {
  const { server, heads } = webServer(answer);
  const ground = await Ground.start({
    name: "it",
    listen: ANY,
    target: { address: `tcp:127.0.0.1:${server.port}` },
    http: METRICS,
  });
  return {
    heads,
    ground,
    async [Symbol.asyncDispose]() {
      await ground[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

const get = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;

Deno.test("the filter passes an allowed path on, with its query and its own headers", async () => {
  await using it = await filtered(() => sized("up 1\n"));
  const sent = get(
    "/metrics?name[]=up",
    "Authorization: Bearer t\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n",
  );
  assertEquals(await ask(await it.ground.connect(), sent), sized("up 1\n").replace(/(Content-Length: 5)/, "$1"));
  assertEquals(it.heads, ["GET /metrics?name[]=up HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n"]);
});

Deno.test("the filter passes on what a scraper says, and nothing that could make a target read another request", async () => {
  await using it = await filtered(() => sized(""));
  const scraper = [
    "User-Agent: Prometheus/3.5.0",
    "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
    "Accept-Encoding: gzip",
    "authorization: Bearer t",
    "X-Prometheus-Scrape-Timeout-Seconds: 10",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "If-None-Match: x",
    "Range: bytes=0-",
  ].map((line) => `${line}\r\n`).join("");
  const rewriting = [
    "X-Original-URL: /secrets",
    "X-Rewrite-URL: /secrets",
    "X-HTTP-Method-Override: DELETE",
    "X-Forwarded-Prefix: /secrets",
    "Impersonate-User: root",
    "Cookie: a=b",
    "Expect: 100-continue",
    "Content-Length: 0",
  ].map((line) => `${line}\r\n`).join("");
  await ask(await it.ground.connect(), get("/metrics", rewriting + scraper));
  assertEquals(it.heads, [get("/metrics", scraper)]);
});

Deno.test("the filter asks with one Host, whatever the client's Connection says, and if it has none", async () => {
  await using it = await filtered(() => sized(""));
  await ask(await it.ground.connect(), get("/metrics", "Connection: Host, accept\r\nAccept: */*\r\n"));
  await ask(await it.ground.connect(), "GET /metrics HTTP/1.0\r\n\r\n");
  const hosts = ["x.y_z-1:80", "10.0.0.1:", "[::1]:9090", ""];
  for (const host of hosts) await ask(await it.ground.connect(), get("/metrics").replace("x", host));
  assertEquals(it.heads, [
    get("/metrics"),
    ...["localhost", ...hosts].map((host) => get("/metrics").replace("x", host)),
  ]);
});

Deno.test("the filter counts bytes from the target, not answers of its own", async () => {
  await using it = await filtered(() => sized("up 1\n"));
  for (const text of [get("/secrets"), get("/metrics").replace("GET", "PUT"), "?\r\n\r\n"]) {
    assertMatch(await ask(await it.ground.connect(), text), /^HTTP\/1\.1 4/);
  }
  assertEquals(it.ground.metric("bytes_total", `direction="from"`), 0);
  const answer = await ask(await it.ground.connect(), get("/metrics"));
  assertEquals(it.ground.metric("bytes_total", `direction="from"`), answer.length);
});

/** Filters `client` alone: what counts is how long it lets itself be waited for. */
function waitFor(client: Duplex, deadlines: Partial<HttpDeadlines>, target?: Duplex): Promise<void> {
  return filterHttp({
    client,
    connect: () => target ? Promise.resolve(target) : Promise.reject(new Error("nothing to ask")),
    paths: METRICS.paths,
    out: () => {},
    back: () => {},
    fail: () => {},
    signal: new AbortController().signal,
    deadlines: { ...HTTP_DEADLINES, ...deadlines },
  });
}

/** All that comes, until the other side ends. */
async function drain(from: Duplex): Promise<string> {
  const buffer = new Uint8Array(4096);
  let text = "";
  for (let n = await from.read(buffer); n !== null; n = await from.read(buffer)) {
    text += new TextDecoder().decode(buffer.subarray(0, n));
  }
  return text;
}

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("the filter gives up a client that connects and asks for nothing", async () => {
  const [, client] = duplexPair();
  const { reason } = await assertRejects(() => waitFor(client, { head: 20 }), RelayError, "asked for nothing");
  assertEquals(reason, "idle");
});

Deno.test("the filter refuses a head that comes too slowly, also the second one of a connection", async () => {
  for (const before of ["", get("/secrets")]) {
    const [peer, client] = duplexPair();
    await peer.write(bytes(`${before}GET /metr`));
    await waitFor(client, { head: 20 });
    assertMatch(await drain(peer), /HTTP\/1\.1 400 [^]*longer than 20 ms\n$/);
  }
});

Deno.test("the filter ends a connection on which nothing more is asked, without an error", async () => {
  const [peer, client] = duplexPair();
  await peer.write(bytes(get("/secrets")));
  await waitFor(client, { kept: 20 });
  assertMatch(await drain(peer), /^HTTP\/1\.1 403 [^]*relay\n$/);
});

Deno.test("the filter gives up a client that does not take its answer, and the target with it", async () => {
  for (const path of ["/secrets", "/metrics"]) {
    const [peer, client] = duplexPair({ capacity: 64 });
    const [server, target] = duplexPair();
    await peer.write(bytes(get(path)));
    await server.write(bytes(sized("x".repeat(1024))));
    const { reason } = await assertRejects(() => waitFor(client, { write: 20 }, target), RelayError, "took nothing");
    assertEquals(reason, "idle");
    if (path === "/metrics") assertEquals(await drain(server), get(path));
  }
});

Deno.test("the filter checks each request of a connection that is kept, also those sent ahead", async () => {
  await using it = await filtered((head) => sized(head.split(" ")[0] ?? ""));
  const answers = await ask(
    await it.ground.connect(),
    get("/metrics") + get("/secrets") + get("/metrics") + get("/metrics/") + get("/metrics", "Connection: close\r\n"),
  );
  assertEquals(
    answers.match(/HTTP\/1\.1 \d+/g),
    ["200", "403", "200", "403", "200"].map((status) => `HTTP/1.1 ${status}`),
  );
  assertEquals(it.heads.length, 3);
  assertEquals(it.ground.metric("errors_total", `reason="forbidden"`), 2);
});

Deno.test("the filter answers 403 to every path that is not the allowed one, however it is written", async () => {
  await using it = await filtered(() => sized(""));
  const paths = [
    "/",
    "/metrics/",
    "//metrics",
    "/Metrics",
    "/metrics/../secrets",
    "/secrets/../metrics",
    "/%6detrics",
    "/metrics%00",
    "/metrics;x",
    "/./metrics",
    "/metrics%3fx",
  ];
  for (const path of paths) assertMatch(await ask(await it.ground.connect(), get(path)), /^HTTP\/1\.1 403 /, path);
  assertEquals(it.heads, []);
});

Deno.test("the filter answers 405 to other methods, and HEAD without a body", async () => {
  await using it = await filtered(() => "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
  for (const method of ["POST", "DELETE", "OPTIONS", "TRACE"]) {
    const answer = await ask(await it.ground.connect(), get("/metrics").replace("GET", method));
    assertMatch(answer, /^HTTP\/1\.1 405 [^]*Allow: GET, HEAD\r\n/);
  }
  assertEquals(it.heads, []);
  const head = get("/metrics").replace("GET", "HEAD");
  assertEquals(await ask(await it.ground.connect(), head), "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
});

Deno.test("the filter refuses what two readers could read in two ways, and ends the connection", async () => {
  await using it = await filtered(() => sized(""));
  const smuggled = get("/secrets");
  const bad = [
    get("/metrics", "Content-Length: 44\r\n") + smuggled,
    get("/metrics", "Transfer-Encoding: chunked\r\n") + `0\r\n\r\n${smuggled}`,
    get("/metrics", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
    get("/metrics", "Content-Length: 0\r\nContent-Length: 0\r\n"),
    get("/metrics", "Content-Length: +0\r\n"),
    get("/metrics", "Transfer-Encoding : chunked\r\n"),
    get("/metrics", "Transfer-Encoding:\x0bchunked\r\n"),
    get("/metrics", "X: a\r\n b\r\n"),
    get("/metrics", "X: a\nY: b\r\n"),
    get("/metrics", "X: a\rY: b\r\n"),
    get("/metrics", "X: \0\r\n"),
    get("/metrics", "X\r\n"),
    get("/metrics", ": x\r\n"),
    get("/metrics", "Host: y\r\n"),
    ...["x/secrets?", "x#", "x?", "x\\", "x, y", "u@x", "a b", "[x]", "x:/", "%2f"].map((host) =>
      get("/metrics").replace("Host: x", `Host: ${host}`)
    ),
    "GET /metrics HTTP/1.1\r\n\r\n",
    "GET /metrics HTTP/1.1\n\n",
    "GET  /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /metrics HTTP/1.1 \r\nHost: x\r\n\r\n",
    "GET /metrics HTTP/2.0\r\nHost: x\r\n\r\n",
    "GET /metrics\r\n\r\n",
    "GET http://x/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /metrics#x HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /metrics\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    get("/metrics", `X: ${"a".repeat(17_000)}\r\n`),
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
  ];
  for (const text of bad) {
    const answer = await ask(await it.ground.connect(), text + smuggled).catch((error: Error) => error.name);
    // A reset may overtake the answer when more was sent than was read.
    assert(/^HTTP\/1\.1 400 [^]*Connection: close/.test(answer) || answer === "ConnectionReset", `${text}: ${answer}`);
    assertEquals(answer.includes("HTTP/1.1 403"), false, text);
  }
  assertEquals(it.heads, []);
  assertEquals(it.ground.metric("errors_total", `reason="bad_request"`), bad.length);
});

Deno.test("the filter passes on answers in chunks, without a length, and to HTTP/1.0", async () => {
  const answers = [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde",
  ];
  for (const answer of answers) {
    await using it = await filtered(() => answer);
    const modern = await ask(await it.ground.connect(), get("/metrics"));
    assertMatch(modern, /^HTTP\/1\.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n/);
    const body = modern.split("\r\n\r\n").slice(1).join("\r\n\r\n").replace(/[0-9a-f]+\r\n([a-e]*)\r\n/g, "$1");
    assertEquals(body, "abcde");
    const old = await ask(await it.ground.connect(), "GET /metrics HTTP/1.0\r\n\r\n");
    assertEquals(old, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde");
  }
});

Deno.test("the filter lets a client see that an answer ended early", async () => {
  await using it = await filtered(() =>
    "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"
  );
  const answer = await ask(await it.ground.connect(), get("/metrics"));
  assertEquals(answer.endsWith("5\r\nabcde\r\n"), true, answer);
  assertEquals(it.ground.metric("errors_total", `reason="bad_answer"`), 1);
});

Deno.test("the filter answers 502 if the target is down or does not speak HTTP", async () => {
  await using it = await filtered(() => "SSH-2.0-x\r\n\r\n");
  assertMatch(await ask(await it.ground.connect(), get("/metrics")), /^HTTP\/1\.1 502 /);
  await using down = await Ground.start({
    name: "it",
    listen: ANY,
    target: { address: "unix:FOLDER/nobody.sock" },
    http: METRICS,
  });
  const answer = await ask(await down.connect(), get("/metrics"));
  assertMatch(answer, /^HTTP\/1\.1 502 /);
  assertEquals(answer.includes("nobody.sock"), false);
  assertEquals(down.metric("errors_total", `reason="connect"`), 1);
});

Deno.test("the filter answers 502 if the target's head has characters that no head may have, and goes on", async () => {
  let asked = 0;
  await using it = await filtered(() => {
    const first = asked++ === 0;
    return first ? sized("up 1\n").replace("plain", "plain\x01") : sized("up 2\n");
  });
  const answer = await ask(await it.ground.connect(), get("/metrics") + get("/metrics", "Connection: close\r\n"));
  assertMatch(answer, /^HTTP\/1\.1 502 Bad Gateway\r\n[^]*\nHTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nup 2\n$/);
  assertEquals([answer.includes("\x01"), answer.includes("up 1")], [false, false]);
  assertEquals(it.ground.metric("errors_total", `reason="bad_answer"`), 1);
});

Deno.test("the filter asks again on a new connection if the target has ended the one that was kept", async () => {
  let requests = 0;
  await using server = new Server(async (conn) => {
    await conn.read(new Uint8Array(4096)); // One request, one answer that promises more, and the end.
    requests++;
    await writeAll(conn, sized("x"));
  });
  await using ground = await Ground.start({
    name: "it",
    listen: ANY,
    target: { address: `tcp:127.0.0.1:${server.port}` },
    http: METRICS,
  });
  using conn = await ground.connect();
  const buffer = new Uint8Array(4096);
  for (let i = 0; i < 3; i++) {
    await writeAll(conn, get("/metrics"));
    const n = await conn.read(buffer) ?? 0;
    assertMatch(new TextDecoder().decode(buffer.subarray(0, n)), /^HTTP\/1\.1 200 /);
  }
  await conn.closeWrite();
  assertEquals(await readAll(conn), "");
  assertEquals(requests, 3);
});

Deno.test("the filter lets nothing but allowed requests reach the target, whatever is done to the bytes", async () => {
  await using it = await filtered(() => sized("x"));
  let seed = 1;
  const random = (below: number) => (seed = (seed * 48271) % 0x7fffffff) % below;
  const parts = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    "/",
    "%2e",
    "..",
    "?",
    "#",
    "GET /secrets HTTP/1.1\r\nHost: x\r\n\r\n",
  ];
  const more = [
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: y\r\n",
    "Connection: close\r\n",
    "HTTP/1.0",
  ];
  const all = [...parts, ...more];
  for (let i = 0; i < 1_000; i++) {
    let text = get("/metrics") + get("/metrics?x", "A: b\r\n");
    for (let left = 1 + random(3); left > 0; left--) {
      const at = random(text.length);
      text = text.slice(0, at) + all[random(all.length)] + text.slice(at + random(3));
    }
    await ask(await it.ground.connect(), text).catch(() => ""); // A reset may overtake the answer.
  }
  assert(it.heads.length > 100, `${it.heads.length}`);
  for (const head of it.heads) {
    assertMatch(head, /^GET \/metrics(\?\S*)? HTTP\/1\.1\r\n([^\s:]+: [\t\x20-\x7e]*\r\n)+\r\n$/);
    assertNotMatch(head, /^(transfer-encoding|content-length|connection):/im);
    assertEquals(head.match(/^host:/gim)?.length, 1);
  }
});
