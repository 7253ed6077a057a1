/** The local side of a port-forward, over real sockets: what a client here sees of what happens there, and the other way. */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { connect } from "node:net";
import { duplexPair, PodwireError } from "../../lib/bytes/mod.ts";
import { HALF_CLOSE_KEPT } from "../../lib/channels/mod.ts";
import { ForwardError } from "../../lib/client/forward_error.ts";
import { type ForwardListener, listenForward } from "../../lib/client/forward_listener.ts";
import { SpdyForwardSession } from "../../lib/client/forward_wire.ts";
import { ForwardedConnection } from "../../lib/client/forwarded_connection.ts";
import { PortForward, type PortForwardEvent } from "../../lib/client/port_forward.ts";
import { ListenError } from "../../lib/dial/mod.ts";
import { SpdySession } from "../../lib/spdy/mod.ts";
import { withSocketPath } from "../dial/harness.ts";
import { readAll, writeAll } from "../server/ports.ts";
import { pattern, utf8 } from "../spdy/harness.ts";
import { type ForwardPeer, type PeerPair, REFUSED, withSession } from "./forward_peer.ts";
import { FakeServer, makePod } from "./forward_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const NEVER = new AbortController().signal;

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

interface Scene {
  readonly listener: ForwardListener;
  readonly peer: ForwardPeer;
  /** Ends the port-forward, as far as its listener is concerned. */
  readonly end: () => void;
  /** A client of the listener and the other end of its connection. */
  readonly client: () => Promise<{ conn: Deno.Conn; pair: PeerPair; connection: ForwardedConnection }>;
}

/** Runs `work` with a listener whose connections go to a peer that accepts them with `headers`. */
async function withListener(
  options: { readonly headers?: Record<string, string>; readonly finDelay?: number },
  work: (scene: Scene) => Promise<void>,
): Promise<void> {
  const { session, peer } = withSession();
  const connections: ForwardedConnection[] = [];
  const { finDelay = 0, headers = {} } = options;
  const ended = new AbortController();
  const listener = await listenForward({ port: 0 }, () => {
    const connection = new ForwardedConnection(session.open(8080), { port: 8080, finDelay });
    connections.push(connection);
    return Promise.resolve(connection);
  }, ended.signal);
  const client = async () => {
    const conn = await connectTo(listener);
    return { conn, pair: await peer.accept(headers), connection: connections.at(-1)! };
  };
  try {
    await work({ listener, peer, client, end: () => ended.abort() });
  } finally {
    await listener[Symbol.asyncDispose]();
    peer.close();
    await session.closed.catch(() => {}); // However it ended.
    await peer.gone;
    await Promise.allSettled(connections.map(({ closed }) => closed));
    await turn(); // For the local sockets.
  }
}

function connectTo({ address }: ForwardListener): Promise<Deno.Conn> {
  return "path" in address
    ? Deno.connect({ transport: "unix", path: address.path })
    : Deno.connect({ hostname: address.hostname, port: address.port });
}

/** Fails unless a client is reset before it can say anything, which `connect` may tell already. */
async function assertResets(listener: ForwardListener): Promise<void> {
  await assertRejects(async () => {
    using conn = await connectTo(listener);
    await conn.read(new Uint8Array(1));
  }, Deno.errors.ConnectionReset);
}

/** Lets what is due happen. */
async function turn(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setTimeout(resolve));
}

/** Reads once; gives text, or how it ended. */
async function readOnce(conn: Deno.Conn): Promise<string | null> {
  const buffer = new Uint8Array(1024);
  try {
    const n = await conn.read(buffer);
    return n === null ? null : text(buffer.subarray(0, n));
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "ECONNRESET";
    throw error;
  }
}

Deno.test("listenForward() listens on 127.0.0.1 and a free port by default", async () => {
  await withListener({}, ({ listener: { address } }) => {
    assert("port" in address && address.port > 0);
    assertEquals(address.hostname, "127.0.0.1");
    return Promise.resolve();
  });
});

Deno.test("listenForward() carries bytes both ways, and the ends of both directions", async () => {
  await withListener({ headers: HALF_CLOSE_KEPT }, async ({ peer, client }) => {
    const { conn, pair, connection } = await client();
    using _ = conn;
    await writeAll(conn, utf8("question"));
    assertEquals(await peer.expectData(pair.data), "question");
    await conn.closeWrite();
    await peer.expectFin(pair.data);
    await peer.data(pair.data, "late ");
    assertEquals(await readOnce(conn), "late ");
    await peer.data(pair.data, "answer");
    await peer.finish(pair);
    assertEquals(text(await readAll(conn)), "answer");
    await connection.closed;
    assertEquals([connection.bytesSent, connection.bytesReceived, peer.openStreams], [8, 11, 0]);
  });
});

Deno.test("listenForward(): a client that ends its sending first gets all of an answer that comes later", async () => {
  await withListener({ finDelay: 60_000 }, async ({ peer, client }) => {
    const { conn, pair } = await client();
    using _ = conn;
    await writeAll(conn, utf8("question"));
    await conn.closeWrite();
    assertEquals(await peer.expectData(pair.data), "question");
    await turn();
    assertEquals(peer.take(), [], "no FIN, which containerd would end both directions for");
    const answer = pattern(300_000);
    void peer.data(pair.data, answer).then(() => peer.finish(pair));
    assertEquals(await readAll(conn), answer);
  });
});

Deno.test("listenForward(): a client that goes on sending gets the pod's end, and no reset", async () => {
  await withListener({}, async ({ peer, client }) => {
    const { conn, pair } = await client();
    using _ = conn;
    await peer.data(pair.data, "bye");
    await peer.finish(pair);
    assertEquals(text(await readAll(conn)), "bye");
    await peer.expectReset(pair.data);
    await writeAll(conn, utf8("too late"));
    await conn.closeWrite();
  });
});

/** What ends a connection badly. */
const FAILURES: Readonly<Record<string, (peer: ForwardPeer, pair: PeerPair) => Promise<void>>> = {
  "is refused in the pod": (peer, pair) => peer.fail(pair, REFUSED),
  "is reset by the server": async (peer, pair) => {
    await peer.reset(pair.data);
    await peer.reset(pair.error);
  },
  "loses its session": (peer) => Promise.resolve(peer.close()),
  "sees the server say GOAWAY": (peer) => peer.goAway(),
};

for (const [how, end] of Object.entries(FAILURES)) {
  Deno.test(`listenForward() resets the client whose connection ${how}, after what has arrived`, async () => {
    await withListener({}, async ({ peer, client }) => {
      const { conn, pair, connection } = await client();
      using _ = conn;
      await peer.data(pair.data, "half");
      assertEquals(await readOnce(conn), "half");
      await end(peer, pair);
      assertEquals(await readOnce(conn), "ECONNRESET");
      await assertRejects(() => connection.closed, ForwardError);
      assertEquals(how.includes("session") || how.includes("GOAWAY") || peer.openStreams === 0, true);
    });
  });
}

Deno.test("listenForward() resets the streams of a client that resets", async () => {
  await withListener({}, async ({ listener, peer }) => {
    assert("port" in listener.address);
    const socket = connect(listener.address.port, listener.address.hostname);
    const pair = await peer.accept();
    await new Promise((resolve) => socket.write("before", resolve));
    assertEquals(await peer.expectData(pair.data), "before");
    socket.resetAndDestroy();
    await peer.expectReset(pair.data);
    await peer.expectReset(pair.error);
    assertEquals(peer.openStreams, 0);
  });
});

Deno.test("listenForward() resets the streams of a client that goes while the pod sends", async () => {
  await withListener({ finDelay: 60_000 }, async ({ peer, client }) => {
    const { conn, pair } = await client();
    await peer.data(pair.data, "x");
    assertEquals(await readOnce(conn), "x");
    conn.close();
    const sending = (async () => {
      while (peer.openStreams > 0) await peer.data(pair.data, pattern(32_000)).then(turn);
    })();
    await peer.skipTo(({ type, id }) => type === 3 && id === pair.data);
    await sending;
  });
});

Deno.test("listenForward() resets a client for whom nothing can be opened", async () => {
  const listener = await listenForward({ port: 0 }, () => Promise.reject(new PodwireError("no way")), NEVER);
  await assertResets(listener);
  await listener[Symbol.asyncDispose]();
});

Deno.test("listenForward() resets, at the end of the port-forward, a client that has not read everything", async () => {
  await withListener({}, async ({ peer, client, end }) => {
    const { conn, pair, connection } = await client();
    using _ = conn;
    const sending = (async () => {
      for (let i = 0; i < 32; i++) await peer.data(pair.data, pattern(1 << 20)); // More than any socket's buffers.
      if (peer.openStreams > 0) await peer.finish(pair);
    })();
    assertEquals((await readOnce(conn))?.length, 1024);
    end();
    await assertRejects(() => readAll(conn), Deno.errors.ConnectionReset);
    await connection.closed;
    await sending;
  });
});

Deno.test("ForwardListener.close() stops listening and lets connections go on", async () => {
  await withListener({}, async ({ listener, peer, client }) => {
    const { conn, pair } = await client();
    using _ = conn;
    listener.close();
    listener.close();
    await listener.closed;
    await assertRejects(() => connectTo(listener), Deno.errors.ConnectionRefused);
    await peer.data(pair.data, "still here");
    assertEquals(await readOnce(conn), "still here");
    await peer.finish(pair);
    assertEquals(await readOnce(conn), null);
  });
});

Deno.test("listenForward() rejects where it cannot listen", async () => {
  await withListener({}, async ({ listener: { address } }) => {
    assert("port" in address);
    const error = await assertRejects(() => listenForward(address, () => Promise.reject(), NEVER), ListenError);
    assertEquals([error.code, error.address], ["EADDRINUSE", address]);
  });
});

Deno.test("listenForward() carries connections of a unix socket, which is its owner's alone", async () => {
  const { session, peer } = withSession();
  await withSocketPath(async (path) => {
    const listener = await listenForward({ path }, () => {
      return Promise.resolve(new ForwardedConnection(session.open(8080), { port: 8080 }));
    }, NEVER);
    assertEquals(listener.address, { path });
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    using conn = await connectTo(listener);
    const pair = await peer.accept();
    await writeAll(conn, utf8("ping"));
    assertEquals(await peer.expectData(pair.data), "ping");
    await peer.data(pair.data, "pong");
    await peer.finish(pair);
    assertEquals(text(await readAll(conn)), "pong");
    await listener[Symbol.asyncDispose]();
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  });
  peer.close();
  await session.closed.catch(() => {});
  await turn();
});

Deno.test("listenForward() closes a listener though something else lies where its socket was", async () => {
  await withSocketPath(async (path) => {
    await using listener = await listenForward({ path }, () => Promise.reject(new Error("nobody comes")), NEVER);
    await Deno.remove(path);
    await Deno.mkdir(path);
    listener.close();
    await listener.closed;
    assert((await Deno.lstat(path)).isDirectory);
  });
});

Deno.test("listenForward() carries 200 connections at once, a fifth of them refused", async () => {
  const [near, far] = duplexPair();
  const session = new SpdyForwardSession(near);
  const errors = new Map<string, (text: string) => void>();
  const server = new SpdySession(far, {
    role: "server",
    onStream: (stream) => {
      stream.reply(HALF_CLOSE_KEPT);
      const { streamtype, requestid = "" } = stream.headers;
      if (streamtype === "error") {
        errors.set(requestid, (text) => {
          void stream.write(utf8(text)).then(() => stream.closeWrite());
        });
      } else if (Number(requestid) % 5 === 0) {
        errors.get(requestid)!(REFUSED);
        stream.reset();
      } else {
        (async () => {
          const buffer = new Uint8Array(10_000);
          for (let n = await stream.read(buffer); n !== null; n = await stream.read(buffer)) {
            await stream.write(buffer.slice(0, n));
          }
          await stream.closeWrite();
          errors.get(requestid)!("");
        })().catch((error) => assertInstanceOf(error, PodwireError));
      }
    },
  });
  const connections: ForwardedConnection[] = [];
  const listener = await listenForward({ port: 0 }, () => {
    const connection = new ForwardedConnection(session.open(8080), { port: 8080 });
    connections.push(connection);
    return Promise.resolve(connection);
  }, NEVER);
  const outcomes = await Promise.all(Array.from({ length: 200 }, async (_, i) => {
    const payload = pattern(1000 * (i % 50));
    try {
      using conn = await connectTo(listener);
      const sending = writeAll(conn, payload).then(() => conn.closeWrite());
      const [echo] = await Promise.allSettled([readAll(conn), sending]);
      if (echo.status === "rejected") throw echo.reason;
      assertEquals(echo.value, payload);
      return "whole";
    } catch (error) {
      assertInstanceOf(error, Deno.errors.ConnectionReset);
      return "reset";
    }
  }));
  assertEquals(outcomes.filter((outcome) => outcome === "reset").length, 40);
  const codes = await Promise.all(connections.map(({ closed }) => closed.catch((error) => error.code)));
  assertEquals(codes.filter((code) => code === "ECONNREFUSED").length, 40);
  await listener[Symbol.asyncDispose]();
  assertEquals([session.connections, server.streamCount], [0, 0]);
  session.close(new PodwireError("the test is over"));
  await server.closed;
  await session.closed;
  await turn();
});

/** Runs `work` with a port-forward in memory whose listeners are real; the time is real too. */
async function withForward(
  work: (forward: PortForward, server: FakeServer, events: PortForwardEvent[]) => Promise<void>,
): Promise<void> {
  const server = new FakeServer();
  server.pods.set("web-0", makePod("web-0"));
  const events: PortForwardEvent[] = [];
  const forward = await PortForward.open(server.byName("web-0", "spdy"), { onEvent: (event) => events.push(event) });
  try {
    await work(forward, server, events);
  } finally {
    await forward[Symbol.asyncDispose]();
    for (const peer of server.peers) {
      await peer.gone;
      peer.close();
    }
    await turn();
  }
}

Deno.test("PortForward.listen() forwards to a port, or to what the pod says it is, and tells where a connection came in", async () => {
  await withForward(async (forward, server, events) => {
    const fixed = await forward.listen({ port: 0, target: 80 });
    const named = await forward.listen({ port: 0, target: (pod) => pod.metadata.name === "web-0" ? 8443 : 1 });
    for (const [listener, port] of [[fixed, 80], [named, 8443]] as const) {
      using conn = await connectTo(listener);
      const peer = server.peers.at(-1)!;
      const pair = await peer.accept();
      assertEquals(pair.port, port);
      await peer.finish(pair);
      assertEquals(await readOnce(conn), null);
      await peer.expectReset(pair.data);
      conn.closeWrite().catch(() => {}); // It may be over.
      await turn();
      const event = events.find((event) => event.type === "connected" && event.port === port);
      assert(event?.type === "connected");
      assertEquals(event.local, listener.address);
    }
    assertEquals(forward.stats.connections, 2);
  });
});

Deno.test("PortForward.listen(): a target that the pod has not fails the connection, and says so", async () => {
  await withForward(async (forward, _server, events) => {
    const missing = new PodwireError("Pod 'web-0' does not have a named port 'http'");
    const listener = await forward.listen({
      port: 0,
      target: () => {
        throw missing;
      },
    });
    await assertResets(listener);
    const last = events.at(-1)!;
    assert(last.type === "failed");
    assertEquals([last.error, last.connection, last.local], [missing, 1, listener.address]);
    assertEquals(forward.stats, {
      connections: 1,
      active: 0,
      failed: 1,
      bytesReceived: 0,
      bytesSent: 0,
      redials: 0,
    });
  });
});

Deno.test("PortForward.listen(): a client that comes while there is no way waits, and gets one", async () => {
  await withForward(async (forward, server) => {
    const listener = await forward.listen({ port: 0, target: 80 });
    const back = Promise.withResolvers<void>();
    server.onDial = () => back.promise;
    server.peers[0]!.close();
    await turn();
    using conn = await connectTo(listener);
    await writeAll(conn, utf8("early"));
    await turn();
    back.resolve();
    while (server.peers.length < 2) await turn();
    const pair = await server.peers[1]!.accept();
    assertEquals(await server.peers[1]!.expectData(pair.data), "early");
    await server.peers[1]!.data(pair.data, "here");
    assertEquals(await readOnce(conn), "here");
  });
});

Deno.test("PortForward.close() stops its listeners, resets their connections, and resolves finished", async () => {
  await withForward(async (forward, server) => {
    const [listener, other] = [
      await forward.listen({ port: 0, target: 80 }),
      await forward.listen({ port: 0, target: 81 }),
    ];
    using conn = await connectTo(listener);
    await server.peers[0]!.accept();
    await other[Symbol.asyncDispose]();
    forward.close();
    await listener.closed;
    assertEquals(await readOnce(conn), "ECONNRESET");
    await assertRejects(() => connectTo(listener), Deno.errors.ConnectionRefused);
    const late = await forward.listen({ port: 0, target: 80 });
    await late.closed;
  });
});
