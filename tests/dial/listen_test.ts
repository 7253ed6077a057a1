/** Listening on ports and unix sockets. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { connect } from "node:net";
import { listen, ListenError, type Listening, type NodeDuplex, type SocketAddress } from "../../lib/dial/mod.ts";
import { latin1, readAll, withSocketPath } from "./harness.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Listens while `work` runs; gives the connections in their order. */
async function withListening(
  address: SocketAddress,
  work: (listening: Listening, accept: () => Promise<NodeDuplex>) => Promise<void>,
): Promise<void> {
  const accepted: NodeDuplex[] = [];
  const taken: NodeDuplex[] = [];
  let wake = () => {};
  const listening = await listen(address, (connection) => {
    accepted.push(connection);
    wake();
  });
  const accept = async () => {
    while (accepted.length === 0) await new Promise<void>((resolve) => wake = resolve);
    taken.push(accepted.shift()!);
    return taken.at(-1)!;
  };
  try {
    await work(listening, accept);
  } finally {
    listening.close();
    for (const connection of [...taken, ...accepted]) connection.close();
    await turn();
  }
}

function connectTo(address: SocketAddress): Promise<Deno.Conn> {
  return "path" in address
    ? Deno.connect({ transport: "unix", path: address.path })
    : Deno.connect({ hostname: address.hostname, port: address.port });
}

/** Lets what is due happen. */
async function turn(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setTimeout(resolve));
}

for (const hostname of ["127.0.0.1", "::1"]) {
  Deno.test(`listen() takes connections on a free port of ${hostname}, with half-close`, async () => {
    await withListening({ hostname, port: 0 }, async ({ address }, accept) => {
      assert("port" in address && address.port > 0);
      assertEquals(address.hostname, hostname);
      using conn = await connectTo(address);
      const connection = await accept();
      await conn.write(latin1("ping"));
      await conn.closeWrite();
      assertEquals(await readAll(connection), "ping");
      await connection.write(latin1("pong"));
      await connection.closeWrite();
      const buffer = new Uint8Array(10);
      assertEquals([await conn.read(buffer), await conn.read(buffer)], [4, null]);
    });
  });
}

Deno.test("listen() on ::1 leaves the same port of IPv4 to others", async () => {
  await withListening({ hostname: "::1", port: 0 }, async ({ address }) => {
    assert("port" in address);
    await withListening({ hostname: "127.0.0.1", port: address.port }, async (other) => {
      assertEquals(other.address, { hostname: "127.0.0.1", port: address.port });
      using _ = await connectTo(other.address);
    });
  });
});

Deno.test("listen() on :: is for IPv6 alone", async () => {
  await withListening({ hostname: "::", port: 0 }, async ({ address }, accept) => {
    assert("port" in address);
    const accepted = accept();
    await assertRejects(async () => {
      using conn = await connectTo({ hostname: "127.0.0.1", port: address.port });
      await Promise.race([conn.read(new Uint8Array(1)), accepted]);
    }, Deno.errors.ConnectionReset);
    using conn = await connectTo({ hostname: "::1", port: address.port });
    await (await accepted).write(latin1("x"));
    assertEquals(await conn.read(new Uint8Array(1)), 1);
  });
});

Deno.test("NodeDuplex.reset() of an accepted connection is a reset for its client, and the other way", async () => {
  await withListening({ hostname: "127.0.0.1", port: 0 }, async ({ address }, accept) => {
    using conn = await connectTo(address);
    const connection = await accept();
    await connection.write(latin1("abc"));
    const buffer = new Uint8Array(10);
    assertEquals(await conn.read(buffer), 3);
    connection.reset();
    await assertRejects(() => conn.read(buffer), Deno.errors.ConnectionReset);

    assert("port" in address);
    const socket = connect(address.port, address.hostname);
    const other = await accept();
    socket.resetAndDestroy();
    const error = await assertRejects(() => other.read(buffer)) as Error & { code?: string };
    assertEquals(error.code, "ECONNRESET");
  });
});

Deno.test("Listening.close() frees the port and leaves connections alone", async () => {
  await withListening({ hostname: "127.0.0.1", port: 0 }, async (listening, accept) => {
    using conn = await connectTo(listening.address);
    const connection = await accept();
    listening.close();
    await assertRejects(() => connectTo(listening.address), Deno.errors.ConnectionRefused);
    await connection.write(latin1("still here"));
    assertEquals(await conn.read(new Uint8Array(10)), 10);
    await withListening(listening.address, () => Promise.resolve());
  });
});

Deno.test("listen() says where it cannot listen, and why", async () => {
  await withListening({ hostname: "127.0.0.1", port: 0 }, async ({ address }) => {
    assert("port" in address);
    const error = await assertRejects(() => listen(address, () => {}), ListenError);
    assertEquals([error.code, error.address], ["EADDRINUSE", address]);
    assertEquals(error.message.startsWith(`cannot listen on 127.0.0.1:${address.port}: `), true, error.message);
  });
  // TEST-NET-1: no machine has it.
  const error = await assertRejects(() => listen({ hostname: "192.0.2.1", port: 0 }, () => {}), ListenError);
  assertEquals(error.code, "EADDRNOTAVAIL");
});

Deno.test({
  name: "listen() says which permission is missing, and the process goes on",
  permissions: { net: ["localhost", "127.0.0.1:1"] },
  fn: async () => {
    for (
      const [hostname, ...hosts] of [["127.0.0.1", "127.0.0.1:2"], ["localhost", "127.0.0.1:2", "[::1]:2"], [
        "x.test",
        "x.test:2",
      ]] as const
    ) {
      const error = await assertRejects(() => listen({ hostname, port: 2 }, () => {}), ListenError);
      assertEquals(error.code, "EPERM");
      const [, where, host] =
        /^cannot listen on (\S+): Deno does not permit it; run it with --allow-net=(\S+)$/.exec(error.message) ?? [];
      assertEquals(where, `${hostname}:2`);
      assert((hosts as readonly string[]).includes(host!), error.message);
    }
    await turn(); // What is thrown out of turn comes now.
  },
});

Deno.test("listen() makes a unix socket that only its owner can use, and leaves the process's mask as it was", async () => {
  await withSocketPath(async (path) => {
    const before = Deno.umask();
    await withListening({ path }, async ({ address }, accept) => {
      assertEquals([address, Deno.umask()], [{ path }, before]);
      const { mode, isSocket } = await Deno.lstat(path);
      assertEquals([mode! & 0o777, isSocket], [0o600, true]);
      using conn = await connectTo(address);
      const connection = await accept();
      await conn.write(latin1("ping"));
      assertEquals(await connection.read(new Uint8Array(10)), 4);
    });
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  });
});

Deno.test("listen() replaces a unix socket on which nobody listens any more", async () => {
  await withSocketPath(async (path) => {
    const { code } = await new Deno.Command(Deno.execPath(), {
      // A process that ends without its clean-up leaves its socket behind.
      args: ["eval", "Deno.listen({ transport: 'unix', path: Deno.args[0] }); Deno.kill(Deno.pid, 'SIGKILL');", path],
      stderr: "null",
    }).output();
    assertEquals([code, (await Deno.lstat(path)).isSocket], [137, true]);
    await withListening({ path }, async ({ address }) => {
      using _ = await connectTo(address);
      assertEquals((await Deno.lstat(path)).mode! & 0o777, 0o600);
    });
  });
});

Deno.test("listen() says that a unix socket's path is too long", async () => {
  const path = `/tmp/${"x".repeat(200)}`;
  const error = await assertRejects(() => listen({ path }, () => {}), ListenError, `${path}: the path is too long`);
  assertEquals(error.code, "EINVAL");
});

Deno.test("listen() takes no unix socket away from who listens there", async () => {
  await withSocketPath(async (path) => {
    await withListening({ path }, async ({ address }) => {
      const error = await assertRejects(
        () => listen({ path }, () => {}),
        ListenError,
        "somebody listens there already",
      );
      assertEquals([error.code, error.address], ["EADDRINUSE", { path }]);
      using _ = await connectTo(address);
    });
  });
});

Deno.test("listen() takes no unix socket away from who has more connections waiting than it takes", async () => {
  await withSocketPath(async (path) => {
    using listener = Deno.listen({ transport: "unix", path });
    const waiting: Deno.Conn[] = [];
    try {
      const fill = async () => {
        for (;;) waiting.push(await Deno.connect({ transport: "unix", path }));
      };
      await assertRejects(fill, Error, "os error 11"); // EAGAIN
      const error = await assertRejects(() => listen({ path }, () => {}), ListenError, "does not let itself be tried");
      assertEquals(error.address, { path });
      (await listener.accept()).close();
      waiting.push(await Deno.connect({ transport: "unix", path }));
    } finally {
      for (const conn of waiting) conn.close();
    }
  });
});

Deno.test("listen() removes no file that is no socket, and says what is wrong with a path", async () => {
  await withSocketPath(async (path) => {
    await Deno.writeTextFile(path, "precious");
    for (
      const [wrong, code] of [[path, "EEXIST"], [`${path}/s`, "ENOTDIR"], [`${path}-none/s`, "ENOENT"]] as const
    ) {
      const error = await assertRejects(() => listen({ path: wrong }, () => {}), ListenError);
      assertEquals([error.code, error.address], [code, { path: wrong }], error.message);
    }
    assertEquals(await Deno.readTextFile(path), "precious");
    await Deno.remove(path);
    await Deno.symlink(`${path}-target`, path);
    const error = await assertRejects(() => listen({ path }, () => {}), ListenError, "it exists and is not a socket");
    assertEquals(error.code, "EEXIST");
  });
});
