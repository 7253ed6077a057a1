// What a copy does with its streams when something goes wrong: a source that gives nothing, too little or too late, a
// caller that has had enough, a server that breaks off before it has said anything.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { connect, createServer, type Socket } from "node:net";
import { Cluster, CopyError, type UploadSource } from "../../lib/client/mod.ts";
import { receiveFile } from "../../lib/client/copy_receive.ts";
import { HttpError } from "../../lib/dial/mod.ts";
import { CopyGround, noise, type Program, TOOLS } from "./copy_ground.ts";
import { FakeClock } from "./fake_clock.ts";
import { withRawServer } from "./raw_server.ts";

// A copy that has failed must leave nothing behind.
Deno.test.sanitizer({ ops: true, resources: false }); // The host leaves the pipes of commands to the garbage collector.

const MIB = 1 << 20;
const without = (...names: string[]): Program[] => TOOLS.filter((name) => !names.includes(name));

/** A stream that gives `chunks` and then nothing more, not even its end; and what it was cancelled with. */
function idle(...chunks: Uint8Array[]): { readonly stream: ReadableStream<Uint8Array>; readonly cancelled: unknown[] } {
  const cancelled: unknown[] = [];
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      const chunk = chunks.shift();
      if (chunk) controller.enqueue(chunk);
      return chunk ? undefined : new Promise(() => {});
    },
    cancel: (reason) => void cancelled.push(reason),
  }, { highWaterMark: 0 });
  return { stream, cancelled };
}

// --- Uploads ---

Deno.test("upload() tells what the container's command said while the source is idle, and cancels that", async () => {
  const full = { name: "cat", script: "echo no room here >&2; exit 7" };
  await using ground = await CopyGround.start([...without("cat"), full]);
  const { stream, cancelled } = idle(noise(10));
  const error = await assertRejects(() => ground.pod.upload(stream, ground.path("file")), CopyError, "no room here");
  assertEquals(error.code, 1);
  assertEquals([cancelled, stream.locked], [[error], false]);
  assertEquals(await ground.names(), []);
});

Deno.test("upload() cancels the caller's stream whatever it fails of", async () => {
  await using ground = await CopyGround.start();
  await using bare = await CopyGround.start(without("sh"));
  const rows: Array<[what: string, copy: (source: UploadSource) => Promise<unknown>]> = [
    ["no folder", (source) => ground.pod.upload(source, ground.path("no/such"))],
    ["no shell", (source) => bare.pod.upload(source, bare.path("file"))],
    ["its signal", (source) => {
      const enough = new AbortController();
      const onProgress = () => enough.abort(new Error("enough"));
      return ground.pod.upload(source, ground.path("file"), { signal: enough.signal, onProgress });
    }],
  ];
  for (const [what, copy] of rows) {
    for (const once of [false, true]) {
      const { stream, cancelled } = idle(noise(10));
      const error = await assertRejects(() => copy(once ? { once, open: () => stream } : stream));
      assertEquals([cancelled, stream.locked], [[error], false], what);
    }
  }
});

Deno.test("upload() refuses content of another size than it declares, and leaves what was there", async () => {
  await using ground = await CopyGround.start();
  await using noTar = await CopyGround.start(without("tar"));
  for (const { pod, path, names } of [ground, noTar].map(bound)) {
    for (
      const [size, given, once] of [[10, 5, true], [10, 15, false], [6 * MIB, 5, false], [
        5 * MIB,
        6 * MIB,
        true,
      ]] as const
    ) {
      await Deno.writeTextFile(path("file"), "old");
      const data = new Blob([noise(given)]);
      const content = { size, once, open: (offset: number) => data.slice(offset).stream() };
      const error = await assertRejects(() => pod.upload(content, path("file")), CopyError);
      for (const part of [path("file"), String(size), String(given)]) assertStringIncludes(error.message, part);
      assertEquals(await Deno.readTextFile(path("file")), "old");
      assertEquals(await names(), ["file"]);
    }
  }
});

function bound(ground: CopyGround) {
  return { pod: ground.pod, path: (name: string) => ground.path(name), names: () => ground.names() };
}

Deno.test("upload() cancels what an attempt that broke was reading, and takes nothing of it", async () => {
  await using ground = await CopyGround.start();
  const data = noise(256 * 1024);
  const again = Promise.withResolvers<void>();
  const cancelled: unknown[] = [];
  const offsets: number[] = [];
  const open = (offset: number) => {
    if (offsets.push(offset) > 1) {
      again.resolve();
      return new Blob([data]).slice(offset).stream();
    }
    let at = 0;
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        if (at > 0) await again.promise; // The first attempt's read ends while the second one reads.
        controller.enqueue(data.subarray(at, at += 64 * 1024));
      },
      cancel: (reason) => void cancelled.push(reason),
    }, { highWaterMark: 0 });
  };
  [ground.link.cuts, ground.link.after] = [1, 40 * 1024]; // In the middle of the first chunk.
  await ground.pod.upload({ open }, ground.path("file"));
  assertEquals([offsets.length, cancelled.length], [2, 1]);
  assertEquals(await Deno.readFile(ground.path("file")), data);
});

// --- Downloads ---

Deno.test("a download that is cancelled waits for no other attempt", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close(); // Nobody listens there any more.
  await using cluster = new Cluster({ server: `http://127.0.0.1:${port}` });
  using clock = new FakeClock();
  let retries = 0;
  const retried = Promise.withResolvers<void>();
  const onRetry = () => {
    retries++;
    retried.resolve();
  };
  const place = { pod: cluster.pod("one", { namespace: "default" }), retries: -1, onRetry };
  const reader = receiveFile(place, "/file", 1, 0).getReader();
  const read = reader.read();
  await retried.promise;
  await clock.settle();
  assertEquals(clock.pending, 1);
  await reader.cancel();
  assertEquals([clock.pending, (await read).done], [0, true]);
  await clock.pass(60_000);
  assertEquals(retries, 1);
});

Deno.test("a download that is cancelled gives up the attempt that is under way", async () => {
  const asked = Promise.withResolvers<void>();
  let attempts = 0;
  await withRawServer(async (connection) => {
    attempts++;
    await connection.head();
    asked.resolve();
    await connection.gone();
  }, async (server) => {
    await using cluster = new Cluster({ server });
    const archive = cluster.pod("one", { namespace: "default" }).tar("/srv", { retries: -1 });
    const reader = (await archive).getReader();
    const read = reader.read();
    await asked.promise;
    await reader.cancel();
    assertEquals((await read).done, true);
  });
  assertEquals(attempts, 1);
});

Deno.test("download() that is cancelled while its shell waits for a server waits for it no more", async () => {
  await using ground = await CopyGround.start(without("tar"));
  const data = noise(MIB);
  await Deno.writeFile(ground.path("file"), data);
  const { readable } = await ground.pod.download(ground.path("file"), { retries: -1 });
  const reader = readable.getReader();
  for (let left = data.length; left > 0;) left -= (await reader.read()).value!.length;
  // What is left is to ask for the checksum. That breaks; a connection is cut at the first byte of either direction: of the
  // third one that comes by, another attempt is under way.
  let looks = 0;
  const again = Promise.withResolvers<void>();
  const after = () => {
    if (++looks === 3) again.resolve();
    return 0;
  };
  ground.link.cuts = Infinity;
  Object.defineProperty(ground.link, "after", { get: after });
  const end = reader.read();
  await again.promise;
  await reader.cancel();
  assertEquals((await end).done, true); // And no timer is left, which the sanitizer sees.
});

// --- Handshakes ---

/** Breaks the first connections, each in its way, once something has come; passes the others on to `host`. */
async function withBreaks<T>(
  host: URL,
  breaks: Array<(socket: Socket) => void>,
  work: (server: URL) => Promise<T>,
): Promise<T> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const brk = breaks.shift();
    const far = brk ? undefined : connect(Number(host.port), host.hostname);
    for (const socket of far ? [near, far] : [near]) {
      sockets.add(socket);
      socket.on("error", () => {}); // "close" follows.
      socket.on("close", () => sockets.delete(socket));
    }
    if (far) near.pipe(far).pipe(near);
    else near.once("data", () => brk?.(near));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const url = new URL(host);
    url.port = String((server.address() as { port: number }).port);
    return await work(url);
  } finally {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  }
}

Deno.test("a copy survives breaks in the handshake: an end, half an answer, a reset, silence", async () => {
  await using ground = await CopyGround.start();
  const breaks = [
    (socket: Socket) => void socket.end(),
    (socket: Socket) => void socket.end("HTTP/1.1 101 Switching"),
    (socket: Socket) => void socket.resetAndDestroy(),
    () => {},
  ];
  await withBreaks(ground.host.url, breaks, async (server) => {
    await using cluster = new Cluster({ server, timeout: 500 });
    await cluster.pod("one", { namespace: "default" }).upload(noise(MIB), ground.path("file"));
  });
  assertEquals(breaks.length, 0);
  assertEquals(await ground.names(), ["file"]);
});

Deno.test("a copy does not ask again a server that speaks no HTTP", async () => {
  let asked = 0;
  const answer = (socket: Socket) => {
    asked++;
    socket.end("SSH-2.0-OpenSSH_9.6\r\n");
  };
  await withBreaks(new URL("http://127.0.0.1"), Array(3).fill(answer), async (server) => {
    await using cluster = new Cluster({ server });
    const pod = cluster.pod("one", { namespace: "default" });
    await assertRejects(() => pod.upload(noise(1), "/file", { retries: 2 }), HttpError, "not an HTTP/1.1 answer");
  });
  assertEquals(asked, 1);
});
