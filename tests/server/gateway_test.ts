// Who a gateway lets in, what it says by itself, and how it ends.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { connect as connectTls } from "node:tls";
import type { Authorizer } from "../../lib/server/authorization.ts";
import { type AccessRecord, ListenError, serveGateway, serveHost } from "../../lib/server/mod.ts";
import type { Script } from "../client/raw_server.ts";
import { accessTo, ask, authorized, RawRequest, statusLine, withGateway } from "./gateway_ground.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Answers one request. */
const answer = (text: string): Script => async (connection) => {
  await connection.head();
  await connection.write(text);
};

/** An upstream that must not be asked. */
const never: Script = () => Promise.reject(new Error("the request reached the upstream"));

Deno.test("a gateway lets nobody in over TCP without its token", async () => {
  await withGateway(never, async (gateway) => {
    const { token } = gateway;
    assertMatch(token!, /^[\w-]{32}$/);
    const rows = [
      ["/api", ""],
      ["/api", "Authorization: Bearer wrong\r\n"],
      ["/api", `Authorization: Basic ${token}\r\n`],
      [`/${token}x/api`, ""],
      [`//${token}/api`, ""],
      [`/x/../${token}/api`, ""],
      [`/%2f${token}/api`, ""],
      [`/api/${token}`, ""],
      [`/api?token=${token}`, ""],
      ["/healthz", ""],
      ["/readyz", ""],
      ["/metrics", ""],
    ];
    for (const [path, line] of rows) {
      const got = await ask(gateway, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${line}\r\n`);
      assertEquals(statusLine(got), "HTTP/1.1 401 Unauthorized", `${path} ${line}`);
      assertEquals(got.includes(token!), false);
    }
  });
});

Deno.test("a gateway takes its token as a header, in the path, and among a WebSocket's subprotocols", async () => {
  for (const how of ["header", "path", "subprotocol"] as const) {
    const seen: string[] = [];
    await withGateway(async (connection) => {
      const head = await connection.head();
      seen.push(head.startLine, ...head.headers.map(([name, value]) => `${name}: ${value}`));
      await connection.write(OK);
    }, async (gateway) => {
      const { token } = gateway;
      const encoded = new TextEncoder().encode(token!).toBase64({ alphabet: "base64url", omitPadding: true });
      const line = {
        header: `Authorization: Bearer ${token}\r\n`,
        path: "",
        subprotocol: `Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.${encoded}\r\n`,
      }[how];
      const path = how === "path" ? `/${token}/version?x=1` : "/version?x=1";
      const got = await ask(gateway, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${line}\r\n`);
      assertEquals(statusLine(got), "HTTP/1.1 200 OK");
      assertEquals(seen[0], "GET /version?x=1 HTTP/1.1");
      assertEquals(seen.filter((line) => line.includes(token!) || line.includes(encoded)), []);
      assertEquals(seen.filter((line) => /^authorization/i.test(line)), ["Authorization: Bearer upstream-secret"]);
    });
  }
});

Deno.test("a page gets nothing from a gateway: neither by its origin nor by a name that it made lead here", async () => {
  await withGateway(never, async (gateway) => {
    const token = `Authorization: Bearer ${gateway.token}\r\n`;
    const rows = [
      "Host: attacker.example\r\n",
      "Host: 127.0.0.1.attacker.example\r\n",
      "Host: localhost.attacker.example:80\r\n",
      "Host: localhost\r\nOrigin: https://attacker.example\r\n",
      "Host: localhost\r\nOrigin: null\r\n",
      `Host: localhost\r\nOrigin: ${gateway.url.origin}\r\n`,
    ];
    for (const lines of rows) {
      const got = await ask(gateway, `GET /api HTTP/1.1\r\n${lines}${token}Connection: close\r\n\r\n`);
      assertEquals(statusLine(got), "HTTP/1.1 403 Forbidden", lines);
      assertEquals(got.toLowerCase().includes("access-control-allow-origin"), false, lines);
    }
    const preflight = "Access-Control-Request-Method: DELETE\r\nOrigin: https://attacker.example\r\n";
    const got = await ask(gateway, `OPTIONS /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${preflight}\r\n`);
    assertEquals(statusLine(got), "HTTP/1.1 403 Forbidden");
  });
});

Deno.test("a page of an allowed origin may read a gateway's answers", async () => {
  await withGateway(answer(OK.replace("\r\n\r\n", "\r\nAccess-Control-Allow-Origin: *\r\n\r\n")), async (gateway) => {
    const origin = "Origin: https://page.example";
    const preflight = await ask(
      gateway,
      `OPTIONS /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${origin}\r\n` +
        "Access-Control-Request-Method: PATCH\r\nAccess-Control-Request-Headers: authorization\r\n\r\n",
    );
    assertEquals(statusLine(preflight), "HTTP/1.1 204 No Content");
    assertStringIncludes(preflight, "Access-Control-Allow-Headers: authorization\r\n");
    assertMatch(preflight, /Access-Control-Allow-Methods: .*PATCH/);
    const got = await ask(gateway, authorized(gateway, "GET", "/api", origin));
    assertEquals(got.match(/access-control-allow-origin: .*\r\n/gi), [
      "Access-Control-Allow-Origin: https://page.example\r\n",
    ]);
  }, { allowOrigins: ["https://page.example"] });
});

Deno.test("a gateway's unix socket is its owner's alone, and needs no token", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/gateway.sock`;
    await withGateway(answer(OK), async (gateway) => {
      assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
      assertEquals([gateway.token, gateway.url.href], [undefined, "http://podwire-gateway/"]);
      const { cluster } = JSON.parse(gateway.kubeconfig).clusters[0];
      assertEquals(cluster, { server: "http://podwire-gateway/", "via-unix-socket": path });
      const got = await ask(gateway, "GET /api HTTP/1.1\r\nHost: any.name\r\nConnection: close\r\n\r\n");
      assertEquals(statusLine(got), "HTTP/1.1 200 OK");
    }, { listen: { path } });
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a gateway listens on loopback only, unless it speaks TLS", async () => {
  await assertRejects(
    () => serveGateway({ access: accessTo("http://127.0.0.1:1"), listen: { hostname: "0.0.0.0", port: 0 } }),
    ListenError,
    "not an address of this machine's loopback",
  );
});

Deno.test("a gateway speaks TLS with a certificate that it is given", async () => {
  const cert = await Deno.readTextFile(new URL("../dial/testdata/server.crt", import.meta.url));
  const key = await Deno.readTextFile(new URL("../dial/testdata/server.key", import.meta.url));
  const ca = await Deno.readTextFile(new URL("../dial/testdata/ca.crt", import.meta.url));
  await withGateway(answer(OK), async (gateway) => {
    assertEquals(gateway.url.href, `https://127.0.0.1:${gateway.url.port}/`);
    const config = JSON.parse(gateway.kubeconfig);
    assertEquals(atob(config.clusters[0].cluster["certificate-authority-data"]), cert);
    assertEquals(config.users[0].user.token, gateway.token);
    using client = Deno.createHttpClient({ caCerts: [ca] });
    const headers = { Authorization: `Bearer ${gateway.token}` };
    assertEquals(await (await fetch(new URL("/api", gateway.url), { client, headers })).text(), "ok");
    const refused = await fetch(new URL("/api", gateway.url), { client });
    assertEquals([refused.status, (await refused.json()).reason], [401, "Unauthorized"]);
  }, { certificate: { cert, key } });
});

Deno.test("a client that ends its TLS without a close_notify, as Node's does, has ended", async () => {
  const cert = await Deno.readTextFile(new URL("../dial/testdata/server.crt", import.meta.url));
  const key = await Deno.readTextFile(new URL("../dial/testdata/server.key", import.meta.url));
  const ca = await Deno.readTextFile(new URL("../dial/testdata/ca.crt", import.meta.url));
  const over = Promise.withResolvers<AccessRecord>();
  await withGateway(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n");
    await connection.gone();
  }, async (gateway) => {
    const { port, hostname } = gateway.url;
    const lines = ["Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"];
    const client = connectTls({ host: hostname, port: Number(port), ca });
    client.write(authorized(gateway, "POST", "/api/v1/namespaces/n/pods/p/exec?command=c", ...lines));
    client.once("data", () => client.destroy());
    const { status, error } = await over.promise;
    assertEquals([status, error], [101, undefined]);
  }, { certificate: { cert, key }, onRequest: over.resolve });
});

Deno.test("a gateway passes no impersonation on, and does not act as itself instead", async () => {
  await withGateway(never, async (gateway) => {
    const got = await ask(gateway, authorized(gateway, "GET", "/api", "impersonate-User: bob"));
    assertEquals(statusLine(got), "HTTP/1.1 403 Forbidden");
    assertStringIncludes(got, "passes no impersonation on");
  });
});

Deno.test("a gateway passes nothing on that shows its credentials, or that it cannot look into", async () => {
  await withGateway(never, async (gateway) => {
    const rows: Array<[status: number, request: string]> = [
      [405, authorized(gateway, "TRACE", "/api")],
      [400, authorized(gateway, "CONNECT", "kubernetes:443")],
      [400, authorized(gateway, "OPTIONS", "*")],
      [
        400,
        authorized(gateway, "GET", "/api", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"),
      ],
    ];
    for (const [status, request] of rows) {
      assertEquals(statusLine(await ask(gateway, request)).split(" ")[1], String(status), request);
    }
  });
});

Deno.test("a gateway repeats nothing in the head of an answer that could end it", async () => {
  await withGateway(never, async (gateway) => {
    // The last bytes of these characters are CR and LF.
    const split = "x\u010d\u010aSet-Cookie: a=b\u010d\u010a\u010d\u010aHTTP/1.1 200 OK";
    const got = await ask(
      gateway,
      `OPTIONS /api HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: GET\r\n` +
        `Access-Control-Request-Headers: ${split}\r\nConnection: close\r\n\r\n`,
    );
    assertEquals(statusLine(got), "HTTP/1.1 204 No Content");
    assertEquals(got.includes("Set-Cookie"), false);
    const named = await ask(
      gateway,
      "OPTIONS /api HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: GET\r\n" +
        "Access-Control-Request-Headers: authorization, x-stream\r\nConnection: close\r\n\r\n",
    );
    assertStringIncludes(named, "Access-Control-Allow-Headers: authorization, x-stream\r\n");
  });
});

Deno.test("a gateway passes no path on that leads out of its upstream's, with an authorizer or without", async () => {
  for (const authorize of [undefined, () => ({ allowed: true } as const)]) {
    await withGateway(never, async (gateway) => {
      for (const path of ["/../x", "/api/..", "/api/./x", "/%2e%2E/x", "/api/.%2e/x", "/api%2f..%2fx", "/api/..%5cx"]) {
        const got = await ask(gateway, authorized(gateway, "GET", path));
        assertEquals(statusLine(got), "HTTP/1.1 400 Bad Request", path);
      }
    }, authorize ? { authorize } : {});
  }
});

Deno.test("a gateway asks its upstream for the upgrade that it has judged, and for no other", async () => {
  const asked: string[] = [];
  await withGateway(async (connection) => {
    const { headers } = await connection.head();
    asked.push(...headers.filter(([name]) => name.toLowerCase() === "upgrade").map(([, value]) => value));
    await connection.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  }, async (gateway) => {
    const path = "/api/v1/namespaces/n/pods/p/portforward";
    const lines = [
      "Connection: Upgrade",
      "Upgrade: h2c",
      "Upgrade: spdy/3.1",
      "X-Stream-Protocol-Version: portforward.k8s.io",
    ];
    await ask(gateway, authorized(gateway, "POST", path, ...lines));
  });
  assertEquals(asked, ["SPDY/3.1", "websocket"], "itself, then what it is translated to");
});

Deno.test("a gateway whose token is empty does not start", async () => {
  await assertRejects(
    () => serveGateway({ access: accessTo("http://127.0.0.1:1"), listen: { port: 0 }, token: "" }),
    TypeError,
    "empty",
  );
});

Deno.test("a gateway that is to let pages in which there cannot be does not start", async () => {
  const access = accessTo("http://127.0.0.1:1");
  const none = [
    "*",
    "null",
    "page.example",
    "https://page.example/",
    "https://page.example:443",
    "HTTPS://Page.example",
  ];
  for (const origin of none) {
    const starting = () => serveGateway({ access, listen: { port: 0 }, allowOrigins: [origin] });
    await assertRejects(starting, TypeError, `${JSON.stringify(origin)} is no origin`);
  }
  const allowOrigins = ["https://page.example", "http://localhost:8080", "chrome-extension://abcdefgh"];
  await using _ = await serveGateway({ access, listen: { port: 0 }, allowOrigins });
});

Deno.test("/healthz is the gateway's, /readyz also the upstream's", async () => {
  await withGateway(never, async (gateway) => {
    const got = await ask(gateway, authorized(gateway, "GET", "/healthz"));
    assertMatch(got, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nok$/);
    assertEquals(
      statusLine(await ask(gateway, authorized(gateway, "POST", "/healthz"))),
      "HTTP/1.1 405 Method Not Allowed",
    );
  });
  const rows = [
    [OK, 200, "ok"],
    ["HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nbad", 503, "/readyz answers 500"],
  ] as const;
  for (const [upstream, status, text] of rows) {
    await withGateway(async (connection) => {
      assertEquals((await connection.head()).startLine, "GET /readyz HTTP/1.1");
      await connection.write(upstream);
    }, async (gateway) => {
      const got = await ask(gateway, authorized(gateway, "GET", "/readyz"));
      assertStringIncludes(statusLine(got), String(status));
      assertStringIncludes(got, text);
    });
  }
  await using gateway = await serveGateway({ access: accessTo("http://127.0.0.1:1"), listen: { port: 0 } });
  const got = await ask(gateway, authorized(gateway, "GET", "/readyz"));
  assertMatch(got, /^HTTP\/1\.1 503 [^]*127\.0\.0\.1:1/);
});

Deno.test("a gateway tells of every request, without secrets", async () => {
  await withGateway(answer(OK), async (gateway, records) => {
    await ask(gateway, authorized(gateway, "GET", `/${gateway.token}/api/v1/pods?command=secret`));
    await ask(gateway, `GET /${gateway.token}x/api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    const text = JSON.stringify(records);
    assertEquals([text.includes(gateway.token!), text.includes("secret")], [false, false]);
    const [first, second] = records;
    assert(first!.time instanceof Date && first!.milliseconds >= 0);
    assertEquals(
      [first!.client, first!.method, first!.path, first!.status, first!.received, first!.sent, first!.error],
      [
        "127.0.0.1",
        "GET",
        "/api/v1/pods",
        200,
        0,
        2,
        undefined,
      ],
    );
    assertEquals([second!.path, second!.status, second!.error], ["/<masked>/api", 401, "Unauthorized"]);
  });
});

Deno.test("/metrics counts what a gateway has done", async () => {
  await withGateway(answer(OK), async (gateway) => {
    await ask(gateway, authorized(gateway, "GET", "/api"));
    await ask(gateway, "GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    const got = await ask(gateway, authorized(gateway, "GET", "/metrics"));
    assertStringIncludes(got, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    const lines = [
      'podwire_gateway_request_duration_seconds_count{method="GET",code="200"} 1',
      'podwire_gateway_request_duration_seconds_count{method="GET",code="401"} 1',
      'podwire_gateway_failures_total{reason="Unauthorized"} 1',
      "podwire_gateway_connections 1",
    ];
    for (const line of lines) assertStringIncludes(got, `\n${line}\n`);
  });
});

Deno.test("a gateway asks its authorizer about every request but for its own health", async () => {
  const asked: string[] = [];
  const authorize: Authorizer = ({ verb, resource, subresource, namespace, name, path }) => {
    asked.push([verb, resource || path, subresource, namespace, name].join(" ").trim());
    if (name === "broken") throw new Error("no answer");
    return name === "mine" && verb !== "create" ? { allowed: true } : { allowed: false, reason: "" };
  };
  await withGateway(answer(OK), async (gateway) => {
    const pods = "/api/v1/namespaces/n/pods";
    const rows: Array<[method: string, path: string, status: number, asked: string[]]> = [
      ["GET", "/healthz", 200, []],
      ["GET", "/metrics", 403, ["get /metrics"]],
      ["GET", `${pods}/mine`, 200, ["get pods  n mine"]],
      ["GET", pods, 403, ["list pods  n"]],
      ["GET", `${pods}/broken`, 500, ["get pods  n broken"]],
      ["GET", `${pods}/mine/exec?command=true`, 403, ["get pods exec n mine", "create pods exec n mine"]],
      ["POST", `${pods}/mine/attach`, 403, ["create pods attach n mine"]],
      ["GET", `${pods}/../pods/mine`, 400, []],
      ["GET", `${pods}/x%2f..%2fmine`, 400, []],
      ["GET", `/${pods}/mine`, 400, []],
      ["GET", `${pods}/%2e%2e/pods/mine`, 400, []],
    ];
    for (const [method, path, status, questions] of rows) {
      asked.length = 0;
      const upgrade = path.includes("exec") ? ["Connection: Upgrade", "Upgrade: websocket"] : [];
      const got = await ask(gateway, authorized(gateway, method, path, ...upgrade));
      assertEquals([statusLine(got).split(" ")[1], asked], [String(status), questions], path);
      if (status >= 400) assertEquals(JSON.parse(got.slice(got.indexOf("\r\n\r\n"))).code, status);
    }
  }, { authorize });
});

Deno.test("a gateway refuses discovery in plain words, because kubectl shows no Status there", async () => {
  const authorize: Authorizer = () => ({ allowed: false, reason: "" });
  await withGateway(never, async (gateway) => {
    for (const path of ["/api", "/api/v1", "/apis", "/apis/apps/v1", "/openapi/v3", "/version"]) {
      const got = await ask(gateway, authorized(gateway, "GET", path));
      assertEquals(statusLine(got), "HTTP/1.1 403 Forbidden");
      assert(got.endsWith(`\r\n\r\nforbidden: the client cannot get path "${path}"\n`), got);
    }
    for (const path of ["/api/v1/pods", "/apis/apps/v1/deployments"]) {
      assertStringIncludes(await ask(gateway, authorized(gateway, "GET", path)), '{"kind":"Status"');
    }
  }, { authorize });
});

Deno.test("a gateway's client creates nothing by an update or an apply without the right to create", async () => {
  const asked: string[] = [];
  const authorize: Authorizer = ({ verb, name }) => {
    return verb !== "create" || name === "mine" ? { allowed: true } : { allowed: false, reason: "" };
  };
  await withGateway(async (connection) => {
    const { startLine } = await connection.head();
    const [method, path = ""] = startLine.split(" ");
    asked.push(`${method} ${path.slice(path.lastIndexOf("/") + 1)}`);
    const status = method === "GET" && path.endsWith("/absent") ? "404 Not Found" : "200 OK";
    await connection.write(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  }, async (gateway) => {
    const apply = "Content-Type: application/apply-patch+yaml";
    const merge = "Content-Type: application/merge-patch+json";
    const rows: Array<[method: string, name: string, type: string, status: string, asked: string[]]> = [
      ["PUT", "absent", "X: y", "403", ["GET absent"]],
      ["PUT", "there", "X: y", "200", ["GET there", "PUT there?x=y"]],
      ["PUT", "mine", "X: y", "200", ["PUT mine?x=y"]],
      ["PATCH", "absent", apply, "403", ["GET absent"]],
      ["PATCH", "absent", `${merge}\r\n${apply}`, "403", ["GET absent"]],
      ["PATCH", "there", apply, "200", ["GET there", "PATCH there?x=y"]],
      ["PATCH", "absent", merge, "200", ["PATCH absent?x=y"]],
      ["PATCH", "absent/status", apply, "200", ["PATCH status?x=y"]],
    ];
    for (const [method, name, type, status, questions] of rows) {
      asked.length = 0;
      const got = await ask(gateway, authorized(gateway, method, `/api/v1/namespaces/n/services/${name}?x=y`, type));
      assertEquals([statusLine(got).split(" ")[1], asked], [status, questions], `${method} ${name} ${type}`);
      if (status === "403") assertStringIncludes(got, 'cannot create resource \\"services\\"');
    }
  }, { authorize });
});

Deno.test("drain() lets requests under way finish, and takes no further ones", async () => {
  const finish = Promise.withResolvers<void>();
  await withGateway(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    await finish.promise;
    await connection.write("3\r\ntwo\r\n0\r\n\r\n");
  }, async (gateway) => {
    using idle = await RawRequest.open(gateway, "");
    const keepAlive = authorized(gateway, "GET", "/healthz").replace("Connection: close\r\n", "");
    await idle.send(keepAlive);
    await idle.until("\r\n\r\nok"); // It is being served, and now idle.
    using busy = await RawRequest.open(gateway, keepAlive.replace("/healthz", "/watch"));
    await busy.until("one\r\n");
    const drained = gateway.drain(60_000);
    await idle.until();
    await assertRejects(() => RawRequest.open(gateway, ""), Deno.errors.ConnectionRefused);
    finish.resolve();
    assertStringIncludes(await busy.until(), "3\r\ntwo\r\n0\r\n\r\n");
    await drained;
    await gateway.finished;
  });
});

Deno.test("drain() ends what takes too long, and its upstream's side", async () => {
  const gone = Promise.withResolvers<void>();
  await withGateway(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    await connection.gone();
    gone.resolve();
  }, async (gateway, records) => {
    using busy = await RawRequest.open(gateway, authorized(gateway, "GET", "/watch"));
    await busy.until("one\r\n");
    await gateway.drain(10);
    await gone.promise;
    assertEquals((await busy.until()).endsWith("0\r\n\r\n"), false); // It must not look like its end.
    assertEquals([records[0]!.status, records[0]!.error], [200, "the server has ended"]);
  });
});

Deno.test("a gateway ends with a client that reads nothing", async () => {
  const piece = `4000\r\n${"x".repeat(0x4000)}\r\n`;
  await withGateway(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    try {
      for (;;) await connection.write(piece);
    } catch {
      // The gateway has gone.
    }
  }, async (gateway) => {
    using stalled = await RawRequest.open(gateway, authorized(gateway, "GET", "/watch"));
    await stalled.until("xxxx");
    await gateway.drain(0);
  });
});

Deno.test("a signal ends a gateway", async () => {
  const ended = new AbortController();
  await using gateway = await serveGateway({
    access: accessTo("http://127.0.0.1:1"),
    listen: { port: 0 },
    signal: ended.signal,
  });
  ended.abort();
  await gateway.finished;
  await assertRejects(
    () => serveGateway({ access: accessTo("http://127.0.0.1:1"), listen: { port: 0 }, signal: ended.signal }),
    DOMException,
  );
});

Deno.test("a gateway in front of the embedded host shows its pods", async () => {
  await using host = await serveHost({ listen: { port: 0 } });
  await using gateway = await serveGateway({ access: accessTo(host.url), listen: { port: 0 } });
  const headers = { Authorization: `Bearer ${gateway.token}` };
  const response = await fetch(`${gateway.url.origin}/api/v1/namespaces/default/pods`, { headers });
  assertEquals((await response.json()).items[0].metadata.name, "demo");
});

Deno.test("a bug ends one connection, and is told", async () => {
  const bugs: unknown[] = [];
  const bug = new TypeError("the log is full");
  await withGateway(never, async (gateway) => {
    const request = `GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${gateway.token}\r\n\r\n`;
    for (let i = 0; i < 2; i++) assertEquals(statusLine(await ask(gateway, request)), "HTTP/1.1 200 OK");
    assertEquals(bugs, [bug, bug]);
  }, {
    onBug: (error) => bugs.push(error),
    onRequest: () => {
      throw bug;
    },
  });
});
