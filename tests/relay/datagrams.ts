/**
 * Datagrams through relays. Run by `datagram_test.ts`, once as Deno is and once with `--unstable-net`, as relays take
 * another way then:
 *
 *     deno run -A [--unstable-net] tests/relay/datagrams.ts
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { createSocket, type Socket } from "node:dgram";
import type { RelaySpec } from "../../lib/relay/mod.ts";
import { echo, Ground, Server, until, writeAll } from "./harness.ts";

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
        await until(() => one.heard.length > before[0]! && two.heard.length > before[1]!);
      }
      assertEquals(one.heard, texts.map((text) => `<${text}>`));
      assertEquals(two.heard, texts.map((text) => `<2${text}>`));
      assertEquals(server.senders.size, 2);
      assertEquals(ground.metric("connections", "it"), 2);
      assertEquals(ground.metric("datagrams_total", `relay="it",direction="to"`), 2 * texts.length);
      assertEquals(ground.metric("datagrams_total", `relay="it",direction="from"`), 2 * texts.length);
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
      await until(() => client.heard.length === 1);
    }
  },

  async "a flow ends when it is idle, and so does its stream"() {
    using server = await Udp.bind((text) => text);
    await using ground = await Ground.start(...overStream(server).map((spec) => ({ ...spec, idleTimeout: "150ms" })));
    using client = await Udp.bind();
    await client.send("x", ground.port());
    await until(() => client.heard.length === 1);
    await until(() => ground.metric("connections", "it") === 0 && ground.metric("connections", "node") === 0);
    await client.send("y", ground.port());
    await until(() => client.heard.length === 2);
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
      await until(() => udp.heard.length === 1);
    }
    await three.send("x", ground.port());
    await until(() => ground.metric("errors_total", `reason="limit"`) === 1);
    await until(async () => {
      await two.send("still busy", ground.port());
      await three.send("y", ground.port());
      return three.heard.length > 0;
    });
    assertEquals(ground.metric("connections", "it"), 2);
    const before = two.heard.length;
    await two.send("z", ground.port());
    await until(() => two.heard.length > before);
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
    await until(() => server.heard.length === 1 && ground.metric("errors_total", `reason="source"`) === 1);
    const [flow = 0] = server.senders;
    await stranger.send("not yours", flow);
    await server.send("yours", flow);
    await until(() => client.heard.length > 0);
    assertEquals(client.heard, ["yours"]);
  },

  async "datagrams for a target that is not there are counted, and the next ones arrive"() {
    await using ground = await Ground.start({ name: "it", listen: UDP, target: { address: "unix:FOLDER/none.sock" } });
    using client = await Udp.bind();
    await client.send("x", ground.port());
    await until(() => ground.metric("errors_total", `reason="connect"`) === 1);
    await using _ = new Server(echo, Deno.listen({ transport: "unix", path: `${ground.folder}/none.sock` }));
    await client.send("y", ground.port());
    await until(() => client.heard.length === 1);
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
    await until(async () => {
      for (let i = 0; i < 50; i++) await client.send(block, ground.port());
      return ground.metric("errors_total", `reason="dropped"`) > 500;
    });
    over.resolve();
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
    await until(() => server.heard.length === 2);
    assertEquals(server.heard, ["hi", ""]);
    await conn.closeWrite();
    assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
    assertEquals(ground.metric("errors_total", `reason="broken"`), 1);
  },
};

const UNIX_CHECKS: typeof CHECKS = {
  async "datagrams go through unix sockets, one way"() {
    using server = await Udp.bind((text) => text);
    await using ground = await Ground.start(
      { name: "it", listen: UDP, target: { address: "unix-dgram:FOLDER/d.sock" } },
      { name: "d", listen: { address: "unix-dgram:FOLDER/d.sock", mode: "0622" }, target: target(server) },
    );
    using client = await Udp.bind();
    const texts = ["a", "b".repeat(20_000), ...Array.from({ length: 30 }, (_, i) => `${i}`)];
    for (const text of texts) await client.send(text, ground.port());
    await until(() => server.heard.length === texts.length);
    assertEquals(server.heard, texts);
    assertEquals((await Deno.lstat(`${ground.folder}/d.sock`)).mode! & 0o777, 0o622);
    // The socket's file is removed and comes back.
    await Deno.remove(`${ground.folder}/d.sock`);
    await until(async () => {
      await client.send("again", ground.port());
      return server.heard.includes("again");
    });
    assertEquals(client.heard, []);
  },
};

for (const [name, check] of Object.entries({ ...CHECKS, ...(NATIVE && UNIX_CHECKS) })) {
  try {
    await check();
    console.log(`ok: ${name}`);
  } catch (error) {
    console.log(`failed: ${name}: ${error instanceof Error ? error.stack : error}`);
    Deno.exitCode = 1;
  }
}
