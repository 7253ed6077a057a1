/** Streams through relays: TCP and unix sockets. */
import { assert, assertEquals, assertGreater, assertLess, assertRejects } from "@std/assert";
import { parseRelays, Relays } from "../../lib/relay/mod.ts";
import { Reported } from "../support/reported.ts";
import { until } from "../support/until.ts";
import { ask, echo, Ground, readAll, Server, writeAll } from "./harness.ts";

const tcp = (port: number) => ({ address: `tcp:127.0.0.1:${port}` });
const ANY = { address: "tcp:127.0.0.1:0" };

Deno.test("a relay passes streams on between TCP, a path and an abstract socket", async () => {
  await using server = new Server(echo);
  const abstract = `unix:@podwire-test-${crypto.randomUUID()}`;
  await using ground = await Ground.start(
    { name: "it", listen: ANY, target: { address: abstract } },
    { name: "b", listen: { address: abstract }, target: { address: "unix:FOLDER/c.sock" } },
    { name: "c", listen: { address: "unix:FOLDER/c.sock" }, target: tcp(server.port) },
  );
  const text = "0123456789".repeat(100_000);
  assertEquals(await ask(await ground.connect(), text), text);
  for (const relay of ["it", "b", "c"]) {
    assertEquals(ground.metric("bytes_total", `relay="${relay}",direction="to"`), text.length);
    assertEquals(ground.metric("bytes_total", `relay="${relay}",direction="from"`), text.length);
    assertEquals(ground.metric("connections_total", relay), 1);
  }
  await until("the relay has no connections", () => ground.metric("connections", "it") === 0);
});

Deno.test("a relay keeps half-close: either side may end first and go on listening", async () => {
  await using speaker = new Server(async (conn) => {
    await writeAll(conn, "all I have");
    await conn.closeWrite();
    heard = await readAll(conn);
  });
  let heard = "";
  await using ground = await Ground.start({ name: "it", listen: ANY, target: tcp(speaker.port) });
  using conn = await ground.connect();
  assertEquals(await readAll(conn), "all I have");
  await writeAll(conn, "and this is mine");
  await conn.closeWrite();
  await until("the target has all", () => heard === "and this is mine");
});

Deno.test("a relay passes on the whole answer of a target that does not hear its client out", async () => {
  await using ground = await Ground.start({ name: "it", listen: ANY, target: { address: "unix:FOLDER/t.sock" } });
  const answer = "no, ".repeat(250_000);
  await using _ = new Server(async (conn) => {
    await conn.read(new Uint8Array(1000));
    await writeAll(conn, answer);
  }, Deno.listen({ transport: "unix", path: `${ground.folder}/t.sock` }));
  using conn = await ground.connect();
  const sending = writeAll(conn, new Uint8Array(16 << 20)).catch(() => {}); // It may be taken, or not.
  assertEquals(await readAll(conn), answer);
  conn.closeWrite().catch(() => {}); // The relay may have gone.
  await sending;
  await until("the relay has no connections", () => ground.metric("connections", "it") === 0);
  assertEquals(ground.metric("errors_total", `reason="broken"`), 1);
});

Deno.test("a relay on [::] takes IPv6 and IPv4, which its ranges mean too", async () => {
  await using server = new Server(echo);
  const listen = { address: "tcp:[::]:0" };
  await using ground = await Ground.start(
    { name: "it", listen, target: tcp(server.port) },
    { name: "four", listen, target: tcp(server.port), allowFrom: ["127.0.0.0/8"] },
  );
  const from = async (hostname: string, relay: string) =>
    await ask(await Deno.connect({ hostname, port: ground.port(relay) }), "x").catch(() => "");
  assertEquals([await from("127.0.0.1", "it"), await from("::1", "it")], ["x", "x"]);
  assertEquals([await from("127.0.0.1", "four"), await from("::1", "four")], ["x", ""]);
  assertEquals(ground.metric("errors_total", `reason="source"`), 1);
});

Deno.test("a relay holds back a sender whose reader is slow", async () => {
  const go = Promise.withResolvers<void>();
  let received = 0;
  await using server = new Server(async (conn) => {
    await go.promise;
    const buffer = new Uint8Array(1 << 20);
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) received += n;
  });
  await using ground = await Ground.start({ name: "it", listen: ANY, target: tcp(server.port) });
  using conn = await ground.connect();
  const total = 64 << 20;
  let sent = 0;
  const sending = (async () => {
    const block = new Uint8Array(256 * 1024);
    while (sent < total) sent += await conn.write(block.subarray(0, total - sent));
    await conn.closeWrite();
  })();
  let before = -1;
  await until("nothing more is taken", async () => {
    const still = sent === before;
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 100));
    return still;
  });
  // What the system's socket buffers take, and nothing that grows with the stream.
  assertLess(sent, 32 << 20);
  go.resolve();
  await sending;
  await readAll(conn);
  assertEquals(received, total);
});

Deno.test("a relay refuses connections beyond its limit, and takes them again later", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start({ name: "it", listen: ANY, target: tcp(server.port), maxConnections: 2 });
  const held = [await ground.connect(), await ground.connect()];
  for (const conn of held) {
    await writeAll(conn, "x");
    assertEquals(await conn.read(new Uint8Array(1)), 1);
  }
  using third = await ground.connect();
  assertEquals(await third.read(new Uint8Array(1)).catch(() => null), null);
  assertEquals(ground.metric("errors_total", `reason="limit"`), 1);
  held.pop()?.close();
  await until("one connection has ended", () => ground.metric("connections", "it") === 1);
  assertEquals(await ask(await ground.connect(), "again"), "again");
  held.pop()?.close();
});

Deno.test("a relay lets in only the sources that it is told", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start(
    { name: "it", listen: ANY, target: tcp(server.port), allowFrom: ["127.0.0.1"] },
    { name: "no", listen: ANY, target: tcp(server.port), allowFrom: ["10.0.0.0/8", "::1/128"] },
  );
  assertEquals(await ask(await ground.connect(), "x"), "x");
  using conn = await ground.connect("no");
  assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
  assertEquals(ground.metric("errors_total", `relay="no",reason="source"`), 1);
});

Deno.test("a relay ends a connection on which nothing goes through for too long", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start({ name: "it", listen: ANY, target: tcp(server.port), idleTimeout: "200ms" });
  using conn = await ground.connect();
  for (let i = 0; i < 8; i++) {
    await writeAll(conn, "x");
    assertEquals(await conn.read(new Uint8Array(1)), 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assertEquals(await conn.read(new Uint8Array(1)), null);
  assertEquals(ground.metric("errors_total", `reason="idle"`), 1);
});

Deno.test("a relay says that its target is down, once, and that it is back", async () => {
  await using ground = await Ground.start({ name: "it", listen: ANY, target: { address: "unix:FOLDER/t.sock" } });
  for (let i = 0; i < 3; i++) assertEquals(await ask(await ground.connect(), "x").catch(() => ""), "");
  await until("all three have failed", () => ground.metric("errors_total", `reason="connect"`) === 3);
  await using _ = new Server(echo, Deno.listen({ transport: "unix", path: `${ground.folder}/t.sock` }));
  assertEquals(await ask(await ground.connect(), "x"), "x");
  assertEquals(ground.events.map(({ type }) => type), ["listening", "unreachable", "reachable"]);
  assert(ground.events[1]?.message.includes("/t.sock: no such file or directory"), ground.events[1]?.message);
});

Deno.test("a relay gives up on a target that does not finish TLS in time", async () => {
  await using server = new Server((conn) => readAll(conn));
  await using ground = await Ground.start({
    name: "it",
    listen: ANY,
    target: { ...tcp(server.port), tls: { insecureSkipVerify: true } },
    connectTimeout: "100ms",
  }, {
    name: "verified",
    listen: ANY,
    target: { ...tcp(server.port), tls: {} },
    connectTimeout: "100ms",
  });
  for (const relay of ["it", "verified"]) {
    using conn = await ground.connect(relay);
    assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
    await until(
      `${relay} gives up`,
      () => ground.metric("errors_total", `relay="${relay}",reason="connect_timeout"`) === 1,
    );
  }
});

Deno.test("a relay gives up on a target that does not take its connection: in time, or when it is stopped", async () => {
  using full = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { port } = full.addr as Deno.NetAddr;
  // Linux takes one connection more than the backlog; the next one waits.
  using _first = await Deno.connect({ hostname: "127.0.0.1", port });
  using _second = await Deno.connect({ hostname: "127.0.0.1", port });
  await using ground = await Ground.start(
    { name: "it", listen: ANY, target: tcp(port), connectTimeout: "100ms" },
    { name: "patient", listen: ANY, target: tcp(port), connectTimeout: "1h" },
  );
  using conn = await ground.connect();
  assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
  assertEquals(ground.metric("errors_total", `relay="it",reason="connect_timeout"`), 1);
  using waiting = await ground.connect("patient");
  await until("the patient one waits", () => ground.metric("connections", `relay="patient"`) === 1);
  await ground.apply();
  assertEquals(await waiting.read(new Uint8Array(1)).catch(() => null), null);
});

Deno.test("2,000 connections in a row and 1,000 at once come through, and leave nothing behind", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start({ name: "it", listen: ANY, target: tcp(server.port) });
  let left = 2_000;
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (left-- > 0) assertEquals(await ask(await ground.connect(), "ping"), "ping");
  }));
  const conns = await Promise.all(Array.from({ length: 1_000 }, () => ground.connect()));
  try {
    await Promise.all(conns.map(async (conn, i) => {
      await writeAll(conn, `number ${i}`);
      await conn.closeWrite();
    }));
    const answers = await Promise.all(conns.map(readAll));
    assertEquals(answers, conns.map((_, i) => `number ${i}`));
  } finally {
    for (const conn of conns) conn.close();
  }
  await until("the relay has no connections", () => ground.metric("connections", "it") === 0);
  assertEquals(ground.metric("connections_total", "it"), 3_000);
  assertEquals(ground.metric("errors_total"), 0);
  assertGreater(ground.metric("bytes_total", `direction="to"`), 8_000);
});

Deno.test("1,000 connections at once come through a unix socket whose backlog is short", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start(
    { name: "it", listen: ANY, target: { address: "unix:FOLDER/a.sock" }, connectTimeout: "20s" },
    { name: "b", listen: { address: "unix:FOLDER/a.sock" }, target: tcp(server.port) },
  );
  const answers = await Promise.all(
    Array.from({ length: 1_000 }, async (_, i) => await ask(await ground.connect(), `${i}`)),
  );
  assertEquals(answers, Array.from({ length: 1_000 }, (_, i) => `${i}`));
});

Deno.test("Relays.dispose() ends connections and frees the address", async () => {
  await using server = new Server(echo);
  const ground = await Ground.start({ name: "it", listen: ANY, target: tcp(server.port) });
  const port = ground.port();
  using conn = await ground.connect();
  await writeAll(conn, "x");
  assertEquals(await conn.read(new Uint8Array(1)), 1);
  await ground[Symbol.asyncDispose]();
  assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
  await assertRejects(() => Deno.connect({ hostname: "127.0.0.1", port }));
});

Deno.test("relays outlive what onEvent throws, and it is reported", async () => {
  using reported = new Reported();
  await using server = new Server(echo);
  const types: string[] = [];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  {
    await using relays = new Relays({
      onEvent: ({ relay, type }) => {
        types.push(`${relay} ${type}`);
        throw new Error("a bug");
      },
    });
    const specs = [
      { name: "free", listen: ANY, target: tcp(server.port) },
      { name: "taken", listen: tcp(listener.addr.port), target: tcp(server.port) },
    ];
    await relays.apply(parseRelays([{ file: "relays.json", text: JSON.stringify({ relays: specs }) }]));
    const { listening } = relays.state().find(({ name }) => name === "free")!;
    assert(listening && "port" in listening);
    using conn = await Deno.connect({ hostname: "127.0.0.1", port: listening.port });
    assertEquals(await ask(conn, "hello"), "hello");
  }
  listener.close();
  assertEquals(types.toSorted().slice(0, 3), ["free listening", "free stopped", "taken failed"]);
  assertEquals(reported.errors.length, types.length);
});
