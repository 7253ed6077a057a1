/** A port-forward as a whole: its wires, its connections, its beginning and its end. The server is played in memory. */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { PodwireError } from "../../lib/bytes/mod.ts";
import { ApiError, ForwardError, PortForwardError, TargetError, UpgradeError } from "../../lib/client/mod.ts";
import { ListenError } from "../../lib/dial/mod.ts";
import { PortForward, type PortForwardEvent } from "../../lib/client/port_forward.ts";
import { utf8 } from "../spdy/harness.ts";
import { FakeClock } from "./fake_clock.ts";
import { FrameType, readText, REFUSED } from "./forward_peer.ts";
import { FakeServer, leftAlone, makePod, refusal, withPortForward } from "./forward_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const PATH = "/api/v1/namespaces/shop/pods/web-0/portforward";

/** A code that is an event's or an error's. */
const code = (error: unknown) => error instanceof ForwardError ? error.code : error;

Deno.test("PortForward.open() dials the tunnel first, and tells of it", async () => {
  await withPortForward({}, async ({ server, forward, events }) => {
    assertEquals(server.dials, [{ wire: "tunnel", path: PATH }]);
    assertEquals(events, [{ type: "dialed", wire: "tunnel", pod: "web-0" }]);
    assertEquals(forward.pod.metadata.name, "web-0");
    await Promise.resolve();
  });
});

Deno.test("PortForward.connect() opens streams with the port and a number of their own, and tells what becomes of them", async () => {
  await withPortForward({}, async ({ server, forward, events, clock }) => {
    const [peer] = server.peers;
    const connecting = [forward.connect(80)];
    const first = await peer!.accept();
    const connection = await connecting[0]!;
    assertEquals([first, connection.port], [{ error: 1, data: 3, port: 80 }, 80]);
    await connection.write(utf8("ping"));
    assertEquals(await peer!.expectData(3), "ping");
    await peer!.data(3, "pong!");
    await peer!.finish(first);
    assertEquals(await readText(connection), "pong!");
    await connection.closed;
    await peer!.expectReset(3);
    const failing = forward.connect(9999);
    const second = await peer!.accept();
    assertEquals(second, { error: 5, data: 7, port: 9999 });
    await peer!.fail(second, REFUSED);
    const error = await assertRejects(
      () => readText({ read: async (into) => (await failing).read(into) }),
      ForwardError,
    );
    await clock.settle();
    assertEquals(events.slice(1), [
      { type: "connected", port: 80, connection: 1 },
      { type: "closed", bytesReceived: 5, bytesSent: 4, port: 80, connection: 1 },
      { type: "connected", port: 9999, connection: 2 },
      { type: "failed", error, port: 9999, connection: 2 },
    ]);
    assertEquals(forward.stats, {
      connections: 2,
      active: 0,
      failed: 1,
      bytesReceived: 5,
      bytesSent: 4,
      redials: 0,
    });
  });
});

Deno.test("PortForward: a refused connection does nothing to the others", async () => {
  await withPortForward({}, async ({ server, forward }) => {
    const [healthy, refused] = [forward.connect(80), forward.connect(9999)];
    while (server.peers.length < 2) await new Promise<void>((resolve) => queueMicrotask(resolve));
    const [here, there] = server.peers;
    const pair = await here!.accept();
    await there!.fail(await there!.accept(), REFUSED);
    const connection = await healthy;
    await assertRejects(async () => await readText(await refused), ForwardError, "connection refused");
    await connection.write(utf8("alive"));
    assertEquals(await here!.expectData(pair.data), "alive");
    await here!.data(pair.data, "alive");
    await here!.finish(pair);
    assertEquals(await readText(connection), "alive");
    assertEquals(forward.stats.active, 0);
  });
});

Deno.test("PortForward.connect() rejects what is no port, and an aborted signal", async () => {
  await withPortForward({}, async ({ server, forward }) => {
    for (const port of [0, -1, 65536, 1.5, NaN]) await assertRejects(() => forward.connect(port), RangeError);
    const reason = new Error("no time");
    assertEquals(await assertRejects(() => forward.connect(80, { signal: AbortSignal.abort(reason) })), reason);
    assertEquals(server.peers[0]!.openStreams, 0);
    assertEquals(forward.stats.active, 0);
  });
});

Deno.test("PortForward.listen() rejects what is no port, there and here", async () => {
  await withPortForward({}, async ({ forward }) => {
    for (const target of [0, -1, 65536, 1.5, NaN, "80", undefined] as number[]) {
      await assertRejects(() => forward.listen({ port: 0, target }), RangeError, `${target} is not a port`);
    }
    for (const port of [-1, 65536, 1.5, NaN, "80", undefined] as number[]) {
      await assertRejects(() => forward.listen({ port, target: 80 }), RangeError, `${port} is not a port`);
    }
  });
});

Deno.test("PortForward.listen() tells the address of a unix socket, and no more", async () => {
  await withPortForward({}, async ({ forward }) => {
    const folder = await Deno.makeTempDir();
    try {
      const path = `${folder}/web.sock`;
      await using listener = await forward.listen({ path, target: 80 });
      assertEquals(listener.address, { path });
      const taken = await assertRejects(() => forward.listen({ path, target: 80 }), ListenError);
      assertEquals(taken.address, { path });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
});

Deno.test("PortForward.connect() rejects with PortForwardError after close()", async () => {
  await withPortForward({}, async ({ forward }) => {
    forward.close();
    await assertRejects(() => forward.connect(80), PortForwardError, "the port-forward was closed");
    await forward.finished;
  });
});

Deno.test("PortForward.open() refuses a finDelay that is no time", async () => {
  const server = new FakeServer();
  for (const finDelay of [NaN, -1]) {
    await assertRejects(() => PortForward.open(server.byName("web-0"), { finDelay }), RangeError, "finDelay");
  }
  assertEquals(server.dials, []);
});

Deno.test("PortForward.connect() gives up when its signal aborts, and then no more", async () => {
  await withPortForward({}, async ({ server, forward, clock }) => {
    const [peer] = server.peers;
    const controller = new AbortController();
    const reason = new Error("no time");
    const connecting = forward.connect(80, { signal: controller.signal });
    const ids = await peer!.opened();
    controller.abort(reason);
    assertEquals(await assertRejects(() => connecting), reason);
    await peer!.expectReset(ids.data);
    await peer!.expectReset(ids.error);
    await clock.settle();
    assertEquals(forward.stats.active, 0);

    const later = new AbortController();
    const opening = forward.connect(80, { signal: later.signal });
    const pair = await peer!.accept();
    const connection = await opening;
    later.abort(reason);
    await connection.write(utf8("still"));
    assertEquals(await peer!.expectData(pair.data), "still");
  });
});

Deno.test("PortForward.connect() gives up while one more session is being dialed", async () => {
  await withPortForward({}, async ({ server, forward, clock }) => {
    const first = forward.connect(80);
    await server.peers[0]!.accept();
    await first;
    const dialing = Promise.withResolvers<void>();
    server.onDial = () => dialing.promise;
    const controller = new AbortController();
    const connecting = forward.connect(80, { signal: controller.signal });
    await clock.settle();
    assertEquals(server.dials.length, 2);
    const reason = new Error("no time");
    controller.abort(reason);
    assertEquals(await assertRejects(() => connecting), reason);
    dialing.resolve();
    await clock.pass(1_000);
    assertEquals([server.peers[1]!.openStreams, forward.stats.active], [0, 1], "nothing is left of it");
  });
});

Deno.test("PortForward.connect() explains a server that does not answer", async () => {
  await withPortForward({}, async ({ server, forward, clock, events }) => {
    const connecting = assertRejects(() => forward.connect(80), ForwardError, "was not answered within 30000 ms");
    await server.peers[0]!.opened();
    await clock.pass(32_000);
    assertEquals((await connecting).code, "ETIMEDOUT");
    assertEquals([events.at(-1)?.type, server.peers[0]!.openStreams], ["failed", 0]);
  });
});

for (
  const refused of [
    refusal(403),
    refusal(400, undefined),
    refusal(404, "not found"),
    refusal(500, "no"),
    refusal(101),
  ]
) {
  Deno.test(`PortForward goes over SPDY where the tunnel is refused with ${refused.code}${refused.status ? " and a Status" : ""}`, async () => {
    await withPortForward({
      onDial: ({ wire }) => wire === "tunnel" ? refused : undefined,
    }, async ({ server, forward, events, clock }) => {
      assertEquals(server.dials.map(({ wire }) => wire), ["tunnel", "spdy"]);
      assertEquals(events, [{ type: "dialed", wire: "spdy", pod: "web-0" }]);
      const connections = [forward.connect(80), forward.connect(80)];
      await clock.settle();
      assertEquals(server.dials.map(({ wire }) => wire), ["tunnel", "spdy", "spdy"], "it is not refused twice");
      for (const peer of server.peers) await peer.accept();
      for (const connection of connections) (await connection).close();
    });
  });
}

Deno.test("PortForward.open() tries no other wire where nobody has answered", async () => {
  const unreachable = new PodwireError("nobody answers");
  using clock = new FakeClock();
  const server = new FakeServer();
  server.pods.set("web-0", makePod("web-0"));
  server.onDial = () => unreachable;
  assertEquals(await assertRejects(() => PortForward.open(server.byName("web-0"))), unreachable);
  assertEquals(server.dials.length, 1);
  await leftAlone(clock, server);
});

Deno.test("PortForward.open() takes the wire that it is told to, and no other", async () => {
  for (const [wire, dialed] of [["tunnel", "tunnel"], ["spdy", "spdy"]] as const) {
    using clock = new FakeClock();
    const server = new FakeServer();
    server.pods.set("web-0", makePod("web-0"));
    server.onDial = () => refusal(403);
    await assertRejects(() => PortForward.open(server.byName("web-0", wire)), UpgradeError);
    assertEquals(server.dials.map(({ wire }) => wire), [dialed]);
    server.onDial = () => {};
    const forward = await PortForward.open(server.byName("web-0", wire));
    assertEquals(server.dials.map(({ wire }) => wire), [dialed, dialed]);
    forward.close();
    await leftAlone(clock, server);
  }
});

Deno.test("PortForward.open() goes over channels where both other wires are refused without a Status", async () => {
  await withPortForward({
    onDial: ({ wire }) => wire === "v4" ? undefined : refusal(403, undefined, wire === "spdy" ? "spdy" : "websocket"),
  }, async ({ server, forward, events }) => {
    assertEquals(server.dials.map(({ wire }) => wire), ["tunnel", "spdy"]);
    const connection = await forward.connect(80);
    assertEquals(server.dials.at(-1), { wire: "v4", path: `${PATH}?ports=80` });
    assertEquals(events[0], { type: "dialed", wire: "v4", pod: "web-0" });
    connection.close();
  });
});

Deno.test("PortForward.open() fails where one of the wires is refused with a Status", async () => {
  for (const withStatus of ["tunnel", "spdy"]) {
    using clock = new FakeClock();
    const server = new FakeServer();
    server.pods.set("web-0", makePod("web-0"));
    server.onDial = ({ wire }) =>
      refusal(403, wire === withStatus ? "you may not" : undefined, wire === "spdy" ? "spdy" : "websocket");
    await assertRejects(() => PortForward.open(server.byName("web-0")), UpgradeError);
    assertEquals(server.dials.map(({ wire }) => wire), ["tunnel", "spdy"]);
    await leftAlone(clock, server);
  }
});

/** The first message of a channel: the port's number, in two bytes, the low one first (kubelet `pkg/kubelet/server`, cri-streaming `portforward/websocket.go`). */
const greetings = (port: number) => [0, 1].map((channel) => Uint8Array.of(channel, port & 255, port >> 8));

const CHANNELS = {
  target: (server: FakeServer) => server.byName("web-0", "websocket"),
} as const;

Deno.test("PortForward over channels: a WebSocket for each connection, data on 0, the pod's end is the server's Close", async () => {
  await withPortForward(CHANNELS, async ({ server, forward, events, clock }) => {
    assertEquals([server.dials, events], [[], []], "there is nothing to dial before a port is known");
    const connections = [await forward.connect(80), await forward.connect(8080)];
    assertEquals(server.dials.map(({ path }) => path), [`${PATH}?ports=80`, `${PATH}?ports=8080`]);
    const [socket] = server.sockets;
    for (const greeting of greetings(80)) await socket!.send(greeting);
    await connections[0]!.write(utf8("ping"));
    assertEquals(await socket!.receive(), utf8("\0ping"));
    await socket!.send(utf8("\0po"));
    await socket!.send(utf8("\0ng"));
    const text = readText(connections[0]!);
    await connections[0]!.closeWrite();
    await socket!.close();
    assertEquals(await text, "pong");
    await connections[0]!.closed;
    connections[1]!.close();
    await clock.settle();
    assertEquals(forward.stats, { connections: 2, active: 0, failed: 0, bytesReceived: 4, bytesSent: 4, redials: 0 });
  });
});

Deno.test("PortForward over channels: no half-close there, so the end waits for the pod, then takes both directions", async () => {
  await withPortForward(CHANNELS, async ({ server, forward, clock }) => {
    const connection = await forward.connect(80);
    const [socket] = server.sockets;
    for (const greeting of greetings(80)) await socket!.send(greeting);
    await connection.write(utf8("x"));
    assertEquals(await socket!.receive(), utf8("\0x"));
    await connection.closeWrite();
    const next = socket!.receive();
    await clock.pass(9_000);
    await socket!.send(utf8("\0answer"));
    const buffer = new Uint8Array(100);
    assertEquals(await connection.read(buffer), 6);
    const end = connection.read(buffer);
    await clock.pass(10_000);
    assertEquals([await next, await end], [undefined, null]);
    await connection.closed;
  });
});

Deno.test("PortForward over channels: what the pod says last counts, and a Close that tells of a failure is one", async () => {
  await withPortForward(CHANNELS, async ({ server, forward }) => {
    const buffer = new Uint8Array(100);
    const whole = await forward.connect(80);
    for (const greeting of greetings(80)) await server.sockets[0]!.send(greeting);
    await server.sockets[0]!.send(utf8("\0all"));
    await server.sockets[0]!.close();
    assertEquals([await whole.read(buffer), await whole.read(buffer)], [3, null]);
    await whole.closed;

    const failed = await forward.connect(80);
    for (const greeting of greetings(80)) await server.sockets[1]!.send(greeting);
    await server.sockets[1]!.send(utf8("\0half"));
    await server.sockets[1]!.close({ closeCode: 1011, reason: "backend died" });
    assertEquals(await failed.read(buffer), 4);
    assertEquals(code(await assertRejects(() => failed.read(buffer), ForwardError, "backend died")), "ECONNRESET");
  });
});

Deno.test("PortForward over channels: a text on channel 1 is a failure, and so is an end without Close", async () => {
  await withPortForward(CHANNELS, async ({ server, forward }) => {
    const refused = await forward.connect(9999);
    for (const greeting of greetings(9999)) await server.sockets[0]!.send(greeting);
    await server.sockets[0]!.send(utf8(`\x01${REFUSED}`));
    await server.sockets[0]!.close();
    assertEquals(
      code(await assertRejects(() => readText(refused), ForwardError, "connection refused")),
      "ECONNREFUSED",
    );

    const broken = await forward.connect(80);
    for (const greeting of greetings(80)) await server.sockets[1]!.send(greeting);
    await server.sockets[1]!.send(utf8("\0half"));
    server.sockets[1]!.abort();
    const buffer = new Uint8Array(100);
    assertEquals(await broken.read(buffer), 4);
    assertEquals(code(await assertRejects(() => broken.read(buffer), ForwardError)), "ECONNRESET");

    const texted = await forward.connect(80);
    await server.sockets[2]!.send("\0text");
    assertEquals(code(await assertRejects(() => texted.read(buffer), ForwardError, "text")), "ECONNRESET");
    assertEquals(forward.stats.failed, 3);
  });
});

Deno.test("PortForward over channels: a connection that the server refuses fails alone, and at once", async () => {
  await withPortForward(CHANNELS, async ({ server, forward, clock, events }) => {
    const connection = await forward.connect(80);
    server.onDial = () => refusal(500, "no");
    await assertRejects(() => forward.connect(81), UpgradeError);
    await clock.settle();
    assertEquals(server.dials.length, 2);
    assertEquals(events.filter(({ type }) => type === "lost"), []);
    await connection.write(utf8("x"));
  });
});

Deno.test("PortForward.open() refuses a pod that does not run, and one that is not there", async () => {
  using clock = new FakeClock();
  const server = new FakeServer();
  server.pods.set("web-0", makePod("web-0", { phase: "Pending" }));
  await assertRejects(
    () => PortForward.open(server.byName("web-0")),
    TargetError,
    "unable to forward port because pod is not running. Current status=Pending",
  );
  assertEquals((await assertRejects(() => PortForward.open(server.byName("web-1")), ApiError)).code, 404);
  assertEquals(server.dials, []);
  await leftAlone(clock, server);
});

/** Stages of a port-forward at which it can be ended: each gives what it was ended by then. */
const STAGES: Readonly<Record<string, (server: FakeServer, end: () => void) => void>> = {
  "before it begins": (_server, end) => end(),
  "while the pod is looked for": (server, end) => {
    server.pods.clear(); // The target waits for one.
    queueMicrotask(end);
  },
  "while a session is dialed": (server, end) => {
    server.onDial = () => {
      queueMicrotask(end);
      return new Promise(() => {});
    };
  },
  "while a second wire is tried": (server, end) => {
    server.onDial = ({ wire }) => {
      if (wire === "tunnel") return refusal(403);
      queueMicrotask(end);
      return new Promise(() => {});
    };
  },
};

for (const [stage, arrange] of Object.entries(STAGES)) {
  Deno.test(`PortForwardOptions.signal aborts ${stage}`, async () => {
    using clock = new FakeClock();
    const server = new FakeServer();
    server.pods.set("web-0", makePod("web-0"));
    const controller = new AbortController();
    const reason = new Error("enough");
    arrange(server, () => controller.abort(reason));
    const opening = PortForward.open(server.anyPod(), { signal: controller.signal });
    assertEquals(await assertRejects(() => opening), reason);
    await leftAlone(clock, server);
  });
}

Deno.test("PortForwardOptions.signal aborts in the very moment in which a session is open", async () => {
  using clock = new FakeClock();
  const server = new FakeServer();
  server.pods.set("web-0", makePod("web-0"));
  const controller = new AbortController();
  const reason = new Error("enough");
  const opening = PortForward.open(server.byName("web-0"), {
    signal: controller.signal,
    onEvent: () => controller.abort(reason),
  });
  assertEquals(await assertRejects(() => opening), reason);
  await clock.pass(2_000);
  await server.peers[0]!.gone;
  await leftAlone(clock, server);
});

Deno.test("PortForwardOptions.signal ends an open port-forward: finished and connections tell, listeners are gone", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  await withPortForward({ options: { signal: controller.signal } }, async ({ server, forward, clock }) => {
    const connecting = forward.connect(80);
    await server.peers[0]!.accept();
    const connection = await connecting;
    controller.abort(reason);
    assertEquals(await assertRejects(() => forward.finished), reason);
    assertEquals(code(await assertRejects(() => connection.closed, ForwardError)), "ECONNRESET");
    assertEquals(await assertRejects(() => forward.connect(80)), reason);
    await clock.pass(1_000);
    assertEquals(forward.stats.active, 0);
  });
});

Deno.test("PortForward.close() resets the streams, says GOAWAY, and resolves finished", async () => {
  await withPortForward({}, async ({ server, forward, clock }) => {
    const connecting = forward.connect(80);
    const pair = await server.peers[0]!.accept();
    const connection = await connecting;
    const waiting = assertRejects(() => connection.read(new Uint8Array(1)), ForwardError);
    forward.close();
    forward.close();
    await forward.finished;
    await waiting;
    await assertRejects(() => forward.connect(80), PodwireError, "closed");
    await server.peers[0]!.expectReset(pair.data);
    assertEquals((await server.peers[0]!.next()).type, FrameType.GOAWAY);
    await clock.pass(1_500);
    await server.peers[0]!.gone;
    assertEquals(clock.pending, 0, "nothing keeps the process alive");
  });
});

Deno.test("PortForward is disposed of with its session, in an `await using`", async () => {
  using clock = new FakeClock();
  const server = new FakeServer();
  server.pods.set("web-0", makePod("web-0"));
  {
    await using forward = await PortForward.open(server.byName("web-0"));
    assert(forward.pod);
  }
  await clock.pass(2_000);
  await server.peers[0]!.gone;
  await leftAlone(clock, server);
});

Deno.test("PortForward.connect(): a thousand at once share eight sessions, and all end", async () => {
  await withPortForward({}, async ({ server, forward, clock }) => {
    const connecting = Array.from({ length: 1000 }, () => forward.connect(80));
    await clock.settle();
    assertEquals(server.peers.length, 8);
    let accepted = 0;
    for (const peer of server.peers) {
      void peer.serve(async (pair) => {
        await peer.data(pair.data, "hello");
        await (++accepted % 5 === 0 ? peer.fail(pair, REFUSED) : peer.finish(pair));
      });
    }
    const outcomes = await Promise.allSettled(connecting.map(async (connection) => await readText(await connection)));
    assertEquals(outcomes.filter(({ status }) => status === "rejected").length, 200);
    assertEquals(forward.stats.failed, 200);
    await clock.settle();
    assertEquals([forward.stats.active, ...server.peers.map(({ openStreams }) => openStreams)], Array(9).fill(0));
  });
});

Deno.test("PortForward tells a stranger what went wrong in the end", async () => {
  const events: PortForwardEvent[] = [];
  await withPortForward({
    options: { reconnect: false, onEvent: (event) => events.push(event) },
  }, async ({ server, forward }) => {
    await server.peers[0]!.goAway();
    const error = await assertRejects(() => forward.finished, PortForwardError, "lost connection to pod");
    assertInstanceOf(error.cause, PodwireError);
    assertEquals(events.map(({ type }) => type), ["dialed"]);
  });
});
