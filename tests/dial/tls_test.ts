/**
 * TLS by each of the three ways that there are: `Deno.startTls`, `Deno.connectTls` and `node:tls`.
 * The certificates are described in testdata/README.md.
 */
import type { Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { assert, assertEquals, assertLess, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import type { Duplex } from "../../lib/bytes/mod.ts";
import { createDialer, type DialerOptions, DialError, type Endpoint } from "../../lib/dial/mod.ts";
import { denoFlags } from "../offline/flags.ts";
import { within } from "../support/until.ts";
import {
  assertEchoes,
  assertEndsSeparately,
  close,
  duplexOf,
  echo,
  latin1,
  portOf,
  readAll,
  silentPeer,
  testdata,
  withServer,
  withSocketPath,
} from "./harness.ts";

const MIB = 1024 * 1024;
const CA = { caCerts: [testdata("ca.crt")] };
const CLIENT = { cert: testdata("client.crt"), key: testdata("client.key") };
const withCertificate: DialerOptions = { clientCertificate: () => Promise.resolve(CLIENT) };

interface Way {
  readonly name: string;
  /** The server's certificate. */
  readonly server: "server" | "named" | "expired";
  readonly hostname: string;
  readonly options: DialerOptions;
  readonly unix?: boolean;
  /** What the server sees: the certificate's name, the name asked for. */
  readonly seen: string;
}

const WAYS: readonly Way[] = [
  { name: "an IPv4 address", server: "server", hostname: "127.0.0.1", options: { tls: CA }, seen: "- -" },
  { name: "an IPv6 address", server: "server", hostname: "::1", options: { tls: CA }, seen: "- -" },
  { name: "a name", server: "server", hostname: "localhost", options: { tls: CA }, seen: "- localhost" },
  {
    name: "no authority besides its own",
    server: "server",
    hostname: "localhost",
    options: { tls: { ...CA, onlyCaCerts: true } },
    seen: "- localhost",
  },
  {
    name: "another server name",
    server: "named",
    hostname: "127.0.0.1",
    options: { tls: { ...CA, serverName: "cluster.test" } },
    seen: "- cluster.test",
  },
  {
    name: "a client certificate and an IPv4 address",
    server: "server",
    hostname: "127.0.0.1",
    options: { tls: CA, ...withCertificate },
    seen: "client -",
  },
  {
    name: "a client certificate and an IPv6 address",
    server: "server",
    hostname: "::1",
    options: { tls: CA, ...withCertificate },
    seen: "client -",
  },
  {
    name: "a client certificate and a name",
    server: "server",
    hostname: "localhost",
    options: { tls: CA, ...withCertificate },
    seen: "client localhost",
  },
  {
    name: "a client certificate and another server name",
    server: "named",
    hostname: "127.0.0.1",
    options: { tls: { ...CA, serverName: "cluster.test" }, ...withCertificate },
    seen: "client cluster.test",
  },
  {
    name: "an address for another server name",
    server: "server",
    hostname: "localhost",
    options: { tls: { ...CA, serverName: "127.0.0.1" }, ...withCertificate },
    seen: "client -",
  },
  {
    name: "nothing verified",
    server: "expired",
    hostname: "127.0.0.1",
    options: { tls: { insecureSkipVerify: true } },
    seen: "- -",
  },
  {
    name: "nothing verified and a client certificate",
    server: "named",
    hostname: "localhost",
    options: { tls: { insecureSkipVerify: true }, ...withCertificate },
    seen: "client localhost",
  },
  {
    name: "a unix socket",
    server: "server",
    hostname: "localhost",
    options: { tls: CA },
    unix: true,
    seen: "- localhost",
  },
  {
    name: "a unix socket, a client certificate and another server name",
    server: "named",
    hostname: "127.0.0.1",
    options: { tls: { ...CA, serverName: "cluster.test" }, ...withCertificate },
    unix: true,
    seen: "client cluster.test",
  },
];

/** The server's certificate and key, for Deno's listeners and for Node's. */
function certificate(name: Way["server"]): { cert: string; key: string } {
  return { cert: testdata(`${name}.crt`), key: testdata(`${name}.key`) };
}

/** A server of `node:tls`, which can ask for a client's certificate, while `use` runs. */
async function withNodeServer(
  name: Way["server"],
  where: { readonly host: string; readonly port: number } | { readonly path: string },
  serve: (socket: TLSSocket) => void,
  use: (port: number) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer({
    ...certificate(name),
    ca: CA.caCerts,
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ["h2", "http/1.1"],
    allowHalfOpen: true,
  }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}); // The client's side of it is what is tested.
    serve(socket);
  });
  server.on("connection", (socket) => sockets.add(socket)); // Not every one comes to a handshake.
  await new Promise<void>((resolve) => server.listen(where, resolve));
  try {
    const address = server.address();
    await use(typeof address === "object" && address ? address.port : 0);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Says whom the client claims to be, whom it asked for and what it wants to speak; then ends. */
function introduce(socket: TLSSocket): void {
  const name = socket.authorized ? socket.getPeerCertificate().subject.CN : "-";
  const asked = (socket as TLSSocket & { servername?: string | false }).servername || "-";
  socket.resume();
  socket.end(`${name} ${asked} ${socket.alpnProtocol}`);
}

for (const way of WAYS) {
  Deno.test(`createDialer() speaks TLS by ${way.name}: certificate, SNI and ALPN`, async () => {
    await withSocketPath(async (path) => {
      const where = way.unix ? { path } : { host: way.hostname === "::1" ? "::1" : "127.0.0.1", port: 0 };
      await withNodeServer(way.server, where, introduce, async (port) => {
        const options = way.unix ? { ...way.options, unixSocket: path } : way.options;
        const duplex = await createDialer(options)({ hostname: way.hostname, port, tls: true });
        assertEquals(await readAll(duplex), `${way.seen} http/1.1`);
        duplex.close();
      });
    });
  });

  Deno.test(`createDialer() speaks TLS by ${way.name}: 16 MiB there and back, and both ends`, async () => {
    const listener = Deno.listenTls({
      hostname: way.hostname === "::1" ? "::1" : "127.0.0.1",
      port: 0,
      ...certificate(way.server),
    });
    const use = async (options: DialerOptions) => {
      const duplex = await createDialer(options)({ hostname: way.hostname, port: portOf(listener), tls: true });
      await assertEchoes(duplex, 16 * MIB);
    };
    await withServer(listener, echo, async () => {
      if (!way.unix) return await use(way.options);
      await withSocketPath(async (path) => {
        await withRelay(Deno.listen({ transport: "unix", path }), portOf(listener), async () => {
          await use({ ...way.options, unixSocket: path });
        });
      });
    });
  });
}

/** Hands on what comes at `listener` to a port, both ways, with both ends. */
async function withRelay(
  listener: Deno.Listener<Deno.Conn>,
  port: number,
  use: () => Promise<void>,
  meet?: (incoming: Deno.Conn) => void,
): Promise<void> {
  await withServer(listener, async (incoming) => {
    meet?.(incoming);
    const onward = await Deno.connect({ hostname: "127.0.0.1", port });
    try {
      await Promise.all([pass(incoming, onward), pass(onward, incoming)]);
    } finally {
      close(onward);
    }
  }, use);
}

async function pass(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const target = duplexOf(to);
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (let n; (n = await from.read(buffer)) !== null;) await target.write(buffer.subarray(0, n));
    await target.closeWrite();
  } catch {
    close(from); // One broken direction breaks the other, as a real relay's does.
    close(to);
  }
}

/** The three ways, for what each must do by itself. */
const IMPLEMENTATIONS: ReadonlyArray<readonly [name: string, options: DialerOptions]> = [
  ["Deno.startTls", {}],
  ["Deno.connectTls", withCertificate],
  ["node:tls", { ...withCertificate, tls: { serverName: "localhost" } }],
];

for (const [name, options] of IMPLEMENTATIONS) {
  const dialTls = (tls: DialerOptions["tls"], more: DialerOptions = {}) =>
    createDialer({ ...options, ...more, tls: { ...tls, ...options.tls } });

  Deno.test(`${name}: the directions end separately`, async () => {
    const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate("server") });
    const endpoint = { hostname: "localhost", port: portOf(listener), tls: true };
    await assertEndsSeparately(listener, () => dialTls(CA)(endpoint));
  });

  Deno.test(`${name}: closing rejects a read under way, and is felt by the peer`, async () => {
    const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate("server") });
    const gone = Promise.withResolvers<void>();
    const serve = async (conn: Deno.Conn) => {
      await readAll(duplexOf(conn)).then(() => gone.resolve(), () => gone.resolve());
    };
    await withServer(listener, serve, async () => {
      const duplex = await dialTls(CA)({ hostname: "localhost", port: portOf(listener), tls: true });
      const reading = duplex.read(new Uint8Array(1));
      duplex.close();
      duplex.close();
      await assertRejects(() => reading);
      await assertRejects(() => duplex.read(new Uint8Array(1)));
      await assertRejects(() => duplex.write(latin1("x")));
      await assertRejects(() => duplex.closeWrite());
      await gone.promise;
    });
  });

  Deno.test(`${name}: nothing is read ahead without bound while nobody reads`, async () => {
    const total = 64 * MIB;
    let sent = 0;
    const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate("server") });
    const serve = async (conn: Deno.Conn) => {
      const piece = new Uint8Array(64 * 1024);
      while (sent < total) sent += await conn.write(piece.subarray(0, total - sent));
      await conn.closeWrite();
      await readAll(duplexOf(conn));
    };
    await withServer(listener, serve, async () => {
      const duplex = await dialTls(CA)({ hostname: "localhost", port: portOf(listener), tls: true });
      const buffer = new Uint8Array(64 * 1024);
      let received = (await duplex.read(buffer))!;
      // Until the server has been stuck for 200 ms.
      for (let quiet = 0, before = -1; quiet < 10; quiet = sent === before ? quiet + 1 : 0) {
        before = sent;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assertLess(sent, 16 * MIB, "the server could send on and on");
      for (let n; (n = await duplex.read(buffer)) !== null;) received += n;
      assertEquals(received, total);
      duplex.close();
    });
  });

  for (
    const [fault, server, hostname, tls, text] of [
      [
        "an authority that is not trusted",
        "server",
        "localhost",
        { caCerts: [testdata("other-ca.crt")] },
        "(certificate-authority)",
      ],
      ["another name in the certificate", "named", "localhost", CA, "(tls-server-name)"],
      ["an expired certificate", "expired", "localhost", CA, "expired"],
    ] as const
  ) {
    Deno.test(`${name}: ${fault} is an error that says so`, async () => {
      const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate(server) });
      await withServer(listener, echo, async () => {
        const address = `${hostname}:${portOf(listener)}`;
        const dialing = dialTls(tls)({ hostname, port: portOf(listener), tls: true });
        const error = await assertRejects(() => dialing, DialError, `no TLS with ${address}: `);
        assertStringIncludes(error.message, text);
        assertEquals([error.hop, error.address], ["tls", address]);
        assert(error.cause instanceof Error);
      });
    });
  }

  Deno.test(`${name}: a peer that speaks no TLS, or hangs up, is an error that says so`, async () => {
    for (const answer of ["HTTP/1.1 400 Bad Request\r\n\r\n", ""]) {
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const serve = async (conn: Deno.Conn) => {
        await conn.read(new Uint8Array(4096));
        await conn.write(latin1(answer));
      };
      await withServer(listener, serve, async () => {
        const dialing = dialTls(CA, { timeout: 5000 })({ hostname: "localhost", port: portOf(listener), tls: true });
        const error = await assertRejects(() => dialing, DialError, "no TLS with localhost:");
        assertEquals(error.hop, "tls");
        assert(error.code !== "ETIMEDOUT", error.message);
      });
    }
  });

  Deno.test(`${name}: a peer that says nothing is given up by deadline and by signal, and let go`, async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { serve, reached, gone } = silentPeer();
    await withServer(listener, serve, async () => {
      const endpoint: Endpoint = { hostname: "localhost", port: portOf(listener), tls: true };
      const late = dialTls(CA, { timeout: 50 })(endpoint);
      const error = await assertRejects(() => late, DialError, `could not finish TLS with localhost:${endpoint.port}`);
      assertEquals([error.hop, error.code], ["tls", "ETIMEDOUT"]);
      // Deno's own TLS drops the connection only when the peer stirs.
      if (name === "node:tls") await gone[0].promise;
      const controller = new AbortController();
      const reason = new Error("enough");
      const dialing = dialTls(CA)(endpoint, { signal: controller.signal });
      dialing.catch(() => {}); // It is judged below.
      await reached[1].promise;
      controller.abort(reason);
      assertEquals(await assertRejects(() => dialing), reason);
      if (name === "node:tls") await gone[1].promise;
    });
  });

  Deno.test(`${name}: what is given up between two steps is not waited for`, async () => {
    // Nobody accepts: no handshake ends.
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const endpoint: Endpoint = { hostname: "localhost", port: portOf(listener), tls: true };
    const reason = new Error("enough");
    const step = name === "node:tls" ? "connect" : name === "Deno.startTls" ? "startTls" : "connectTls";
    const run = Deno[step] as (...args: unknown[]) => Promise<unknown>;
    try {
      for (let turns = 0; turns < 20; turns++) {
        const controller = new AbortController();
        const abort = async () => {
          for (let turn = 0; turn < turns; turn++) await undefined;
          controller.abort(reason);
        };
        const runThenAbort = async (...args: unknown[]) => {
          const done = await run(...args);
          void abort();
          return done;
        };
        Object.assign(Deno, { [step]: runThenAbort });
        const dialing = within(`an end ${turns} turns later`, dialTls(CA)(endpoint, { signal: controller.signal }));
        assertEquals(await assertRejects(() => dialing), reason);
      }
    } finally {
      Object.assign(Deno, { [step]: run });
    }
  });

  Deno.test(`${name}: a connection that is cut`, async () => {
    const cut = async (how: "cut" | "notified") => {
      const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate("server") });
      const relay = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const met = Promise.withResolvers<Deno.Conn>();
      let server: Deno.Conn | undefined;
      const serve = async (conn: Deno.Conn) => {
        server = conn;
        await conn.write(latin1("hello"));
        await readAll(duplexOf(conn)).catch(() => {}); // How this side ends is not the question.
      };
      let outcome: string | undefined;
      await withServer(listener, serve, () =>
        withRelay(relay, portOf(listener), async () => {
          const duplex = await dialTls(CA)({ hostname: "localhost", port: portOf(relay), tls: true });
          await readExactly(duplex, 5);
          if (how === "cut") await (await met.promise).closeWrite();
          else await server!.closeWrite();
          outcome = await readAll(duplex).then((text) => `end ${text}`, (error) => error.name);
          duplex.close();
        }, met.resolve));
      return outcome;
    };
    assertEquals(await cut("notified"), "end ");
    assertEquals(await cut("cut"), name === "node:tls" ? "end " : "UnexpectedEof");
  });
}

async function readExactly(duplex: Duplex, size: number): Promise<void> {
  const buffer = new Uint8Array(size);
  for (let n = 0; n < size;) n += (await duplex.read(buffer.subarray(n)))!;
}

Deno.test("insecureSkipVerify lets one connection through, not the next", async () => {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate("expired") });
  await withServer(listener, echo, async () => {
    const endpoint = { hostname: "127.0.0.1", port: portOf(listener), tls: true };
    for (let i = 0; i < 2; i++) {
      await assertEchoes(await createDialer({ tls: { insecureSkipVerify: true } })(endpoint), 1000);
      for (const options of [{}, { serverName: "localhost" }, withCertificate]) {
        const dialing = createDialer({ tls: CA, ...options })(endpoint);
        await assertRejects(() => dialing, DialError, "expired");
      }
    }
  });
});

Deno.test("createDialer() asks for the client's certificate at every TLS connection, and only then", async () => {
  let asked = 0;
  const dial = createDialer({
    tls: CA,
    clientCertificate: ({ signal }) => {
      assert(signal instanceof AbortSignal);
      asked++;
      return Promise.resolve(undefined);
    },
  });
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate("server") });
  await withServer(listener, echo, async () => {
    const endpoint = { hostname: "127.0.0.1", port: portOf(listener) };
    for (const tls of [true, true]) await assertEchoes(await dial({ ...endpoint, tls }), 10);
    assertEquals(asked, 2);
    (await dial({ ...endpoint, tls: false })).close();
    assertEquals(asked, 2);
  });
});

Deno.test("createDialer() says what is wrong with a client certificate, without the key", async () => {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate("server") });
  await withServer(listener, echo, async () => {
    const endpoint = { hostname: "127.0.0.1", port: portOf(listener), tls: true };
    const broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    for (
      const [serverName, certificate] of [
        [{}, { ...CLIENT, key: "secret" }],
        [{}, { ...CLIENT, cert: "secret" }],
        [{}, { ...CLIENT, key: broken }],
        [{ serverName: "localhost" }, { ...CLIENT, key: "secret" }],
        [{ serverName: "localhost" }, { ...CLIENT, cert: "secret" }],
      ] as const
    ) {
      const dial = createDialer({
        tls: { ...CA, ...serverName },
        clientCertificate: () => Promise.resolve(certificate),
      });
      const error = await assertRejects(() => dial(endpoint), DialError);
      assert(!/secret|c2Vj/.test(error.message), error.message);
      assertEquals(error.hop, "tls");
    }
  });
});

for (const [name, options] of IMPLEMENTATIONS.slice(1)) {
  Deno.test(`${name}: a key that is of no use is an error, and nobody goes on without it`, async () => {
    const key = testdata("client.key");
    const broken = key.replace(/\n[^-]+\n/, "\nc2VjcmV0\n");
    let handshakes = 0;
    await withNodeServer("server", { host: "127.0.0.1", port: 0 }, (socket) => {
      handshakes++;
      introduce(socket);
    }, async (port) => {
      const dial = (pair: { cert: string; key: string }) =>
        createDialer({ tls: { ...CA, ...options.tls }, clientCertificate: () => Promise.resolve(pair) })({
          hostname: "127.0.0.1",
          port,
          tls: true,
        });
      for (
        const [pair, words] of [
          [{ ...CLIENT, key: testdata("client-encrypted.key") }, /key is encrypted; decrypt it \(openssl pkey/],
          [{ ...CLIENT, key: testdata("client-proctype.key") }, /key is encrypted; decrypt it \(openssl pkey/],
          [{ ...CLIENT, key: broken }, /failed to parse private key/],
          [{ ...CLIENT, key: testdata("renewed.key") }, /does not match public key$|KeyMismatch/],
        ] as const
      ) {
        const error = await assertRejects(() => dial(pair), DialError);
        assertMatch(error.message, words);
        assertEquals(error.hop, "tls");
      }
      assertEquals(handshakes, 0);
      // Both in one file, with what openssl writes beside it.
      const both =
        `# mine\n${CLIENT.cert}-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n${key}`;
      const duplex = await dial({ cert: both, key: both });
      assertMatch(await readAll(duplex), /^client /);
      duplex.close();
    });
  });
}

for (const [name, options] of IMPLEMENTATIONS) {
  Deno.test(`${name}: a server whose certificate is its own authority is trusted where that one is, and nowhere else`, async () => {
    const own = { caCerts: [testdata("self.crt")] };
    const listener = Deno.listenTls({
      hostname: "127.0.0.1",
      port: 0,
      cert: own.caCerts[0]!,
      key: testdata("self.key"),
    });
    await withServer(listener, echo, async () => {
      const dial = (tls: DialerOptions["tls"], hostname = "localhost") =>
        createDialer({ ...options, tls: { ...tls, ...options.tls } })({ hostname, port: portOf(listener), tls: true });
      await assertEchoes(await dial(own), 1000);
      for (const tls of [CA, {}]) await assertRejects(() => dial(tls), DialError, "(certificate-authority)");
      if (options.tls) return; // The name is the option's.
      const dialing = dial(own, "localhost.localdomain");
      await assertRejects(() => dialing, DialError);
    });
  });
}

Deno.test("createDialer() says so when an authority cannot be read, or a name is none", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  await withServer(listener, async (conn) => void await conn.read(new Uint8Array(1)), async () => {
    for (const tls of [{ caCerts: [broken] }, { ...CA, serverName: "a b" }]) {
      const dialing = createDialer({ tls })({ hostname: "127.0.0.1", port: portOf(listener), tls: true });
      const error = await assertRejects(() => dialing, DialError, "no TLS with 127.0.0.1:");
      assertEquals(error.hop, "tls");
    }
  });
});

Deno.test("onlyCaCerts trusts nobody else, whom Deno would trust", async () => {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate("server") });
  const serving = (async () => {
    for await (const conn of listener) {
      await conn.handshake().catch(() => {}); // Refused, by the one that should.
      conn.close();
    }
  })();
  const dial = (onlyCaCerts: boolean) => `
    import { createDialer } from ${JSON.stringify(import.meta.resolve("../../lib/dial/mod.ts"))};
    const caCerts = [${JSON.stringify(testdata("other-ca.crt"))}];
    const endpoint = { hostname: "localhost", port: ${portOf(listener)}, tls: true };
    const duplex = await createDialer({ tls: { caCerts, onlyCaCerts: ${onlyCaCerts} } })(endpoint).catch((error) => error);
    console.log(duplex instanceof Error ? duplex.message : "trusted");
    duplex.close?.();`;
  for (const [onlyCaCerts, text] of [[false, "trusted"], [true, "(certificate-authority)"]] as const) {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", ...await denoFlags(), dial(onlyCaCerts)],
      env: { DENO_CERT: new URL(import.meta.resolve("./testdata/ca.crt")).pathname },
    }).output();
    assertStringIncludes(new TextDecoder().decode(stdout), text);
  }
  listener.close();
  await serving;
});
