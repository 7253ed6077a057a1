/** moby/spdystream as the server of our client session. Needs Go (Debian's `golang-go`). */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { ResetStatus, type SpdyStream, StreamResetError } from "../../../lib/spdy/mod.ts";
import { pattern, readAll, readText, utf8 } from "../../spdy/harness.ts";
import { buildPeer, withServer } from "./peer.ts";

const peer = await buildPeer();

/** Writes random bytes, `mebibytes` of them, and ends; gives their checksum. */
async function writeRandom(stream: SpdyStream, mebibytes: number): Promise<string> {
  const hash = createHash("sha256");
  for (let i = 0; i < mebibytes; i++) {
    const chunk = new Uint8Array(1 << 20);
    for (let at = 0; at < chunk.length; at += 65536) crypto.getRandomValues(chunk.subarray(at, at + 65536));
    hash.update(chunk);
    await stream.write(chunk);
  }
  await stream.closeWrite();
  return hash.digest("hex");
}

/** Reads to the end; gives how much it was and its checksum. */
async function checksum(stream: SpdyStream): Promise<readonly [size: number, sum: string]> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(64 * 1024);
  let size = 0;
  for (let n; (n = await stream.read(buffer)) !== null; size += n) hash.update(buffer.subarray(0, n));
  return [size, hash.digest("hex")];
}

Deno.test("a Go server echoes 64 MiB of random bytes, up and down at once", async () => {
  await withServer(peer, async (session) => {
    const stream = session.open({ mode: "echo" });
    await stream.opened;
    const [sent, received] = await Promise.all([writeRandom(stream, 64), checksum(stream)]);
    assertEquals(received, [64 << 20, sent]);
    assertEquals(session.streamCount, 0);
  });
});

Deno.test("a Go server answers after our FIN: half-close", async () => {
  await withServer(peer, async (session) => {
    const stream = session.open({ mode: "sum" });
    await stream.opened; // What is sent before is dropped.
    const sent = await writeRandom(stream, 64);
    assertEquals(await readText(stream), `${64 << 20} ${sent}`);
    assertEquals(session.streamCount, 0);
  });
});

Deno.test("a Go server hears us after its own FIN: half-close the other way", async () => {
  const late = Promise.withResolvers<string | undefined>();
  const onStream = (stream: SpdyStream) => {
    stream.reply();
    stream.closeWrite().catch(() => {});
    late.resolve(stream.headers.late);
  };
  await withServer(peer, async (session) => {
    const stream = session.open({ mode: "speak-first" });
    await stream.opened;
    assertEquals(await readText(stream), "hello");
    await stream.write(utf8("after your end"));
    await stream.closeWrite();
    assertEquals(await late.promise, "after your end");
  }, { onStream });
});

Deno.test("a Go server serves 200 streams at once", async () => {
  await withServer(peer, async (session) => {
    await Promise.all(Array.from({ length: 200 }, async (_, i) => {
      const stream = session.open({ mode: "echo", i: `${i}` });
      await stream.opened;
      const payload = pattern(100_000 + i);
      const [received] = await Promise.all([
        readAll(stream),
        stream.write(payload).then(() => stream.closeWrite()),
      ]);
      assertEquals(received.length, payload.length);
      assert(received.every((byte, at) => byte === payload[at]), `stream ${i} arrived changed`);
    }));
    assertEquals(session.streamCount, 0);
  });
});

Deno.test("a Go server serves 3000 streams one after another", async () => {
  await withServer(peer, async (session) => {
    for (let i = 0; i < 3000; i++) {
      const stream = session.open({ mode: "echo", i: `${i}` });
      await stream.opened;
      await stream.write(utf8(`${i}`));
      await stream.closeWrite();
      assertEquals(await readText(stream), `${i}`);
    }
    assertEquals(session.streamCount, 0);
  });
});

Deno.test("a Go server refuses streams between others", async () => {
  await withServer(peer, async (session) => {
    await Promise.all(Array.from({ length: 40 }, async (_, i) => {
      const stream = session.open({ mode: i % 2 === 0 ? "refuse" : "echo" });
      if (i % 2 === 0) {
        const error = await assertRejects(() => stream.opened, StreamResetError);
        assertEquals([error.streamId, error.status], [stream.id, ResetStatus.REFUSED_STREAM]);
      } else {
        await stream.opened;
        await stream.write(utf8("x"));
        await stream.closeWrite();
        assertEquals(await readText(stream), "x");
      }
    }));
    assertEquals(session.streamCount, 0);
  });
});

Deno.test("a Go server resets in the middle; the others go on", async () => {
  await withServer(peer, async (session) => {
    const reset = session.open({ mode: "reset" });
    const other = session.open({ mode: "echo" });
    await other.opened;
    const buffer = new Uint8Array(64);
    assertEquals(await reset.read(buffer), 4);
    const error = await assertRejects(() => reset.read(buffer), StreamResetError);
    assertEquals(error.status, ResetStatus.CANCEL);
    const [sent, received] = await Promise.all([writeRandom(other, 1), checksum(other)]);
    assertEquals(received, [1 << 20, sent]);
  });
});

Deno.test("a Go server takes 50 resets of ours in the middle; the others go on", async () => {
  await withServer(peer, async (session) => {
    const other = session.open({ mode: "echo" });
    await other.opened;
    const echoed = Promise.all([writeRandom(other, 16), checksum(other)]);
    for (let i = 0; i < 50; i++) {
      const stream = session.open({ mode: "echo" });
      await stream.opened;
      await stream.write(pattern(50_000));
      assert(await stream.read(new Uint8Array(10)) !== null);
      stream.reset();
    }
    const [sent, received] = await echoed;
    assertEquals(received, [16 << 20, sent]);
    assertEquals(session.streamCount, 0);
  });
});

Deno.test("a Go server never replies; the stream alone gives up", async () => {
  await withServer(peer, async (session) => {
    const silent = session.open({ mode: "silent" });
    await assertRejects(() => silent.opened, StreamResetError, "not answered within 200 ms");
    const stream = session.open({ mode: "echo" });
    await stream.opened;
    await stream.closeWrite();
    assertEquals(await readText(stream), "");
  }, { openTimeout: 200 });
});

Deno.test("a Go server replies with FIN", async () => {
  await withServer(peer, async (session) => {
    const stream = session.open({ mode: "reply-fin" });
    await stream.opened;
    assertEquals(await readText(stream), "");
  });
});

Deno.test("a Go server gives our headers back, of 0 bytes to 1 MiB", async () => {
  await withServer(peer, async (session) => {
    for (const size of [0, 1, 511, 512, 513, 100_000, 1 << 20]) {
      const big = Array.from({ length: size }, (_, i) => String.fromCharCode(97 + (i * i * 31 >> 3) % 26)).join("");
      const stream = session.open({ mode: "headers", big, two: "a\0b", umlaut: "größer" });
      const headers = await stream.opened;
      assertEquals([headers.two, headers.umlaut, headers.mode], ["a\0b", "größer", "headers"]);
      assert(headers.big === big, `${size} bytes came back changed`);
      assertEquals(await readText(stream), "");
      await stream.closeWrite();
    }
  });
});

Deno.test("a Go server sends a frame of 5 MiB", async () => {
  await withServer(peer, async (session) => {
    const stream = session.open({ mode: "large" });
    const bytes = await readAll(stream);
    assertEquals(bytes.length, 5 << 20);
    assert(bytes.every((byte) => byte === 0));
  });
});

Deno.test("a Go server gets its Pings back", async () => {
  await withServer(peer, async (session) => {
    const stream = session.open({ mode: "ping" });
    assertEquals(await readText(stream), "10 pings");
  });
});

Deno.test("a Go server answers our Pings, which confirms what we sent", async () => {
  await withServer(peer, async (session) => {
    const stream = session.open({ mode: "sum" });
    await stream.opened;
    await stream.write(pattern(10_000));
    const written = performance.now();
    // Only the answer to a Ping that was sent later is progress later.
    while (performance.now() - session.stalledFor <= written) await new Promise((resolve) => setTimeout(resolve, 5));
    assertEquals(session.isClosed, false);
  }, { ping: { interval: 10, timeout: 10_000 } });
});

Deno.test("a Go server says GOAWAY and goes", async () => {
  await withServer(peer, async (session) => {
    const other = session.open({ mode: "echo" });
    await other.opened;
    session.open({ mode: "goaway" });
    await session.closed;
    await assertRejects(() => other.read(new Uint8Array(8)), Error, "the peer ended the session");
  });
});

Deno.test("a Go server goes when we say GOAWAY", async () => {
  await withServer(peer, async (session) => {
    const stream = session.open({ mode: "echo" });
    await stream.opened;
    const start = performance.now();
    await session.close();
    await session.closed;
    assert(performance.now() - start < 1000, "it was waited for in vain");
  }, { closeTimeout: 5000 });
});

Deno.test("a Go server echoes while one of its streams is not read: ours queues, then all arrives", async () => {
  await withServer(peer, async (session) => {
    const fast = session.open({ mode: "echo" });
    await fast.opened; // Its reply would wait behind the bytes of the slow one.
    const slow = session.open({ mode: "large" });
    const echoed = Promise.all([writeRandom(fast, 8), checksum(fast)]);
    while (session.stall === undefined) await new Promise((resolve) => setTimeout(resolve));
    assertEquals(session.stall.stream, slow);
    assertEquals((await readAll(slow)).length, 5 << 20);
    const [sent, received] = await echoed;
    assertEquals(received, [8 << 20, sent]);
  });
});
