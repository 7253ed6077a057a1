/** What a port-forward survives, how, and what ends it: pods and sessions that come and go, in a time that a test has in its hand. */
import { assert, assertEquals, assertInstanceOf, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { PodwireError } from "../../lib/bytes/mod.ts";
import { ForwardError, PortForwardError } from "../../lib/client/mod.ts";
import { CredentialsError } from "../../lib/kubeconfig/mod.ts";
import type { PortForward, PortForwardEvent } from "../../lib/client/port_forward.ts";
import type { ForwardedConnection } from "../../lib/client/forwarded_connection.ts";
import { utf8 } from "../spdy/harness.ts";
import type { ForwardPeer, PeerPair } from "./forward_peer.ts";
import { type FakeServer, makePod, withPortForward } from "./forward_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Opens a connection over the only session that is free. */
async function connect(
  forward: PortForward,
  peer: ForwardPeer,
): Promise<{ connection: ForwardedConnection; pair: PeerPair }> {
  const connecting = forward.connect(80);
  const pair = await peer.accept();
  return { connection: await connecting, pair };
}

/** Fails unless bytes go both ways. */
async function assertWorks(
  { connection, pair }: Awaited<ReturnType<typeof connect>>,
  peer: ForwardPeer,
): Promise<void> {
  await connection.write(utf8("ping"));
  assertEquals(await peer.expectData(pair.data), "ping");
  await peer.data(pair.data, "pong");
  assertEquals(await connection.read(new Uint8Array(10)), 4);
}

/** Fails unless the connection has been reset. */
async function assertReset({ connection }: { connection: ForwardedConnection }): Promise<ForwardError> {
  const error = await assertRejects(() => connection.closed, ForwardError);
  assertEquals(error.code, "ECONNRESET");
  return error;
}

const types = (events: readonly PortForwardEvent[]) => events.map(({ type }) => type);
const unreachable = new PodwireError("nobody answers");
const anyPod = (server: FakeServer) => server.anyPod();

Deno.test("PortForward dials anew when the last session is lost; connections fail, new ones work", async () => {
  await withPortForward({}, async ({ server, forward, events, clock }) => {
    const old = await connect(forward, server.peers[0]!);
    server.peers[0]!.close();
    const error = await assertReset(old);
    assertStringIncludes(error.message, "the connection to the pod was lost");
    await clock.pass(0);
    assertEquals(types(events), ["dialed", "connected", "lost", "failed", "dialed"]);
    await assertWorks(await connect(forward, server.peers[1]!), server.peers[1]!);
    assertEquals(forward.stats.redials, 1);
    assertEquals(server.requests.filter((request) => request === "get web-0").length, 2, "the target is resolved anew");
  });
});

Deno.test("PortForward says that it cannot see its pod for lack of credentials, and goes on", async () => {
  await withPortForward({}, async ({ server, forward, events, clock }) => {
    const open = await connect(forward, server.peers[0]!);
    const reason = server.unsendable = new CredentialsError("getting credentials: exec: it failed");
    server.endWatches();
    await clock.pass(120_000);
    await assertWorks(open, server.peers[0]!);
    assertEquals(events.filter(({ type }) => type === "unwatched"), [{ type: "unwatched", pod: "web-0", reason }]);
    assertEquals(types(events), ["dialed", "connected", "unwatched"]);
  });
});

Deno.test("PortForward loses nothing while other sessions live", async () => {
  await withPortForward({}, async ({ server, forward, events, clock }) => {
    const first = await connect(forward, server.peers[0]!);
    const connecting = forward.connect(80);
    await clock.pass(0);
    const second = { pair: await server.peers[1]!.accept(), connection: await connecting };
    server.peers[0]!.close();
    await assertReset(first);
    await assertWorks(second, server.peers[1]!);
    assertEquals(types(events).includes("lost"), false);
  });
});

Deno.test("PortForward notices a server that has fallen silent, and dials anew", async () => {
  await withPortForward({}, async ({ server, forward, events, clock }) => {
    const old = await connect(forward, server.peers[0]!);
    server.peers[0]!.mute = true;
    const reset = assertReset(old);
    await clock.pass(29_000);
    assertEquals(types(events), ["dialed", "connected"]);
    await clock.pass(12_000);
    assertStringIncludes((await reset).message, "no sign of life");
    assertEquals(types(events).slice(-1), ["dialed"]);
    assert(server.peers[0]!.pings >= 3);
  });
});

Deno.test("PortForward dials again and again, at first without a pause, then with longer ones up to a second", async () => {
  await withPortForward({}, async ({ server, forward, events, clock }) => {
    server.onDial = () => unreachable;
    const began = clock.now;
    server.peers[0]!.close();
    await clock.pass(0);
    assertEquals(server.dials.length, 2);
    const times: number[] = [];
    for (let dials = 2; dials < 12;) {
      await clock.pass(10);
      if (server.dials.length > dials) times.push(clock.now);
      dials = server.dials.length;
    }
    const pauses = times.map((time, i) => time - (times[i - 1] ?? began));
    // What is written down, less up to a half by chance; and ten milliseconds of this test's own.
    for (const [i, delay] of [100, 300, 700, 1000, 1000, 1000].entries()) {
      assert(delay / 2 <= pauses[i]! && pauses[i]! <= delay + 20, `pause ${i} was ${pauses[i]}`);
    }
    const retries = events.filter((event) => event.type === "retry");
    assertEquals(retries.slice(0, 5).map(({ attempt, delay, reason }) => [attempt, delay, reason]), [
      [1, 0, unreachable],
      [2, 100, unreachable],
      [3, 300, unreachable],
      [4, 700, unreachable],
      [5, 1000, unreachable],
    ]);
    server.onDial = () => {};
    const connecting = forward.connect(80);
    await clock.pass(1_000);
    const pair = await server.peers[1]!.accept();
    await assertWorks({ pair, connection: await connecting }, server.peers[1]!);
    assertEquals(types(events).filter((type) => type === "lost").length, 1, "lost once");
  });
});

Deno.test("PortForward does not dial without a pause a server that ends each session at once", async () => {
  await withPortForward({}, async ({ server, clock }) => {
    let dropped = 0;
    const drop = () => {
      for (; dropped < server.peers.length; dropped++) server.peers[dropped]!.close();
    };
    for (let i = 0; i < 100; i++) {
      drop();
      await clock.pass(100);
    }
    assertLess(server.dials.length, 25, "in ten seconds");
    assert(server.dials.length > 8, `${server.dials.length} dials`);
  });
});

Deno.test("PortForward.connect() waits while there is no way to the pod, and fails after half a minute", async () => {
  await withPortForward({}, async ({ server, forward, clock }) => {
    server.onDial = () => unreachable;
    server.peers[0]!.close();
    await clock.pass(1_000);
    const began = clock.now;
    const connecting = assertRejects(() => forward.connect(80), ForwardError, "no way to the pod within 30 s")
      .then((error) => ({ error, after: clock.now - began }));
    await clock.pass(31_000);
    const { error, after } = await connecting;
    assertEquals([error.code, error.port, after], ["ETIMEDOUT", 80, 30_000]);
  });
});

Deno.test("PortForward.connect() fails in time also while a dial hangs", async () => {
  await withPortForward({}, async ({ server, forward, clock }) => {
    await connect(forward, server.peers[0]!);
    server.onDial = () => new Promise(() => {});
    server.peers[0]!.close();
    await clock.pass(0);
    const connecting = assertRejects(() => forward.connect(80), ForwardError, "no way to the pod");
    await clock.pass(31_000);
    await connecting;
  });
});

Deno.test("PortForward.connect() that waits can be given up, and ends with the port-forward", async () => {
  await withPortForward({}, async ({ server, forward, clock }) => {
    server.onDial = () => unreachable;
    server.peers[0]!.close();
    await clock.pass(1_000);
    const controller = new AbortController();
    const [aborted, closed] = [forward.connect(80, { signal: controller.signal }), forward.connect(80)];
    const reason = new Error("no time");
    controller.abort(reason);
    assertEquals(await assertRejects(() => aborted), reason);
    forward.close();
    await assertRejects(() => closed, PodwireError, "the port-forward was closed");
    await forward.finished;
  });
});

Deno.test("PortForward goes to the target's next pod when its own is gone", async () => {
  await withPortForward({ target: anyPod }, async ({ server, forward, events, clock }) => {
    const old = await connect(forward, server.peers[0]!);
    server.remove("web-0");
    const error = await assertReset(old);
    assertStringIncludes(error.message, "pod shop/web-0 was deleted");
    const connecting = forward.connect(80);
    await clock.pass(5_000);
    server.put(makePod("web-1"));
    await clock.pass(0);
    assertEquals(forward.pod.metadata.name, "web-1");
    const pair = await server.peers[1]!.accept();
    await assertWorks({ pair, connection: await connecting }, server.peers[1]!);
    assertEquals(events.find(({ type }) => type === "lost"), {
      type: "lost",
      reason: error.cause as Error,
    });
    assertEquals(events.filter((event) => event.type === "dialed").map(({ pod }) => pod), ["web-0", "web-1"]);
    assertStringIncludes(server.dials[1]!.path, "/pods/web-1/portforward");
  });
});

Deno.test("PortForward: from a workload's pod that is ending, new connections go elsewhere; old ones live until it is gone", async () => {
  await withPortForward({ target: anyPod }, async ({ server, forward, clock }) => {
    const old = await connect(forward, server.peers[0]!);
    server.put(makePod("web-1"));
    server.put(makePod("web-0", { ending: true }));
    await clock.pass(0);
    assertEquals(forward.pod.metadata.name, "web-1");
    const next = await connect(forward, server.peers[1]!);
    await clock.pass(20_000);
    await assertWorks(old, server.peers[0]!);
    await assertWorks(next, server.peers[1]!);
    server.remove("web-0");
    await assertReset(old);
    await assertWorks(next, server.peers[1]!);
    assertEquals(server.watches, 1, "only the new pod is watched");
  });
});

Deno.test("PortForward: what lingers on a pod that is ending lives on too", async () => {
  await withPortForward({ target: anyPod }, async ({ server, forward, clock }) => {
    const old = await connect(forward, server.peers[0]!);
    await assertWorks(old, server.peers[0]!);
    await old.connection.closeWrite(); // Its FIN waits for two quiet seconds.
    server.put(makePod("web-1"));
    server.put(makePod("web-0", { ending: true }));
    await clock.pass(1_000);
    await server.peers[0]!.data(old.pair.data, "the end");
    assertEquals(await old.connection.read(new Uint8Array(10)), 7);
    await server.peers[0]!.finish(old.pair);
    assertEquals(await old.connection.read(new Uint8Array(10)), null);
  });
});

Deno.test("PortForward: connections wait until a workload whose only pod is ending has another", async () => {
  await withPortForward({ target: anyPod }, async ({ server, forward, clock }) => {
    const old = await connect(forward, server.peers[0]!);
    server.put(makePod("web-0", { ending: true }));
    await clock.pass(1_000);
    const connecting = forward.connect(80);
    await clock.pass(1_000);
    await assertWorks(old, server.peers[0]!);
    server.put(makePod("web-1", { phase: "Pending" }));
    await clock.pass(1_000);
    assertEquals(server.dials.length, 1);
    server.put(makePod("web-1"));
    const began = clock.now;
    await clock.pass(0);
    const pair = await server.peers[1]!.accept();
    await assertWorks({ pair, connection: await connecting }, server.peers[1]!);
    assertEquals(clock.now, began, "at once");
  });
});

Deno.test("PortForward: a pod by its name takes new connections while it is ending", async () => {
  await withPortForward({}, async ({ server, forward, clock, events }) => {
    server.put(makePod("web-0", { ending: true }));
    await clock.pass(0);
    await assertWorks(await connect(forward, server.peers[0]!), server.peers[0]!);
    assertEquals(types(events), ["dialed", "connected"]);
  });
});

for (
  const [how, end] of Object.entries<(server: FakeServer) => void>({
    "is deleted": (server) => server.remove("web-0"),
    "has failed": (server) => server.put(makePod("web-0", { phase: "Failed" })),
    "has succeeded": (server) => server.put(makePod("web-0", { phase: "Succeeded" })),
    "is another one": (server) => server.put(makePod("web-0", { uid: "another" })),
  })
) {
  Deno.test(`PortForward to a bare pod ends with kubectl's message when that ${how}`, async () => {
    await withPortForward({}, async ({ server, forward, clock, events }) => {
      const connection = await connect(forward, server.peers[0]!);
      end(server);
      const error = await assertRejects(() => forward.finished, PortForwardError, "lost connection to pod");
      assertInstanceOf(error.cause, PodwireError);
      assertStringIncludes(error.cause.message, "pod shop/web-0");
      await assertReset(connection);
      assertEquals(await assertRejects(() => forward.connect(80)), error);
      await clock.pass(10_000);
      assertEquals([server.dials.length, types(events).includes("lost"), clock.pending], [1, false, 0]);
    });
  });

  Deno.test(`PortForward to a bare pod ends also when its session breaks before it is known that it ${how}`, async () => {
    await withPortForward({}, async ({ server, forward, clock }) => {
      server.onDial = () => unreachable;
      server.peers[0]!.close();
      await clock.pass(500);
      end(server);
      const finished = assertRejects(() => forward.finished, PortForwardError, "lost connection to pod");
      await clock.pass(3_000);
      await finished;
      const dials = server.dials.length;
      await clock.pass(5_000);
      assertEquals(server.dials.length, dials);
    });
  });
}

for (const owner of ["StatefulSet", "Node"]) {
  Deno.test(`PortForward waits for a pod by its name that a ${owner} makes again`, async () => {
    await withPortForward({ pod: makePod("web-0", { owner }) }, async ({ server, forward, clock, events }) => {
      const old = await connect(forward, server.peers[0]!);
      server.remove("web-0");
      await assertReset(old);
      const connecting = forward.connect(80);
      await clock.pass(5_000);
      server.put(makePod("web-0", { owner, uid: "next", phase: "Pending" }));
      await clock.pass(5_000);
      const reasons = events.filter((event) => event.type === "retry").map(({ reason }) => reason.message);
      assert(reasons.length > 8);
      assertStringIncludes(reasons.at(-1)!, "pod is not running. Current status=Pending");
      assertEquals(server.dials.length, 1);
      server.put(makePod("web-0", { owner, uid: "next" }));
      await clock.pass(1_000);
      const pair = await server.peers[1]!.accept();
      await assertWorks({ pair, connection: await connecting }, server.peers[1]!);
      assertEquals(forward.pod.metadata.uid, "next");
    });
  });
}

for (const owner of ["ReplicaSet", "Job", "DaemonSet"]) {
  Deno.test(`PortForward does not wait for a pod by its name that a ${owner} would make under another`, async () => {
    await withPortForward({ pod: makePod("web-0", { owner }) }, async ({ server, forward }) => {
      server.remove("web-0");
      await assertRejects(() => forward.finished, PortForwardError, "lost connection to pod");
    });
  });
}

Deno.test("PortForwardOptions.reconnect: without it the first loss is the end", async () => {
  for (const target of [(server: FakeServer) => server.byName("web-0"), anyPod]) {
    for (
      const [i, lose] of [
        (server: FakeServer) => server.peers[0]!.close(),
        (server: FakeServer) => server.remove("web-0"),
      ].entries()
    ) {
      await withPortForward({ target, options: { reconnect: false } }, async ({ server, forward, clock, events }) => {
        const connection = await connect(forward, server.peers[0]!);
        server.put(makePod("web-0", { ending: true }));
        await clock.pass(1_000);
        await assertWorks(connection, server.peers[0]!);
        lose(server);
        const error = await assertRejects(() => forward.finished, PortForwardError, "lost connection to pod");
        assertInstanceOf(error.cause, PodwireError, `${i}`);
        await assertReset(connection);
        await clock.pass(5_000);
        assertEquals([server.dials.length, types(events).includes("lost")], [1, false]);
      });
    }
  }
});

Deno.test("PortForward can be closed while it dials anew, and in every pause", async () => {
  for (const after of [0, 60, 200, 1_500]) {
    await withPortForward({}, async ({ server, forward, clock }) => {
      server.onDial = () => after === 0 ? new Promise(() => {}) : unreachable;
      server.peers[0]!.close();
      await clock.pass(after);
      forward.close();
      await forward.finished;
      const dials = server.dials.length;
      await clock.pass(10_000);
      assertEquals([server.dials.length, clock.pending, server.watches], [dials, 0, 0]);
    });
  }
});

Deno.test("PortForward can be closed in the very moment in which it is back", async () => {
  const ends: (() => void)[] = [];
  let dialed = 0;
  await withPortForward({
    options: {
      onEvent: ({ type }) => {
        if (type === "dialed" && ++dialed === 2) ends[0]!();
      },
    },
  }, async ({ server, forward, clock }) => {
    ends.push(() => forward.close());
    server.peers[0]!.close();
    await clock.pass(5_000);
    await forward.finished;
    await server.peers[1]!.gone;
    assertEquals([clock.pending, server.watches, forward.stats.redials], [0, 0, 0]);
  });
});

Deno.test("PortForward over channels goes to the target's next pod when a watch tells that its own is gone", async () => {
  await withPortForward({ target: (server) => server.anyPod("websocket") }, async ({ server, forward, clock }) => {
    const connection = await forward.connect(80);
    server.remove("web-0");
    await assertReset({ connection });
    server.put(makePod("web-1"));
    await clock.pass(0);
    const next = await forward.connect(80);
    assertStringIncludes(server.dials.at(-1)!.path, "/pods/web-1/portforward?ports=80");
    next.close();
  });
});

Deno.test("PortForward over channels: connections of a workload's pod that is ending live until it is gone", async () => {
  await withPortForward({ target: (server) => server.anyPod("websocket") }, async ({ server, forward, clock }) => {
    const old = await forward.connect(80);
    server.put(makePod("web-1"));
    server.put(makePod("web-0", { ending: true }));
    await clock.pass(0);
    const next = await forward.connect(80);
    await old.write(utf8("x"));
    assertEquals(await server.sockets[0]!.receive(), utf8("\0x"));
    server.remove("web-0");
    await assertReset({ connection: old });
    await next.write(utf8("y"));
    assertEquals(await server.sockets[1]!.receive(), utf8("\0y"));
  });
});
