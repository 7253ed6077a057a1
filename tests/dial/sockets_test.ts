/** TCP and unix sockets. */
import { createServer } from "node:net";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { connectTcp, createDialer, type DialerOptions, DialError, type Endpoint } from "../../lib/dial/mod.ts";
import {
  assertEchoes,
  assertEndsSeparately,
  close,
  echo,
  latin1,
  portOf,
  readAll,
  testdata,
  withServer,
  withSocketPath,
} from "./harness.ts";

const ANYWHERE: Endpoint = { hostname: "cluster.test", port: 80, tls: false };
const MIB = 1024 * 1024;

function at(hostname: string, listener: Deno.Listener): Endpoint {
  return { hostname, port: portOf(listener), tls: false };
}

/** A port with nobody behind it. */
function deadPort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

for (
  const [listening, dialed] of [
    ["127.0.0.1", "127.0.0.1"],
    ["::1", "::1"],
    ["127.0.0.1", "localhost"],
    ["::", "127.0.0.1"],
  ] as const
) {
  Deno.test(`createDialer() reaches a server on ${listening} as ${dialed}, 16 MiB there and back`, async () => {
    const listener = Deno.listen({ hostname: listening, port: 0 });
    await withServer(listener, echo, async () => {
      await assertEchoes(await createDialer()(at(dialed, listener)), 16 * MIB);
    });
  });
}

for (
  const [name, listen, dial] of [
    ["a path", (path) => path, (path) => path],
    ["a path below ~", (path) => path, (path) => `~/${path.split("/").at(-1)}`],
    ["an abstract name", (path) => `\0${path}`, (path) => `@${path}`],
  ] as ReadonlyArray<readonly [string, (path: string) => string, (path: string) => string]>
) {
  Deno.test(`createDialer() reaches a unix socket by ${name}, 16 MiB there and back`, async () => {
    await withSocketPath(async (path) => {
      const home = Deno.env.get("HOME");
      Deno.env.set("HOME", path.replace(/\/[^/]*$/, ""));
      try {
        const listener = Deno.listen({ transport: "unix", path: listen(path) });
        await withServer(listener, echo, async () => {
          // A proxy of the environment is not asked: the socket is the way.
          const env = () => "http://127.0.0.1:1";
          await assertEchoes(await createDialer({ unixSocket: dial(path), env })(ANYWHERE), 16 * MIB);
        });
      } finally {
        if (home === undefined) Deno.env.delete("HOME");
        else Deno.env.set("HOME", home);
      }
    });
  });
}

Deno.test("createDialer() gives a duplex whose directions end separately", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await assertEndsSeparately(listener, () => createDialer()(at("127.0.0.1", listener)));
});

Deno.test("createDialer()'s duplex rejects a read under way when it is closed, and may be closed twice", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await withServer(listener, echo, async () => {
    const duplex = await createDialer()(at("127.0.0.1", listener));
    const reading = duplex.read(new Uint8Array(1));
    duplex.close();
    duplex.close();
    await assertRejects(() => reading);
    await assertRejects(() => duplex.read(new Uint8Array(1)));
    await assertRejects(() => duplex.write(latin1("x")));
    await assertRejects(() => duplex.closeWrite());
  });
});

Deno.test("createDialer()'s duplex tells of a reset", async () => {
  const server = createServer((socket) => void socket.once("data", () => socket.resetAndDestroy()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  try {
    const duplex = await createDialer()({ hostname: "127.0.0.1", port, tls: false });
    await duplex.write(latin1("x"));
    await assertRejects(() => readAll(duplex), Deno.errors.ConnectionReset);
    await assertRejects(async () => {
      for (;;) await duplex.write(new Uint8Array(64 * 1024));
    });
    duplex.close();
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});

Deno.test("createDialer() names the hop, the address and the system's error", async () => {
  const port = deadPort();
  const proxy = new URL(`http://user:secret@127.0.0.1:${port}`);
  await withSocketPath(async (path) => {
    const rows: ReadonlyArray<readonly [DialerOptions, Endpoint, Partial<DialError>, string]> = [
      [
        {},
        { hostname: "127.0.0.1", port, tls: false },
        { hop: "tcp", address: `127.0.0.1:${port}`, code: "ECONNREFUSED" },
        `cannot connect to 127.0.0.1:${port}: connection refused`,
      ],
      [
        {},
        { hostname: "::1", port, tls: true },
        { hop: "tcp", address: `[::1]:${port}`, code: "ECONNREFUSED" },
        "refused",
      ],
      [{}, { hostname: "localhost", port, tls: false }, { hop: "tcp", address: `localhost:${port}` }, "refused"],
      [
        {},
        { hostname: "a..b", port: 443, tls: true },
        { hop: "tcp", address: "a..b:443", code: "" }, // A name that no resolver has to be asked for.
        "cannot connect to a..b:443: invalid host",
      ],
      [
        { unixSocket: path },
        ANYWHERE,
        { hop: "unix", address: path, code: "ENOENT" },
        `cannot connect to the unix socket ${path}: no such file or directory`,
      ],
      [
        { proxy },
        ANYWHERE,
        { hop: "proxy", address: `127.0.0.1:${port}`, code: "ECONNREFUSED" },
        `cannot get through the proxy 127.0.0.1:${port}: connection refused`,
      ],
      [
        { proxy: new URL("ftp://user:secret@127.0.0.1") },
        ANYWHERE,
        { hop: "proxy" },
        "unknown scheme: ftp",
      ],
    ];
    for (const [options, endpoint, fields, text] of rows) {
      const error = await assertRejects(() => createDialer(options)(endpoint), DialError);
      assertStringIncludes(error.message, text);
      assert(!error.message.includes("secret"), error.message);
      for (const [name, value] of Object.entries(fields)) assertEquals(error[name as keyof DialError], value, name);
    }
  });
});

Deno.test("createDialer() says that HOME is missing when a path begins with ~", async () => {
  const home = Deno.env.get("HOME");
  Deno.env.delete("HOME");
  try {
    const error = await assertRejects(
      () => createDialer({ unixSocket: "~/s" })(ANYWHERE),
      DialError,
      "HOME is not set",
    );
    assertEquals([error.hop, error.address], ["unix", "~/s"]);
  } finally {
    if (home !== undefined) Deno.env.set("HOME", home);
  }
});

/** A server that takes no connection, because its queue for them is full. */
async function withBlackHole(use: (port: number) => Promise<void>): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { port } = listener.addr;
  const waiting: Deno.Conn[] = [];
  const full = new Error("full");
  try {
    for (;;) {
      // A connection over loopback takes well under a millisecond, unless nobody takes it.
      const signal = AbortSignal.timeout(100);
      const conn = await Deno.connect({ hostname: "127.0.0.1", port, signal }).catch(() => full);
      if (conn === full) break;
      waiting.push(conn as Deno.Conn);
    }
    await use(port);
  } finally {
    for (const conn of waiting) close(conn);
    close(listener);
  }
}

Deno.test("createDialer() gives up on a server that takes no connection, by deadline and by signal", async () => {
  await withBlackHole(async (port) => {
    const endpoint = { hostname: "127.0.0.1", port, tls: false };
    const certificate = { cert: testdata("client.crt"), key: testdata("client.key") };
    for (const [tls, clientCertificate] of [[false], [true], [true, certificate]] as const) {
      const dial = createDialer({ timeout: 30, clientCertificate: () => Promise.resolve(clientCertificate) });
      const error = await assertRejects(() => dial({ ...endpoint, tls }), DialError, "within 30 ms");
      assertEquals([error.hop, error.code], ["tcp", "ETIMEDOUT"]);
    }
    const proxy = new URL(`socks5://user:secret@127.0.0.1:${port}`);
    const error = await assertRejects(() => createDialer({ timeout: 30, proxy })(ANYWHERE), DialError, "within 30 ms");
    assertEquals([error.hop, error.address], ["proxy", `127.0.0.1:${port}`]);
    const reason = new Error("enough");
    const controller = new AbortController();
    const dialing = createDialer()(endpoint, { signal: controller.signal });
    queueMicrotask(() => controller.abort(reason));
    assertEquals(await assertRejects(() => dialing), reason);
  });
});

Deno.test("createDialer() does nothing when the signal has already been aborted", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let accepted = 0;
  await withServer(listener, () => Promise.resolve(void accepted++), async () => {
    const reason = new Error("enough");
    for (
      const options of [{}, { unixSocket: "/nowhere" }, { proxy: new URL(`http://127.0.0.1:${portOf(listener)}`) }]
    ) {
      for (const tls of [false, true]) {
        const dialing = createDialer(options)({ ...at("127.0.0.1", listener), tls }, {
          signal: AbortSignal.abort(reason),
        });
        assertEquals(await assertRejects(() => dialing), reason);
      }
    }
  });
  assertEquals(accepted, 0);
});

Deno.test("createDialer() lets go of the signal once it has connected", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await withServer(listener, echo, async () => {
    const controller = new AbortController();
    const duplex = await createDialer()(at("127.0.0.1", listener), { signal: controller.signal });
    controller.abort();
    await assertEchoes(duplex, 1000);
  });
});

Deno.test("connectTcp() does not take a connection to itself for a server's", async () => {
  // Which port a connection gets is the system's to say: one in some ten thousand gets the one that it goes to.
  const address = { transport: "tcp", hostname: "127.0.0.1", port: 40_000 } as const;
  const real = Deno.connect;
  let closed = 0;
  const attempts = [
    () => Promise.resolve({ localAddr: address, remoteAddr: address, close: () => closed++ }),
    () => Promise.reject(new Deno.errors.ConnectionRefused("refused")),
  ];
  Deno.connect = (() => attempts.shift()!()) as unknown as typeof Deno.connect;
  try {
    await assertRejects(
      () => connectTcp("127.0.0.1", 40_000, new AbortController().signal),
      Deno.errors.ConnectionRefused,
    );
    assertEquals(closed, 1);
  } finally {
    Deno.connect = real;
  }
});
