/** Which connection a request goes over, and what is sent again: against servers that say just what they are told to. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Duplex, duplexPair } from "../../lib/bytes/mod.ts";
import { ApiError, Cluster } from "../../lib/client/mod.ts";
import { isLongRunning } from "../../lib/client/transport.ts";
import { SocketTransport } from "../../lib/client/socket_transport.ts";
import { createDialer, HttpBreakError, HttpError } from "../../lib/dial/mod.ts";
import { denoFlags, ROOT } from "../offline/flags.ts";
import { within } from "../support/until.ts";
import {
  message,
  type RawConnection,
  type Script,
  SUCCESS,
  withCluster,
  withProxy,
  withRawServer,
} from "./raw_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Runs `work` with a transport to a server that does `script` on its nth connection. */
async function withTransport(
  script: (connection: RawConnection, n: number) => Promise<void>,
  work: (transport: SocketTransport) => Promise<void>,
  options: { readonly timeout?: number } = {},
): Promise<number> {
  let connections = 0;
  await withRawServer((connection) => script(connection, ++connections), async (server) => {
    const transport = new SocketTransport(new URL(server), createDialer(), options);
    try {
      await work(transport);
    } finally {
      transport.close();
    }
  });
  return connections;
}

async function get(transport: SocketTransport, path = "/", method = "GET"): Promise<string> {
  return await (await transport.request({ method, path, headers: [] })).text();
}

/** A connection to a server that answers whatever it reads with {@linkcode OK}. */
function okServer(): Duplex {
  const [client, server] = duplexPair();
  void (async () => {
    const buffer = new Uint8Array(1024);
    while (await server.read(buffer) !== null) await server.write(new TextEncoder().encode(OK));
    server.close();
  })();
  return client;
}

Deno.test("SocketTransport.request() never gives a connection to two requests, however close they come", async () => {
  for (let delay = 0; delay < 40; delay++) {
    const transport = new SocketTransport(new URL("http://x/"), () => Promise.resolve(okServer()));
    const first = get(transport);
    for (let i = 0; i < delay; i++) await Promise.resolve();
    assertEquals(await Promise.all([first, get(transport)]), ["ok", "ok"], `${delay} microtasks apart`);
    transport.close();
  }
});

Deno.test("SocketTransport.request() sends a GET again, and only that, when the idle connection had been closed", async () => {
  for (const [method, again] of [["GET", true], ["DELETE", false]] as const) {
    const connections = await withTransport(async (connection) => {
      await connection.head();
      await connection.write(OK);
      await connection.head().catch(() => {}); // Closed on the next one, unanswered.
    }, async (transport) => {
      assertEquals(await get(transport), "ok");
      if (again) assertEquals(await get(transport, "/", method), "ok");
      else await assertRejects(() => get(transport, "/", method), HttpError, "ended before an answer");
    });
    assertEquals(connections, again ? 2 : 1);
  }
});

Deno.test("SocketTransport.request() sends nothing again that was late or answered with nonsense", async () => {
  for (
    const [answer, words] of [["", "within 100 ms"], ["nonsense\r\n", "not an HTTP/1.1 answer"], [
      "HTTP",
      "line",
    ]] as const
  ) {
    const connections = await withTransport(async (connection) => {
      await connection.head();
      await connection.write(OK);
      await connection.head();
      await connection.write(answer);
      if (answer === "HTTP") await connection.closeWrite();
      await connection.gone();
    }, async (transport) => {
      assertEquals(await get(transport), "ok");
      await assertRejects(() => get(transport), HttpError, words);
    }, { timeout: 100 });
    assertEquals(connections, 1, `the answer ${JSON.stringify(answer)}`);
  }
});

Deno.test("SocketTransport.request() gives up on a body that stops, unless it is a watch's or a log's", async () => {
  const TIMEOUT = 100;
  const half: (connection: RawConnection) => Promise<void> = async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    await connection.gone();
  };
  await withTransport(half, async (transport) => {
    await assertRejects(
      () => get(transport, "/api?x=y"),
      HttpError,
      "the answer to GET /api stopped: nothing more of it",
    );
  }, { timeout: TIMEOUT });
  for (const path of ["/api/v1/pods?watch=true", "/api/v1/namespaces/x/pods/y/log?follow=true"]) {
    await withTransport(async (connection) => {
      await connection.head();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
      await new Promise((resolve) => setTimeout(resolve, 2 * TIMEOUT));
      await connection.write("k");
      await connection.gone();
    }, async (transport) => {
      assertEquals(await get(transport, path), "ok");
    }, { timeout: TIMEOUT });
  }
});

Deno.test("SocketTransport.request() sends a POST over another connection when the server has closed the idle one", async () => {
  const closed = Promise.withResolvers<void>();
  const connections = await withTransport(async (connection) => {
    await connection.head();
    await connection.write(OK);
    await connection.closeWrite();
    await connection.gone(); // That is how the server learns that the client has noticed.
    closed.resolve();
  }, async (transport) => {
    assertEquals(await get(transport), "ok");
    await within("the client notices the end of an idle connection", closed.promise);
    assertEquals(await get(transport, "/", "POST"), "ok");
  });
  assertEquals(connections, 2);
});

Deno.test("SocketTransport.request() drops an idle connection on which the server says something", async () => {
  const closed = Promise.withResolvers<void>();
  const connections = await withTransport(async (connection) => {
    await connection.head();
    await connection.write(OK);
    await new Promise((resolve) => setTimeout(resolve)); // A read of its own.
    await connection.write("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    await connection.gone();
    closed.resolve();
  }, async (transport) => {
    assertEquals(await get(transport), "ok");
    await within("the client closes the connection", closed.promise);
    assertEquals(await get(transport), "ok");
  });
  assertEquals(connections, 2);
});

Deno.test("SocketTransport does not trust a connection for long whose end nobody would notice, but with a GET", async () => {
  const now = performance.now;
  let connections = 0;
  // A dialer of somebody else's, whose duplex cannot be read while it is idle.
  const dial = () => {
    connections++;
    return Promise.resolve(okServer());
  };
  const transport = new SocketTransport(new URL("http://x/"), dial);
  try {
    await get(transport);
    for (const [method, idle, expected] of [["POST", 900, 1], ["GET", 2000, 1], ["POST", 2000, 2]] as const) {
      const began = performance.now();
      performance.now = () => began + idle;
      await get(transport, "/", method);
      assertEquals(connections, expected, `${method} after ${idle} ms`);
    }
  } finally {
    performance.now = now;
    transport.close();
  }
});

Deno.test("a session takes over a connection that was being read while it was idle, with every byte", async () => {
  let connections = 0;
  await withCluster(async (connection) => {
    connections++;
    await connection.head();
    await connection.write('HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{"metadata":{"name":"web"}}');
    await connection.accept();
    await connection.write(message(1, "all of it"));
    await connection.write(message(3, SUCCESS));
    await connection.closeFrame();
    await connection.gone();
  }, async (cluster) => {
    await cluster.pod("web").get();
    const { code, stdout } = await cluster.pod("web").exec(["cat"]).output();
    assertEquals([code, new TextDecoder().decode(stdout), connections], [0, "all of it", 1]);
  });
});

Deno.test("a script ends although it has not closed a cluster whose connection is idle", async () => {
  await withRawServer(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    await connection.gone();
  }, async (server) => {
    const script = `
      import { Cluster } from ${JSON.stringify(new URL("mod.ts", ROOT).href)};
      const cluster = new Cluster({ server: ${JSON.stringify(server)} });
      console.log(JSON.stringify(await cluster.get("/x")));`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", ...await denoFlags(), script],
      stdin: "null",
      stderr: "inherit",
    });
    const { code, stdout } = await within("the script ends", child.output(), 60_000);
    assertEquals([code, new TextDecoder().decode(stdout)], [0, "{}\n"]);
  });
});

Deno.test("SocketTransport.close() lets a request under way finish, and its connection ends then", async () => {
  const [asked, answer, gone] = [0, 0, 0].map(() => Promise.withResolvers<void>()) as PromiseWithResolvers<void>[];
  await withTransport(async (connection) => {
    await connection.head();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    asked!.resolve();
    await answer!.promise;
    await connection.write("k");
    await connection.gone();
    gone!.resolve();
  }, async (transport) => {
    const text = get(transport);
    await asked!.promise;
    transport.close();
    answer!.resolve();
    assertEquals(await text, "ok");
    await within("the connection ends with its answer", gone!.promise);
  });
});

Deno.test("SocketTransport.close() closes what is still being dialed when its answer has been read", async () => {
  const [dialing, dial] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const gone = Promise.withResolvers<void>();
  await withRawServer(async (connection) => {
    await connection.head();
    await connection.write(OK);
    await connection.gone();
    gone.resolve();
  }, async (server) => {
    const transport = new SocketTransport(new URL(server), async (endpoint): Promise<Duplex> => {
      dialing.resolve();
      await dial.promise;
      return await createDialer()(endpoint);
    });
    const text = get(transport);
    await dialing.promise;
    transport.close();
    dial.resolve();
    assertEquals(await text, "ok");
    await within("the connection is not kept", gone.promise);
  });
});

Deno.test("Cluster.close() leaves nothing of a request that has got no further than its credentials", async () => {
  const [asking, credentials, gone] = [0, 0, 0].map(() => Promise.withResolvers<void>()) as PromiseWithResolvers<
    void
  >[];
  await withRawServer(async (connection) => {
    await connection.head();
    await connection.write(OK.replace(/ok$/, "{}"));
    await connection.gone();
    gone!.resolve();
  }, async (server) => {
    const cluster = new Cluster({
      access: {
        server: new URL(server),
        namespace: "default",
        tls: {},
        credentials: {
          async headers() {
            asking!.resolve();
            await credentials!.promise;
            return [];
          },
          clientCertificate: () => Promise.resolve(undefined),
          invalidate() {},
        },
      },
    });
    const answer = cluster.get("/x");
    await asking!.promise;
    cluster.close();
    credentials!.resolve();
    assertEquals(await answer, {});
    await within("the connection is not kept", gone!.promise);
  });
});

Deno.test("Cluster.get() rejects with an HttpBreakError that names the request when the connection is reset", async () => {
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
  const half: Script = async (connection) => {
    await connection.head();
    await connection.write(answer);
    await connection.gone();
  };
  for (const after of [0, answer.length]) {
    await withRawServer(half, (raw) =>
      withProxy(raw, { how: "reset", after }, async (server) => {
        await using cluster = new Cluster({ server });
        const error = await assertRejects(
          () => cluster.get(`/${"0123456789abcdef".repeat(2)}/api?secret=1`),
          HttpBreakError,
          "the connection broke before the answer to GET /<masked>/api was whole: connection reset by peer",
        );
        assert(error.cause instanceof Deno.errors.ConnectionReset);
      }));
  }
});

Deno.test("Cluster.get() and Resource say so when an answer is not JSON, and do not quote it", async () => {
  const page = "<!doctype html><title>hunter2</title>";
  await withRawServer(async (connection) => {
    for (const type of ["Content-Type: text/html; charset=utf-8\r\n", ""]) {
      await connection.head();
      await connection.write(`HTTP/1.1 200 OK\r\n${type}Content-Length: ${page.length}\r\n\r\n${page}`);
    }
    await connection.gone();
  }, async (server) => {
    await using cluster = new Cluster({ server });
    const first = await assertRejects(() => cluster.get("/x?y=z"), ApiError);
    assertEquals([first.code, first.message], [200, "the answer to GET /x is not JSON (text/html)"]);
    const maps = cluster.resource({ version: "v1", plural: "configmaps", namespace: "shop" });
    const second = await assertRejects(() => maps.patch("colours", {}), ApiError);
    assertEquals(
      second.message,
      "the answer to PATCH /api/v1/namespaces/shop/configmaps/colours is not JSON (no content type)",
    );
    for (const error of [first, second]) assert(!Deno.inspect(error).includes("hunter2"));
  });
});

Deno.test("isLongRunning() knows watches, logs and proxies", () => {
  const NS = "/api/v1/namespaces/log";
  for (
    const path of [
      `${NS}/pods?watch=1`,
      `${NS}/pods?a=b&watch=true`,
      `${NS}/pods?a=b?c&watch=1`,
      `${NS}/pods/x/log`,
      `${NS}/pods/x/proxy/y`,
    ]
  ) {
    assert(isLongRunning(path), path);
  }
  for (
    const path of [`${NS}/pods`, `${NS}/pods?watch=false`, `${NS}/pods?watch=0`, `${NS}/pods/log`, `${NS}/pods?x=watch`]
  ) {
    assert(!isLongRunning(path), path);
  }
});
