/** Much through a gateway: many bytes, readers that stall, many sessions at once. */
import { assertEquals, assertLess } from "@std/assert";
import { createHash } from "node:crypto";
import { Cluster, type Wire } from "../../lib/client/mod.ts";
import { echo, withPort } from "./ports.ts";
import { dataFrame, goAwayFrame, SpdyPeer } from "../channels/spdy_peer.ts";
import { message, type RawConnection, SUCCESS } from "../client/raw_server.ts";
import { startGateway, startHost, type StreamGateway, withUpstream } from "./stream_ground.ts";

Deno.test.sanitizer({ ops: true, resources: true });

const MiB = 1024 * 1024;

/** Runs `work` with a cluster behind a gateway that takes the other wire than the client. */
async function withTranslation(
  wire: Wire,
  work: (cluster: Cluster, gateway: StreamGateway) => Promise<void>,
  ports: Record<number, number> = {},
): Promise<void> {
  await using host = await startHost(ports);
  await using gateway = await startGateway(host.url, { wire: wire === "spdy" ? "websocket" : "spdy" });
  await using cluster = new Cluster({ server: gateway.url.href, wire });
  await work(cluster, gateway);
}

/** So many bytes that repeat nowhere soon, in pieces. */
function* pieces(size: number): Generator<Uint8Array> {
  const block = new Uint8Array(65536);
  crypto.getRandomValues(block);
  for (let at = 0; at < size; at += block.length) {
    new DataView(block.buffer).setUint32(0, at);
    yield block.slice();
  }
}

/** Sends 64 MiB there and back; gives the checksums of both. */
async function roundTrip(
  there: WritableStream<Uint8Array>,
  back: ReadableStream<Uint8Array>,
): Promise<[string, string]> {
  const [sent, got] = [createHash("sha256"), createHash("sha256")];
  const sending = (async () => {
    const writer = there.getWriter();
    for (const piece of pieces(64 * MiB)) {
      sent.update(piece);
      await writer.write(piece);
    }
    await writer.close();
  })();
  for await (const part of back) got.update(part);
  await sending;
  return [sent.digest("hex"), got.digest("hex")];
}

for (const wire of ["websocket", "spdy"] as const) {
  Deno.test(`64 MiB through cat and a translation from ${wire} are the same bytes`, async () => {
    await withTranslation(wire, async (cluster) => {
      const process = await cluster.pod("web").exec(["cat"], { stdin: "piped", stderr: "null" }).spawn();
      const [sent, got] = await roundTrip(process.stdin, process.stdout);
      assertEquals(got, sent);
      assertEquals((await process.status).code, 0);
    });
  });
}

for (const wire of ["tunnel", "spdy", "websocket"] as const) {
  Deno.test(`64 MiB through a port and a translation from ${wire === "websocket" ? "channels" : wire} are the same bytes`, async () => {
    await withPort(echoOf(64 * MiB), async (port) => {
      await withTranslation(wire, async (cluster) => {
        await using forward = await cluster.pod("web").portForward();
        await using connection = await forward.connect(80);
        const writable = wire === "websocket" ? withoutClose(connection.writable) : connection.writable;
        const [sent, got] = await roundTrip(writable, connection.readable);
        assertEquals(got, sent);
      }, { 80: port });
    });
  });
}

/** Repeats so many bytes, then ends: channels know no half-close. */
function echoOf(size: number): (connection: Deno.Conn) => Promise<void> {
  return async (connection) => {
    let left = size;
    const buffer = new Uint8Array(65536);
    while (left > 0) {
      const n = await connection.read(buffer);
      if (n === null) return;
      left -= n;
      for (let at = 0; at < n;) at += await connection.write(buffer.subarray(at, n));
    }
  };
}

function withoutClose(stream: WritableStream<Uint8Array>): WritableStream<Uint8Array> {
  const writer = stream.getWriter();
  return new WritableStream({ write: (chunk) => writer.write(chunk) });
}

for (const wire of ["websocket", "spdy"] as const) {
  Deno.test(`of what a client over ${wire} does not read little is held, and the rest arrives when it does`, async () => {
    const SIZE = 256 * MiB;
    const part = new Uint8Array(32 * 1024 - 16);
    let taken = 0;
    /** Sends until all is out; tells how much the gateway, and the system on the way, has taken. */
    const pour = async (send: () => Promise<void>) => {
      for (; taken < SIZE; taken += part.length) await send();
    };
    const script = async (connection: RawConnection) => {
      if (wire === "spdy") {
        await connection.accept();
        const frame = message(1, part);
        await pour(() => connection.write(frame));
        await connection.message(3, SUCCESS);
        await connection.closeFrame();
      } else {
        await connection.acceptSpdy();
        const peer = new SpdyPeer(connection);
        const { error = 0, stdout = 0 } = await peer.accept(2);
        const frame = dataFrame(stdout, part);
        await pour(() => peer.write(frame));
        await peer.write(dataFrame(stdout, "", true), dataFrame(error, SUCCESS, true), goAwayFrame(3));
      }
      await connection.gone();
    };
    await withUpstream(script, async (gateway) => {
      await using cluster = new Cluster({ server: gateway.url.href, wire });
      const process = await cluster.pod("web").exec(["cat", "/dev/zero"], { stderr: "null" }).spawn();
      let before = -1;
      while (taken === 0 || taken !== before) {
        before = taken;
        await new Promise((resolve) => setTimeout(resolve, 100)); // Until nothing more is taken.
      }
      // The system holds up to 6 MiB and 4 MiB on each of three connections; the rest is the gateway's, and the client's.
      assertLess(taken, 48 * MiB);
      let got = 0;
      for await (const bytes of process.stdout) got += bytes.length;
      assertEquals(got, taken);
      assertEquals((await process.status).code, 0);
    }, { wire: wire === "spdy" ? "websocket" : "spdy" });
  });
}

Deno.test("200 sessions at once, of every kind, end and leave nothing", async () => {
  await withPort(echo, async (port) => {
    await using host = await startHost({ 80: port });
    await using gateway = await startGateway(host.url, { wire: "spdy" });
    await using reverse = await startGateway(host.url, { wire: "websocket" });
    const run = async (i: number) => {
      const wire = (["websocket", "spdy"] as const)[i % 2]!;
      const server = (wire === "spdy" ? reverse : gateway).url.href;
      await using cluster = new Cluster({ server, wire: i % 4 === 2 ? "tunnel" : wire });
      if (i % 4 < 2) {
        const { stdout, code } = await cluster.pod("web").exec(["sh", "-c", `echo ${i}; exit 3`]).output();
        return assertEquals([new TextDecoder().decode(stdout), code], [`${i}\n`, 3]);
      }
      await using forward = await cluster.pod("web").portForward();
      await using connection = await forward.connect(80);
      const writer = connection.writable.getWriter();
      await writer.write(new TextEncoder().encode(`${i}`));
      const { value } = await connection.readable.getReader().read();
      assertEquals(new TextDecoder().decode(value), `${i}`);
    };
    await Promise.all(Array.from({ length: 200 }, (_, i) => run(i)));
    await Promise.all([gateway.drain(), reverse.drain()]);
    assertEquals([gateway.connections, reverse.connections], [0, 0]);
    assertEquals([gateway.metrics.open, reverse.metrics.open], [0, 0]);
  });
});
