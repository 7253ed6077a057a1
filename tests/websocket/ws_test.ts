/** `npm:ws` as a real peer, both roles. */
import { assertEquals, assertRejects } from "@std/assert";
import type { Buffer } from "node:buffer";
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "npm:ws@8.18.3";
import { WebSocketConnectionError, WebSocketProtocolError } from "../../lib/websocket/mod.ts";
import { accept, assertEchoes, connect, echo, pattern } from "./harness.ts";

async function startServer(options: Record<string, unknown> = {}) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", maxPayload: 32 << 20, ...options });
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return {
    server,
    port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
}

Deno.test("npm:ws as a server echoes text and binary, 0 B to 16 MiB", async () => {
  await using end = await startServer({ handleProtocols: () => "v5.channel.k8s.io" });
  end.server.on("connection", (peer: WebSocket) => {
    peer.on("message", (data: Buffer, isBinary: boolean) => peer.send(data, { binary: isBinary }));
  });
  const socket = await connect(end.port, "/", ["v5.channel.k8s.io"]);
  assertEquals(socket.protocol, "v5.channel.k8s.io");
  await assertEchoes(socket);
  await socket.close({ closeCode: 1000, reason: "done" });
  assertEquals(await socket.closed, { closeCode: 1000, reason: "done" });
});

Deno.test("npm:ws as a server: fragments, pings and its own Close", async () => {
  await using end = await startServer();
  const ponged = Promise.withResolvers<string>();
  end.server.on("connection", (peer: WebSocket) => {
    peer.on("pong", (data: Buffer) => ponged.resolve(data.toString()));
    peer.send("a", { fin: false, binary: false });
    peer.ping("between");
    peer.send("b", { fin: false });
    peer.send("c", { fin: true });
    peer.close(4002, "over");
  });
  const socket = await connect(end.port);
  assertEquals(await socket.receive(), "abc");
  assertEquals(await socket.receive(), undefined);
  assertEquals(await socket.closed, { closeCode: 4002, reason: "over" });
  assertEquals(await ponged.promise, "between");
});

Deno.test("npm:ws as a server answers our pings, and its end without Close is an error", async () => {
  await using end = await startServer();
  const pinged = Promise.withResolvers<void>();
  end.server.on("connection", (peer: WebSocket) => {
    let pings = 0;
    peer.on("ping", () => {
      if (++pings < 3) return;
      pinged.resolve();
      peer.terminate();
    });
  });
  const socket = await connect(end.port, "/", [], { ping: { interval: 10, timeout: 5000 } });
  await assertRejects(() => socket.receive(), WebSocketConnectionError);
  await pinged.promise;
});

Deno.test("npm:ws as a client echoes text and binary, 0 B to 16 MiB", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const peer = new WebSocket(`ws://127.0.0.1:${listener.addr.port}/some/path`, ["v4.channel.k8s.io"], {
    maxPayload: 32 << 20,
  });
  peer.on("message", (data: Buffer, isBinary: boolean) => peer.send(data, { binary: isBinary }));
  const closed = once(peer, "close");
  const { socket, path } = await accept(listener, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
  assertEquals([path, socket.protocol], ["/some/path", "v4.channel.k8s.io"]);
  await assertEchoes(socket);
  await socket.close({ closeCode: 1001 });
  assertEquals(await socket.closed, { closeCode: 1001, reason: "" });
  assertEquals((await closed)[0], 1001);
});

Deno.test("npm:ws as a client closes, and reads our error code", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `ws://127.0.0.1:${listener.addr.port}/`;
  {
    const peer = new WebSocket(url);
    peer.on("open", () => {
      peer.send("hello");
      peer.close(3333, "that was it");
    });
    const closed = once(peer, "close");
    const { socket } = await accept(listener);
    await echo(socket);
    assertEquals(await socket.closed, { closeCode: 3333, reason: "that was it" });
    assertEquals((await closed)[0], 3333);
  }
  {
    const peer = new WebSocket(url);
    peer.on("open", () => peer.send(pattern(2000)));
    const closed = once(peer, "close");
    const { socket } = await accept(listener, [""], { maxMessageSize: 1000 });
    await assertRejects(() => socket.receive(), WebSocketProtocolError);
    assertEquals((await closed)[0], 1009);
    await assertRejects(() => socket.closed, WebSocketProtocolError);
  }
});
