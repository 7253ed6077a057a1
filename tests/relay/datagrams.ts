/**
 * Datagrams through relays. Run by `datagram_test.ts`, once as Deno is and once with `--unstable-net`, as relays take
 * another way then:
 *
 *     deno run -A [--unstable-net] tests/relay/datagrams.ts
 *
 * @module
 */
import { assertEquals, assertGreater, assertGreaterOrEqual, assertLess } from "@std/assert";
import { createSocket, type Socket } from "node:dgram";
import dns from "node:dns/promises";
import { bindUdp, bindUnixDatagram } from "../../lib/relay/datagram_socket.ts";
import type { RelaySpec } from "../../lib/relay/mod.ts";
import { until } from "../support/until.ts";
import { echo, Ground, Server, writeAll } from "./harness.ts";

const UDP = { address: "udp:127.0.0.1:0" };
const NATIVE = "listenDatagram" in Deno;

/** A UDP socket on a port of its own. */
class Udp implements Disposable {
  readonly heard: string[] = [];
  readonly senders = new Set<number>();
  readonly #socket: Socket;

  private constructor(socket: Socket, answer: (text: string) => string | undefined) {
    this.#socket = socket;
    socket.on("message", (data, { port, address }) => {
      const text = String(data);
      this.heard.push(text);
      this.senders.add(port);
      const reply = answer(text);
      if (reply !== undefined) socket.send(reply, port, address);
    });
  }

  static async bind(answer: (text: string) => string | undefined = () => undefined): Promise<Udp> {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    return new Udp(socket, answer);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  send(text: string | Uint8Array, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.send(text, port, "127.0.0.1", (error) => error ? reject(error) : resolve());
    });
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

const target = (udp: Udp) => ({ address: `udp:127.0.0.1:${udp.port}` });

/** While `use` runs, names are looked up without end, or until it calls `fail`; returns how many were. */
async function withoutNames(use: (fail: () => void) => Promise<void>): Promise<number> {
  const { lookup } = dns;
  const { promise, reject } = Promise.withResolvers<never>();
  let asked = 0;
  Object.assign(dns, { lookup: () => (asked++, promise) });
  promise.catch(() => {}); // Who asked is told.
  const fail = () => reject(new Error("no such name"));
  try {
    await use(fail);
  } finally {
    Object.assign(dns, { lookup });
    fail();
  }
  return asked;
}

/** What comes after the end of a flow begins another one: as many bytes as the system keeps for a socket, with room to spare. */
const LATE = 512 * 1024;

const BY_NAME = { address: "udp:target.example:9" };

/** Two relays with a unix stream between them: UDP on both ends. */
const overStream = (udp: Udp): RelaySpec[] => [
  { name: "it", listen: UDP, target: { address: "unix:FOLDER/x.sock" } },
  { name: "node", listen: { address: "unix:FOLDER/x.sock" }, target: target(udp) },
];

const CHECKS: Record<string, () => Promise<void>> = {
  async "datagrams keep their boundaries and order, both ways, and each sender is answered"() {
    using server = await Udp.bind((text) => `<${text}>`);
    for (const specs of [[{ name: "it", listen: UDP, target: target(server) }], overStream(server)]) {
      await using ground = await Ground.start(...specs);
      server.heard.length = 0;
      server.senders.clear();
      using one = await Udp.bind();
      using two = await Udp.bind();
      const texts = ["a", "", "b".repeat(1400), "c".repeat(30_000), ...Array.from({ length: 20 }, (_, i) => `${i}`)];
      for (const text of texts) {
        const before = [one.heard.length, two.heard.length];
        await one.send(text, ground.port());
        await two.send(`2${text}`, ground.port());
        await until("both have their answer", () => one.heard.length > before[0]! && two.heard.length > before[1]!);
      }
      assertEquals(one.heard, texts.map((text) => `<${text}>`));
      assertEquals(two.heard, texts.map((text) => `<2${text}>`));
      assertEquals(server.senders.size, 2);
      assertEquals(ground.metric("connections", "it"), 2);
      for (const direction of ["to", "from"]) {
        await until(
          "all are counted",
          () => ground.metric("datagrams_total", `relay="it",direction="${direction}"`) >= 2 * texts.length,
        );
        assertEquals(ground.metric("datagrams_total", `relay="it",direction="${direction}"`), 2 * texts.length);
      }
    }
  },

  async "a target's address may be spelled in any way"() {
    using server = await Udp.bind((text) => text);
    for (const host of ["[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "0.0.0.0"]) {
      await using ground = await Ground.start(
        { name: "it", listen: UDP, target: { address: `udp:${host}:${server.port}` } },
      );
      using client = await Udp.bind();
      await client.send(host, ground.port());
      await until("the answer", () => client.heard.length === 1);
    }
  },

  async "a flow ends when it is idle, and so does its stream"() {
    using server = await Udp.bind((text) => text);
    await using ground = await Ground.start(...overStream(server).map((spec) => ({ ...spec, idleTimeout: "150ms" })));
    using client = await Udp.bind();
    await client.send("x", ground.port());
    await until("the first answer", () => client.heard.length === 1);
    await until(
      "the flow's end",
      () => ground.metric("connections", "it") === 0 && ground.metric("connections", "node") === 0,
    );
    await client.send("y", ground.port());
    await until("the second answer", () => client.heard.length === 2);
    assertEquals(ground.metric("errors_total"), 0);
  },

  async "there are no more flows than allowed: a silent one makes room, a busy one does not"() {
    using server = await Udp.bind((text) => text);
    await using ground = await Ground.start({ name: "it", listen: UDP, target: target(server), maxConnections: 2 });
    using one = await Udp.bind();
    using two = await Udp.bind();
    using three = await Udp.bind();
    for (const udp of [one, two]) {
      await udp.send("x", ground.port());
      await until("the answer", () => udp.heard.length === 1);
    }
    await three.send("x", ground.port());
    await until("the third one is refused", () => ground.metric("errors_total", `reason="limit"`) === 1);
    await until("the third one is answered", async () => {
      await two.send("still busy", ground.port());
      await three.send("y", ground.port());
      return three.heard.length > 0;
    });
    assertEquals(ground.metric("connections", "it"), 2);
    const before = two.heard.length;
    await two.send("z", ground.port());
    await until("the busy one is answered", () => two.heard.length > before);
  },

  async "only the target may answer, and only allowed sources may ask"() {
    using server = await Udp.bind();
    await using ground = await Ground.start(
      { name: "it", listen: UDP, target: target(server), allowFrom: ["127.0.0.0/8"] },
      { name: "no", listen: UDP, target: target(server), allowFrom: ["10.0.0.0/8"] },
    );
    using client = await Udp.bind();
    using stranger = await Udp.bind();
    await client.send("x", ground.port("no"));
    await client.send("x", ground.port());
    await until(
      "one datagram arrives and one is refused",
      () => server.heard.length === 1 && ground.metric("errors_total", `reason="source"`) === 1,
    );
    const [flow = 0] = server.senders;
    await stranger.send("not yours", flow);
    await server.send("yours", flow);
    await until("the answer", () => client.heard.length > 0);
    assertEquals(client.heard, ["yours"]);
  },

  async "datagrams for a target that is not there are counted, and the next ones arrive"() {
    await using ground = await Ground.start({ name: "it", listen: UDP, target: { address: "unix:FOLDER/none.sock" } });
    using client = await Udp.bind();
    await client.send("x", ground.port());
    await until("the first one is counted", () => ground.metric("errors_total", `reason="connect"`) === 1);
    await using _ = new Server(echo, Deno.listen({ transport: "unix", path: `${ground.folder}/none.sock` }));
    await client.send("y", ground.port());
    await until("the answer", () => client.heard.length === 1);
    assertEquals(client.heard, ["y"]);
  },

  async "a stream that does not read makes datagrams drop, not memory grow"() {
    const over = Promise.withResolvers<void>();
    await using server = new Server(() => over.promise);
    await using ground = await Ground.start({
      name: "it",
      listen: UDP,
      target: { address: `tcp:127.0.0.1:${server.port}` },
    });
    using client = await Udp.bind();
    const block = new Uint8Array(32 * 1024);
    await until("datagrams are dropped", async () => {
      for (let i = 0; i < 50; i++) await client.send(block, ground.port());
      return ground.metric("errors_total", `reason="dropped"`) > 500;
    });
    over.resolve();
  },

  async "what waits for a target is bounded in bytes, for each sender and for all, and counted when it is lost"() {
    await withoutNames(async (fail) => {
      const specs = ["one", "all"].map((name) => ({ name, listen: UDP, target: BY_NAME }));
      await using ground = await Ground.start(...specs);
      const block = new Uint8Array(30_000);
      const senders = await Promise.all(Array.from({ length: 50 }, () => Udp.bind()));
      const flood = async (relay: string, udps: Udp[]) =>
        await until(`datagrams for ${relay} are dropped`, async () => {
          for (const udp of udps) await udp.send(block, ground.port(relay));
          udps.push(...udps.splice(0, 5)); // The first ones find the relay's queue empty: others are next time.
          return ground.metric("errors_total", `relay="${relay}",reason="dropped"`) > 50;
        });
      try {
        await flood("one", senders.slice(0, 1));
        await flood("all", senders);
        assertEquals(ground.metric("connections", "all"), senders.length);
      } finally {
        for (const udp of senders) udp[Symbol.dispose]();
      }
      fail();
      for (const [relay, most] of [["one", 256 * 1024], ["all", 8 << 20]] as const) {
        await until(`all flows of ${relay} have ended`, () => ground.metric("connections", relay) === 0);
        const bytes = block.length * ground.metric("errors_total", `relay="${relay}",reason="connect"`);
        assertGreater(bytes, most * 0.8);
        assertLess(bytes, most + LATE);
      }
    });
  },

  async "empty datagrams are bounded too"() {
    await withoutNames(async () => {
      await using ground = await Ground.start({ name: "it", listen: UDP, target: BY_NAME });
      using client = await Udp.bind();
      await until("datagrams are dropped", async () => {
        for (let i = 0; i < 100; i++) await client.send("", ground.port());
        return ground.metric("errors_total", `reason="dropped"`) > 0;
      });
    });
  },

  async "looking up a name takes no longer than connecting may, nor than its relay runs"() {
    const asked = await withoutNames(async () => {
      const tcp = { address: "tcp:127.0.0.1:0" };
      await using ground = await Ground.start(
        { name: "it", listen: UDP, target: BY_NAME, connectTimeout: "100ms" },
        { name: "stream", listen: tcp, target: BY_NAME, connectTimeout: "100ms" },
        { name: "patient", listen: UDP, target: BY_NAME, connectTimeout: "1h" },
        { name: "patient-stream", listen: tcp, target: BY_NAME, connectTimeout: "1h" },
      );
      using client = await Udp.bind();
      for (const relay of ["it", "patient"]) await client.send("x", ground.port(relay));
      using conn = await ground.connect("stream");
      using waiting = await ground.connect("patient-stream");
      assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
      for (const relay of ["it", "stream"]) {
        await until(
          `${relay} gives up`,
          () => ground.metric("errors_total", `relay="${relay}",reason="connect_timeout"`) === 1,
        );
      }
      await until(
        "both of the patient ones wait",
        () => ground.metric("connections", "patient") + ground.metric("connections", "patient-stream") === 2,
      );
      let over = false;
      const applied = ground.apply().then(() => over = true);
      await until("the relays are stopped", () => over);
      await applied;
      assertEquals(await waiting.read(new Uint8Array(1)).catch(() => null), null);
    });
    assertEquals(asked, 1); // Once for all four.
  },

  async "every datagram for a target that is not there is counted, once"() {
    await using ground = await Ground.start({ name: "it", listen: UDP, target: { address: "unix:FOLDER/none.sock" } });
    using client = await Udp.bind();
    for (let i = 0; i < 20; i++) await client.send("x", ground.port());
    await until("all are counted", () => ground.metric("errors_total") >= 20);
    assertEquals(ground.metric("errors_total", `reason="connect"`), 20);
    assertEquals(ground.metric("errors_total", `reason="dropped"`), 0);
  },

  async "datagrams that wait for a stream are lost with it, and not counted as passed"() {
    const over = Promise.withResolvers<void>();
    await using server = new Server(() => over.promise);
    await using ground = await Ground.start({
      name: "it",
      listen: UDP,
      target: { address: `tcp:127.0.0.1:${server.port}` },
    });
    using client = await Udp.bind();
    const block = new Uint8Array(30_000);
    await until("datagrams are dropped", async () => {
      for (let i = 0; i < 10; i++) await client.send(block, ground.port());
      return ground.metric("errors_total", `reason="dropped"`) > 100;
    });
    over.resolve(); // It closes without having read: the connection is reset.
    await until("the flow has ended", () => ground.metric("connections", "it") === 0);
    // More than waited only if some came too late for that flow, and began another one.
    assertGreaterOrEqual(
      ground.metric("errors_total", `reason="broken"`),
      Math.floor(256 * 1024 / (block.length + 256)),
    );
    const to = ground.metric("datagrams_total", `direction="to"`);
    assertEquals(ground.metric("bytes_total", `direction="to"`), to * block.length);
  },

  async "a datagram from a stream that is too long for UDP is counted as dropped, and only so"() {
    using server = await Udp.bind();
    await using ground = await Ground.start({
      name: "it",
      listen: { address: "tcp:127.0.0.1:0" },
      target: target(server),
    });
    using conn = await ground.connect();
    // 65,507 bytes is the most that UDP over IPv4 can say.
    await writeAll(conn, Uint8Array.of(65_530 >> 8, 65_530 & 255));
    await writeAll(conn, new Uint8Array(65_530));
    await writeAll(conn, Uint8Array.of(0, 2, 104, 105));
    await until("a datagram arrives", () => server.heard.length > 0);
    assertEquals(server.heard, ["hi"]);
    await until("it is counted", () => ground.metric("datagrams_total", `direction="to"`) > 0);
    assertEquals(ground.metric("datagrams_total", `direction="to"`), 1);
    assertEquals(ground.metric("bytes_total", `direction="to"`), 2);
    assertEquals(ground.metric("errors_total", `reason="dropped"`), 1);
  },

  async "a frame that a client does not finish ends its connection"() {
    using server = await Udp.bind();
    await using ground = await Ground.start({
      name: "it",
      listen: { address: "tcp:127.0.0.1:0" },
      target: target(server),
    });
    using conn = await ground.connect();
    // RFC 7766 section 8: two bytes of length, then the datagram.
    await writeAll(conn, Uint8Array.of(0, 2, 104, 105, 0, 0, 0, 9, 120));
    await until("both arrive", () => server.heard.length === 2);
    assertEquals(server.heard, ["hi", ""]);
    await conn.closeWrite();
    assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
    assertEquals(ground.metric("errors_total", `reason="broken"`), 1);
  },
};

const NODE_CHECKS: typeof CHECKS = {
  async "what waits in a socket of Node's is bounded in bytes, and the rest is told"() {
    let dropped = 0;
    const socket = await bindUdp("127.0.0.1", 0, () => dropped++);
    using client = await Udp.bind();
    const block = new Uint8Array(30_000);
    const { peer } = socket;
    if (!("port" in peer)) throw new Error("it has no port");
    await until("datagrams are dropped", async () => {
      await client.send(block, peer.port);
      return dropped > 20;
    });
    for (let i = 0; i < 7; i++) assertEquals((await socket.receive())?.data.length, block.length);
    socket.close();
    assertEquals(await socket.receive(), undefined);
  },
};

const UNIX_CHECKS: typeof CHECKS = {
  async "a unix datagram that is too long is dropped whole, and counted"() {
    await using ground = await Ground.start({
      name: "it",
      listen: { address: "unix-dgram:FOLDER/in.sock" },
      target: { address: "unix-dgram:FOLDER/out.sock" },
    });
    const server = bindUnixDatagram(`${ground.folder}/out.sock`, () => {});
    const client = bindUnixDatagram(`${ground.folder}/client.sock`, () => {});
    for (const size of [64 * 1024, 64 * 1024 + 1, 100_000, 1]) {
      await client.send(new Uint8Array(size), { path: `${ground.folder}/in.sock` });
    }
    for (const size of [64 * 1024, 1]) assertEquals((await server.receive())?.data.length, size);
    for (const socket of [client, server]) socket.close();
    await until("both are counted", () => ground.metric("datagrams_total", `direction="to"`) === 2);
    assertEquals(ground.metric("bytes_total", `direction="to"`), 64 * 1024 + 1);
    assertEquals(ground.metric("errors_total", `reason="dropped"`), 2);
  },

  async "datagrams go through unix sockets, one way"() {
    using server = await Udp.bind((text) => text);
    await using ground = await Ground.start(
      { name: "it", listen: UDP, target: { address: "unix-dgram:FOLDER/d.sock" } },
      { name: "d", listen: { address: "unix-dgram:FOLDER/d.sock", mode: "0622" }, target: target(server) },
    );
    using client = await Udp.bind();
    const texts = ["a", "b".repeat(20_000), ...Array.from({ length: 30 }, (_, i) => `${i}`)];
    for (const text of texts) await client.send(text, ground.port());
    await until("all arrive", () => server.heard.length === texts.length);
    assertEquals(server.heard, texts);
    assertEquals((await Deno.lstat(`${ground.folder}/d.sock`)).mode! & 0o777, 0o622);
    // The socket's file is removed and comes back.
    await Deno.remove(`${ground.folder}/d.sock`);
    await until("the socket's file is back", async () => {
      await client.send("again", ground.port());
      return server.heard.includes("again");
    });
    assertEquals(client.heard, []);
  },
};

for (const [name, check] of Object.entries({ ...CHECKS, ...(NATIVE ? UNIX_CHECKS : NODE_CHECKS) })) {
  try {
    await check();
    console.log(`ok: ${name}`);
  } catch (error) {
    console.log(`failed: ${name}: ${error instanceof Error ? error.stack : error}`);
    Deno.exitCode = 1;
  }
}
