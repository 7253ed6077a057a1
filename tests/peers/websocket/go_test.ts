/** Go's gorilla/websocket and golang.org/x/net/websocket as real peers, both roles. Needs Go (Debian's `golang-go`). */
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { Duplex } from "../../../lib/bytes/mod.ts";
import { WebSocketConnection } from "../../../lib/websocket/mod.ts";
import { accept, assertEchoes, connect, duplexOf, pattern, RawPeer, utf8 } from "../../websocket/harness.ts";
import { buildGo } from "../build.ts";

const V5 = "v5.channel.k8s.io";

const peer = await buildGo("websocket-peer", new URL("../go/websocket/", import.meta.url));

/** The peer as a server, as long as `use` runs. */
async function withServer(use: (port: number) => Promise<void>): Promise<void> {
  const child = new Deno.Command(peer, { args: ["serve"], stdout: "piped" }).spawn();
  const reader = child.stdout.getReader();
  try {
    const { value } = await reader.read();
    await use(Number(new TextDecoder().decode(value)));
  } finally {
    child.kill();
    await reader.cancel();
    await child.status;
  }
}

for (const path of ["gorilla", "fragments", "xnet"]) {
  Deno.test(`a Go server (/${path}) echoes text and binary, 0 B to 16 MiB`, async () => {
    await withServer(async (port) => {
      const socket = await connect(port, `/${path}`, [V5], { ping: { interval: 20, timeout: 20_000 } });
      assertEquals(socket.protocol, V5);
      await assertEchoes(socket);
      await socket.close({ closeCode: 1000 });
      assertEquals((await socket.closed).closeCode, 1000);
    });
  });
}

for (const library of ["gorilla", "xnet"]) {
  Deno.test(`a Go client (${library}) echoes text and binary, 0 B to 16 MiB`, async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const child = new Deno.Command(peer, {
      args: ["dial", library, `ws://127.0.0.1:${listener.addr.port}/echo`],
      stdout: "piped",
    }).spawn();
    const output = child.output();
    const { socket, path } = await accept(listener, [V5], { ping: { interval: 20, timeout: 20_000 } });
    assertEquals([path, socket.protocol], ["/echo", V5]);
    await assertEchoes(socket);
    await socket.close({ closeCode: 1000 });
    assertEquals((await socket.closed).closeCode, 1000);
    const { code, stdout } = await output;
    assertEquals(code, 0);
    assertStringIncludes(new TextDecoder().decode(stdout), library === "gorilla" ? "websocket: close 1000" : "EOF");
  });
}

/** Does the handshake by hand, with the example of RFC 6455; x/net wants an Origin. */
async function upgrade(duplex: Duplex, path: string): Promise<RawPeer> {
  await duplex.write(utf8(
    `GET /${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://x\r\n` +
      `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n` +
      `Sec-WebSocket-Protocol: ${V5}\r\n\r\n`,
  ));
  const raw = new RawPeer(duplex);
  const { start, headers } = await raw.head();
  assertEquals(start, "HTTP/1.1 101 Switching Protocols");
  assertEquals(headers.get("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  return raw;
}

/** A duplex that hands on what it reads and writes in pieces of at most `size` bytes. */
function inPieces(duplex: Duplex, size: number): Duplex {
  return {
    read: (into) => duplex.read(into.subarray(0, size)),
    async write(data) {
      for (let at = 0; at < data.length; at += size) await duplex.write(data.subarray(at, at + size));
    },
    closeWrite: () => duplex.closeWrite(),
    close: () => duplex.close(),
  };
}

for (const path of ["gorilla", "xnet"]) {
  Deno.test(`a Go server (/${path}) and we understand each other in pieces of one byte`, async () => {
    await withServer(async (port) => {
      const conn = await Deno.connect({ hostname: "127.0.0.1", port });
      conn.setNoDelay(true);
      const duplex = duplexOf(conn);
      const raw = await upgrade(duplex, path);
      const socket = new WebSocketConnection(inPieces(raw.duplex(), 1), { role: "client", protocol: V5 });
      for (const size of [0, 1, 125, 126, 300]) {
        const [message] = await Promise.all([socket.receive(), socket.send(pattern(size))]);
        assertEquals(message, pattern(size));
      }
      await socket.close();
    });
  });

  Deno.test(`a Go server (/${path}) takes our frames split in two at every byte`, async () => {
    await withServer(async (port) => {
      const conn = await Deno.connect({ hostname: "127.0.0.1", port });
      conn.setNoDelay(true);
      let cut = 0;
      const duplex = (await upgrade(duplexOf(conn), path)).duplex();
      const socket = new WebSocketConnection({
        ...duplex,
        async write(data) {
          if (cut > 0) await duplex.write(data.subarray(0, cut));
          if (cut < data.length) await duplex.write(data.subarray(cut));
        },
      }, { role: "client", protocol: V5 });
      const payload = pattern(150);
      const frame = 8 + payload.length;
      for (cut = 0; cut <= frame; cut++) {
        const [message] = await Promise.all([socket.receive(), socket.send(payload)]);
        assertEquals(message, payload, `cut after ${cut} bytes`);
      }
      cut = 0;
      await socket.close();
    });
  });
}
