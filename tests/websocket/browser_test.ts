/** The platform's own WebSocket behind MessageSocket: Deno's `WebSocket` here, its `WebSocketStream` in a child (it needs a flag). */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { openPlatformWebSocket, type WebSocketConnection, WebSocketConnectionError } from "../../lib/websocket/mod.ts";
import { accept, echo, pattern } from "./harness.ts";

function listen() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return {
    listener,
    url: `ws://127.0.0.1:${listener.addr.port}/path?query=1`,
    [Symbol.dispose]: () => listener.close(),
  };
}

async function both(end: ReturnType<typeof listen>, options: { maxUnread?: number } = {}) {
  const [client, { socket: server }] = await Promise.all([
    openPlatformWebSocket(end.url, ["v4.channel.k8s.io", "v5.channel.k8s.io"], options),
    accept(end.listener, ["v5.channel.k8s.io"]),
  ]);
  return { client, server };
}

Deno.test("openPlatformWebSocket() carries messages over WebSocket", async () => {
  using end = listen();
  const { client, server } = await both(end);
  assertEquals(client.protocol, "v5.channel.k8s.io");
  const echoing = echo(server);
  for (const size of [0, 1, 40_000, 3 << 20]) {
    const [message] = await Promise.all([client.receive(), client.send(pattern(size))]);
    assertInstanceOf(message, Uint8Array);
    assertEquals(message, pattern(size));
  }
  const [text] = await Promise.all([client.receive(), client.send("Grüße")]);
  assertEquals(text, "Grüße");
  const [joined] = await Promise.all([client.receive(), client.send(new Uint8Array([1]), new Uint8Array([2, 3]))]);
  assertEquals(joined, new Uint8Array([1, 2, 3]));
  await client.close({ closeCode: 3001, reason: "done" });
  assertEquals(await server.closed, { closeCode: 3001, reason: "done" });
  await echoing;
  assertEquals(await client.receive(), undefined);
  await assertRejects(() => client.send("late"), WebSocketConnectionError);
});

Deno.test("openPlatformWebSocket() delivers what came before the server's Close", async () => {
  using end = listen();
  const { client, server } = await both(end);
  await server.send("last words");
  await server.close({ closeCode: 1000, reason: "bye" });
  assertEquals(await client.receive(), "last words");
  assertEquals(await client.receive(), undefined);
  assertEquals(await client.closed, { closeCode: 1000, reason: "bye" });
});

Deno.test("openPlatformWebSocket() rejects an end without Close", async () => {
  using end = listen();
  const { client, server } = await both(end);
  server.abort();
  await assertRejects(() => client.receive(), WebSocketConnectionError);
  await assertRejects(() => client.closed, WebSocketConnectionError);
});

Deno.test("openPlatformWebSocket() delivers what came before an end without Close", async () => {
  using end = listen();
  const { client, server } = await both(end);
  await server.send("output");
  await server.send("status");
  server.abort();
  await assertRejects(() => client.closed, WebSocketConnectionError, "without a Close frame");
  assertEquals([await client.receive(), await client.receive()], ["output", "status"]);
  await assertRejects(() => client.receive(), WebSocketConnectionError, "without a Close frame");
});

Deno.test("openPlatformWebSocket() fails rather than queue without a bound", async () => {
  using end = listen();
  const { client, server } = await both(end, { maxUnread: 1 << 20 });
  const sending = (async () => {
    for (;;) await server.send(pattern(1 << 18));
  })().catch(() => {});
  await assertRejects(() => client.closed, WebSocketConnectionError, "more than 1048576 bytes arrived unread");
  await assertRejects(() => client.receive(), WebSocketConnectionError, "more than 1048576 bytes arrived unread");
  server.abort();
  await sending;
});

Deno.test("openPlatformWebSocket() makes the sender wait by bufferedAmount", async () => {
  using end = listen();
  const { client, server } = await both(end);
  let sent = 0;
  const sending = (async () => {
    for (; sent < 64; sent++) await client.send(pattern(1 << 20));
  })();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert(sent < 64, "64 MiB went nowhere");
  let received = 0;
  while (received < 64 << 20) received += (await server.receive())!.length;
  await sending;
  await Promise.all([client.close(), server.receive()]);
});

Deno.test("openPlatformWebSocket() aborts with the reason", async () => {
  using end = listen();
  const { client, server } = await both(end);
  const reason = new Error("cancelled");
  const receiving = client.receive();
  client.abort(reason);
  assertEquals(await receiving.catch((error) => error), reason);
  assertEquals(await client.closed.catch((error) => error), reason);
  assertEquals(await server.receive(), undefined); // the platform closes in its own way
});

Deno.test("openPlatformWebSocket() rejects a refused handshake", async () => {
  using end = listen();
  const refusing = (async () => {
    using conn = await end.listener.accept();
    await conn.read(new Uint8Array(4096));
    await conn.write(new TextEncoder().encode("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"));
  })();
  await assertRejects(
    () => openPlatformWebSocket(end.url, []),
    WebSocketConnectionError,
    "the platform does not say why",
  );
  await refusing;
});

Deno.test("openPlatformWebSocket() gives up with its signal", async () => {
  using end = listen();
  const reason = new Error("no more patience");
  const controller = new AbortController();
  const opening = openPlatformWebSocket(end.url, [], { signal: controller.signal });
  const conn = await end.listener.accept();
  controller.abort(reason);
  assertEquals(await opening.catch((error) => error), reason);
  conn.close();
  const early = openPlatformWebSocket(end.url, [], { signal: AbortSignal.abort(reason) });
  assertEquals(await early.catch((error) => error), reason);
});

Deno.test("openPlatformWebSocket() prefers WebSocketStream", async () => {
  using end = listen();
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--unstable-net", "--allow-net", "--no-check", "--config", "deno.offline.json", "--no-lock"],
      ...["tests/websocket/platform_stream.ts", end.url],
    ],
    cwd: new URL("../../", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const output = child.output();
  const { socket } = await accept(end.listener, ["v5.channel.k8s.io"]);
  await echo(socket);
  assertEquals(await socket.closed, { closeCode: 3002, reason: "seen enough" });
  const { socket: second } = await accept(end.listener, ["v5.channel.k8s.io"]);
  second.abort();
  const { socket: third } = await accept(end.listener, ["v5.channel.k8s.io"]);
  await flood(third);
  await child.stdin.close();
  const { code, stdout } = await output;
  assertEquals(new TextDecoder().decode(stdout), "WebSocketStream v5.channel.k8s.io ok\n");
  assertEquals(code, 0);
});

/** Sends until the other side, which does not read, has stopped it. */
async function flood(socket: WebSocketConnection): Promise<void> {
  let sent = 0;
  const sending = (async () => {
    for (; sent < 256; sent++) await socket.send(pattern(1 << 20));
  })().catch(() => {});
  for (let before = -1; before !== sent;) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert(sent < 64, `${sent} MiB went to a reader that does not read`);
  socket.abort();
  await sending;
}
