/** The WebSocketStream shape. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { duplexPair } from "../../lib/bytes/mod.ts";
import { MessageStream, WebSocketConnection, WebSocketConnectionError } from "../../lib/websocket/mod.ts";
import { pattern } from "./harness.ts";

function pair() {
  const [left, right] = duplexPair({ capacity: 64 * 1024 });
  const client = new WebSocketConnection(left, { role: "client", protocol: "chat" });
  const server = new WebSocketConnection(right, { role: "server", protocol: "chat" });
  return { stream: new MessageStream(client), server };
}

Deno.test("MessageStream carries messages both ways and closes with the peer", async () => {
  const { stream, server } = pair();
  const { readable, writable, protocol, extensions } = await stream.opened;
  assertEquals([protocol, extensions], ["chat", ""]);
  const writer = writable.getWriter();
  await writer.write("text");
  await writer.write(pattern(3));
  assertEquals([await server.receive(), await server.receive()], ["text", pattern(3)]);
  await server.send(pattern(5));
  await server.send("more");
  const closing = server.close({ closeCode: 3001, reason: "done" });
  assertEquals(await Array.fromAsync(readable), [pattern(5), "more"]);
  assertEquals(await stream.closed, { closeCode: 3001, reason: "done" });
  await closing;
  await assertRejects(() => writer.write("late"), WebSocketConnectionError);
});

Deno.test("MessageStream makes the writer wait for the transport", async () => {
  const { stream, server } = pair();
  const { writable } = await stream.opened;
  const writer = writable.getWriter();
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < 50; i++) {
      await writer.ready;
      await writer.write(pattern(64 * 1024));
      written++;
    }
  })();
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve));
  assert(written < 10, `${written} messages of 64 KiB went nowhere`);
  for (let i = 0; i < 50; i++) assertEquals((await server.receive())?.length, 64 * 1024);
  await writing;
  await Promise.all([writer.close(), server.receive()]);
});

Deno.test("MessageStream reads nothing ahead", async () => {
  const received: string[] = [];
  const socket = {
    protocol: "",
    receive: () => {
      received.push("x");
      return Promise.resolve("x");
    },
    send: () => Promise.resolve(),
    close: () => Promise.resolve(),
    abort() {},
    closed: new Promise<never>(() => {}),
  };
  const { readable } = await new MessageStream(socket).opened;
  assertEquals(received.length, 0);
  const reader = readable.getReader();
  await reader.read();
  assertEquals(received.length, 1);
});

Deno.test("MessageStream closes with code and reason, and by its streams", async () => {
  {
    const { stream, server } = pair();
    stream.close({ closeCode: 4000, reason: "bye" });
    assertEquals(await server.receive(), undefined);
    assertEquals(await server.closed, { closeCode: 4000, reason: "bye" });
    assertEquals((await stream.closed).closeCode, 4000);
  }
  {
    const { stream, server } = pair();
    const { readable } = await stream.opened;
    await Promise.all([readable.cancel(), server.receive()]);
    assertEquals((await server.closed).closeCode, 1000);
  }
  {
    const { stream, server } = pair();
    const { writable } = await stream.opened;
    await Promise.all([writable.getWriter().close(), server.receive()]);
    assertEquals((await server.closed).closeCode, 1000);
  }
});

Deno.test("MessageStream errors both streams when the connection breaks", async () => {
  const { stream, server } = pair();
  const { readable, writable } = await stream.opened;
  server.abort();
  await assertRejects(() => Array.fromAsync(readable), WebSocketConnectionError, "without a Close frame");
  await assertRejects(() => writable.getWriter().write("x"), WebSocketConnectionError);
  await assertRejects(() => stream.closed, WebSocketConnectionError);
});

Deno.test("MessageStream drops the connection when its writable is aborted", async () => {
  const { stream, server } = pair();
  const { writable } = await stream.opened;
  const reason = new Error("changed my mind");
  await writable.abort(reason);
  assertEquals(await stream.closed.catch((error) => error), reason);
  await assertRejects(() => server.receive(), WebSocketConnectionError);
});
