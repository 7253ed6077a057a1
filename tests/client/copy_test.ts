// Pod.upload, Pod.download and Pod.tar against the embedded host, with containers that lack programs, that lie, that are
// full, and over a link that breaks.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, fail } from "@std/assert";
import { concat, within } from "../../lib/bytes/mod.ts";
import { Cluster, CopyError, type UploadSource } from "../../lib/client/mod.ts";
import { CopyGround, noise, type Program, TOOLS } from "./copy_ground.ts";

const without = (...names: string[]): Program[] => TOOLS.filter((name) => !names.includes(name));
const MIB = 1 << 20;

async function received(readable: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(readable).arrayBuffer());
}

Deno.test("upload() and download() copy files of any size, with mode and time", async () => {
  await using ground = await CopyGround.start();
  const mtime = new Date("2001-02-03T04:05:06Z");
  for (const size of [0, 1, 65536, 5 * MIB, 40 * MIB]) {
    const data = noise(size);
    const path = ground.path(`file ${size}`);
    const uploaded = await ground.pod.upload(data, path, { mode: 0o640, mtime });
    assertEquals(uploaded, { size, checkedBy: "sha256sum" });
    assert(equal(await Deno.readFile(path), data), `${size} bytes up`);
    const info = await Deno.stat(path);
    assertEquals([(info.mode ?? 0) & 0o777, info.mtime], [0o640, mtime]);
    const download = await ground.pod.download(path);
    assertEquals([download.size, download.mode, download.mtime], [size, 0o640, mtime]);
    assert(equal(await received(download.readable), data), `${size} bytes down`);
  }
  assertEquals((await ground.names()).length, 5, "nothing staged is left");
});

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

Deno.test("a download read into a buffer of the reader's own ends, as one that brings its own", async () => {
  await using ground = await CopyGround.start();
  for (const size of [0, 10, 300_000]) {
    const data = noise(size);
    await Deno.writeFile(ground.path("file"), data);
    const reader = (await ground.pod.download(ground.path("file"))).readable.getReader({ mode: "byob" });
    const parts: Uint8Array[] = [];
    for (let view = new Uint8Array(1000);;) {
      const { done, value } = await within(10_000, reader.read(view), () => fail("it waits for ever"));
      if (done) break;
      parts.push(value.slice());
      view = new Uint8Array(value.buffer);
    }
    assert(equal(concat(parts), data), `${size} bytes`);
  }
});

Deno.test("a download that is disposed of leaves nothing running, and says so to who reads on", async () => {
  await using ground = await CopyGround.start();
  for (const [size, chunks] of [[100, 0], [100, 1], [3 * MIB, 0], [3 * MIB, 2]] as const) {
    await Deno.writeFile(ground.path("file"), noise(size));
    let reader: ReadableStreamDefaultReader<Uint8Array>;
    {
      await using download = await ground.pod.download(ground.path("file"));
      reader = download.readable.getReader();
      for (let i = 0; i < chunks; i++) assertEquals((await reader.read()).done, false);
    }
    await ground.link.idle();
    await assertRejects(() => reader.read(), CopyError, "disposed of before its end");
  }
  await using read = await ground.pod.download(ground.path("file"));
  assertEquals((await received(read.readable)).length, 3 * MIB, "what was read stays read");
});

Deno.test("a download ends with the reason of its abort, whatever that is", async () => {
  await using ground = await CopyGround.start();
  await Deno.writeFile(ground.path("file"), noise(3 * MIB));
  for (const reason of [null, "enough", 7, new Error("enough")]) {
    const enough = new AbortController();
    const { readable } = await ground.pod.download(ground.path("file"), { signal: enough.signal });
    const reader = readable.getReader();
    await reader.read();
    enough.abort(reason);
    assertEquals(await reader.read().then(() => "no error", (error) => error), reason);
    await ground.link.idle();
  }
});

Deno.test("upload() refuses a mode or a time that no file can have, before the server is asked", async () => {
  await using ground = await CopyGround.start();
  const rows: Array<[options: Record<string, unknown>, type: typeof TypeError]> = [
    [{ mode: "0644" }, TypeError],
    [{ mode: null }, TypeError],
    [{ mode: NaN }, RangeError],
    [{ mode: -1 }, RangeError],
    [{ mode: 6.5 }, RangeError],
    [{ mode: 0o200000 }, RangeError],
    [{ mtime: 1e9 }, TypeError],
    [{ mtime: new Date(NaN) }, RangeError],
  ];
  for (const [options, type] of rows) {
    const upload = () => ground.pod.upload(noise(1), ground.path("file"), options);
    await assertRejects(upload, type, `${Object.keys(options)[0]}: `);
  }
  assertEquals([ground.link.passed, await ground.names()], [0, []]);
});

Deno.test("upload(), download() and tar() refuse a path that is none, before the server is asked", async () => {
  await using cluster = new Cluster({ server: "http://127.0.0.1:1" });
  const pod = cluster.pod("one");
  for (const path of ["", "a\0b", "a\ud800"]) {
    for (const copy of [() => pod.upload(noise(1), path), () => pod.download(path), () => pod.tar(path)]) {
      await assertRejects(copy, TypeError, `path: ${JSON.stringify(path)} is no path`);
    }
  }
});

Deno.test("upload() takes a mode as Deno.stat() gives it, for a new file and one that is there", async () => {
  await using ground = await CopyGround.start();
  await Deno.writeFile(ground.path("from"), noise(1), { mode: 0o750 });
  const { mode } = await Deno.stat(ground.path("from"));
  await Deno.writeFile(ground.path("old"), noise(1), { mode: 0o600 });
  for (const name of ["new", "old"]) {
    await ground.pod.upload(noise(2), ground.path(name), { mode: mode! });
    assertEquals((await Deno.stat(ground.path(name))).mode, mode);
  }
});

Deno.test("upload() and download() keep times before 1970 and after 2242, which no plain header of tar can hold", async () => {
  // As busybox' tar: without pax, and not GNU's by name.
  const plain = { name: "tar", script: '[ "$1" = --version ] && exit 1; exec /bin/tar "$@"' };
  for (const list of [TOOLS, without("tar"), [...without("tar"), plain]]) {
    await using ground = await CopyGround.start(list);
    for (
      const mtime of ["1969-12-31T23:59:50.5Z", "1901-12-25T00:00:00Z", "2345-06-07T08:09:10Z"].map((text) =>
        new Date(text)
      )
    ) {
      for (const size of [100, 5 * MIB]) {
        await ground.pod.upload(noise(size), ground.path("file"), { mtime, mode: 0o600 });
        const { mtime: there, mode } = await Deno.stat(ground.path("file"));
        assertEquals([there, mode! & 0o777], [mtime, 0o600]);
        await using download = await ground.pod.download(ground.path("file"));
        assertEquals(download.mtime.getTime(), Math.floor(mtime.getTime() / 1000) * 1000); // As far as tar tells.
      }
    }
  }
});

Deno.test("upload() takes every view and an ArrayBuffer, on their own and as chunks of a stream", async () => {
  await using ground = await CopyGround.start();
  const { pod } = ground;
  const data = noise(100_000);
  const kinds: Array<ArrayBuffer | ArrayBufferView> = [
    data.buffer,
    new DataView(data.buffer),
    new Uint16Array(data.buffer),
  ];
  for (const [i, kind] of kinds.entries()) {
    const stream = () => ReadableStream.from([kind as unknown as Uint8Array, data]);
    const rows: Array<[name: string, source: UploadSource, size: number]> = [
      ["plain", kind, 100_000],
      ["stream", stream(), 200_000],
      ["content", { size: 200_000, open: stream }, 200_000],
      ["unsized", { open: stream }, 200_000],
    ];
    for (const [name, source, size] of rows) {
      const path = ground.path(`${name} ${i}`);
      assertEquals((await pod.upload(source, path)).size, size, name);
      const there = await Deno.readFile(path);
      assert(equal(there.subarray(0, 100_000), data), name);
      assert(equal(there.subarray(-100_000), data), name);
    }
  }
});

Deno.test("upload() refuses what is no source, and chunks that are no bytes", async () => {
  await using ground = await CopyGround.start();
  const text = "text" as unknown as Uint8Array;
  const open = () => ReadableStream.from([text]);
  for (const source of [text, null as unknown as Uint8Array, open(), { open }, { open, size: 4 }]) {
    await assertRejects(() => ground.pod.upload(source, ground.path("file")), TypeError, "Expected ArrayBuffer");
  }
  assertEquals(await ground.names(), []);
});

Deno.test("upload() takes streams and blobs", async () => {
  await using ground = await CopyGround.start();
  const data = noise(3 * MIB);
  await ground.pod.upload(new Blob([data]), ground.path("blob"));
  await ground.pod.upload(new Blob([data]).stream(), ground.path("stream"));
  for (const name of ["blob", "stream"]) assert(equal(await Deno.readFile(ground.path(name)), data), name);
});

Deno.test("upload() takes byte streams, with a reader's own buffer and without", async () => {
  await using ground = await CopyGround.start();
  for (const byob of [undefined, true]) {
    let left = 3;
    const open = () =>
      new ReadableStream({
        type: "bytes",
        autoAllocateChunkSize: 4,
        pull(controller) {
          if (left-- > 0) return controller.enqueue(new TextEncoder().encode("bytes"));
          controller.close();
          if (byob) controller.byobRequest?.respond(0); // Else a reader that brings its own waits for ever.
        },
      });
    await ground.pod.upload(byob ? { open, byob } : { open }, ground.path("file"));
    assertEquals(await Deno.readTextFile(ground.path("file")), "bytesbytesbytes");
  }
});

Deno.test("upload() writes into the file that is there", async () => {
  await using ground = await CopyGround.start();
  for (const size of [100, 6 * MIB]) {
    const path = ground.path("file");
    await Deno.writeTextFile(path, "old");
    using open = await Deno.open(path);
    const { ino } = await open.stat();
    const data = noise(size);
    await ground.pod.upload(data, path);
    assertEquals((await Deno.stat(path)).ino, ino);
    assert(equal(await received(open.readable), data), "a handle from before sees the new content");
    await Deno.remove(path);
  }
});

Deno.test("upload() replaces a link and follows none", async () => {
  await using ground = await CopyGround.start();
  await Deno.writeTextFile(ground.path("other"), "old");
  await Deno.symlink("other", ground.path("link"));
  await ground.pod.upload(new TextEncoder().encode("new"), ground.path("link"));
  assertEquals((await Deno.lstat(ground.path("link"))).isFile, true);
  assertEquals(await Deno.readTextFile(ground.path("other")), "old");
});

Deno.test("a copy over a link that is cut 20 times is whole, and goes on where it stopped", async () => {
  await using ground = await CopyGround.start();
  const data = noise(30 * MIB);
  const { link } = ground;
  link.after = 1.3 * MIB;
  for (const source of [new Blob([data]), new Blob([data]).stream()]) {
    [link.cuts, link.passed] = [20, 0];
    await ground.pod.upload(source, ground.path("file"));
    assertEquals(link.cuts, 0);
    assert(equal(await Deno.readFile(ground.path("file")), data), "up");
    assert(link.passed < 2 * data.length, `${link.passed} bytes for ${data.length} up`);
  }
  [link.cuts, link.passed] = [20, 0];
  const { readable } = await ground.pod.download(ground.path("file"));
  assert(equal(await received(readable), data), "down");
  assertEquals(link.cuts, 0);
  assert(link.passed < 2 * data.length, `${link.passed} bytes for ${data.length} down`);
  assertEquals(await ground.names(), ["file"]);
});

Deno.test("a copy of a file with holes goes on where it stopped, and keeps them", async () => {
  await using ground = await CopyGround.start();
  const data = noise(12 * MIB);
  for (let at = 0; at < data.length; at += MIB) data.fill(0, at, at + MIB / 2);
  data.fill(0, 11 * MIB);
  const { link } = ground;
  [link.after, link.cuts, link.passed] = [1.3 * MIB, 6, 0];
  const content = { size: data.length, sparse: true, open: (at: number) => new Blob([data]).slice(at).stream() };
  await ground.pod.upload(content, ground.path("file"));
  assertEquals(link.cuts, 0);
  assert(equal(await Deno.readFile(ground.path("file")), data));
  const { blocks } = await Deno.stat(ground.path("file"));
  assert(blocks! * 512 < 7 * MIB, `${blocks} blocks`);
  assert(link.passed < 2 * data.length, `${link.passed} bytes for ${data.length}`);
});

Deno.test("a copy gives up after so many breaks in a row, and leaves what was there", async () => {
  await using ground = await CopyGround.start();
  await Deno.writeTextFile(ground.path("file"), "old");
  [ground.link.cuts, ground.link.after] = [Infinity, 0];
  await assertRejects(() => ground.pod.upload(noise(MIB), ground.path("file"), { retries: 2 }));
  const down = async () => received((await ground.pod.download(ground.path("file"), { retries: 0 })).readable);
  await assertRejects(down);
  assertEquals(await Deno.readTextFile(ground.path("file")), "old");
});

Deno.test("a copy ends with its signal", async () => {
  await using ground = await CopyGround.start();
  const controller = new AbortController();
  const endless = new ReadableStream<Uint8Array>({ pull: (c) => c.enqueue(new Uint8Array(65536)) }, {
    highWaterMark: 0,
  });
  const copied = ground.pod.upload(endless, ground.path("file"), {
    signal: controller.signal,
    onProgress: (bytes) => bytes > MIB && controller.abort(new Error("enough")),
  });
  await assertRejects(() => copied, Error, "enough");
  assertEquals((await ground.names()).includes("file"), false);
});

Deno.test("a container's missing programs are made up for, as far as it goes", async () => {
  const data = noise(5 * MIB);
  const rows: Array<[missing: string[], checkedBy: string]> = [
    [["tar"], "sha256sum"],
    [["sha256sum"], "cksum"],
    [["sha256sum", "cksum"], "wc"],
    [["tar", "sha256sum", "dd", "stat", "head"], "cksum"],
  ];
  for (const [missing, checkedBy] of rows) {
    await using ground = await CopyGround.start(without(...missing));
    const uploaded = await ground.pod.upload(data, ground.path("file"), { mode: 0o750 });
    assertEquals(uploaded, { size: data.length, checkedBy }, missing.join());
    assertEquals(((await Deno.stat(ground.path("file"))).mode ?? 0) & 0o777, 0o750, missing.join());
    const { readable, mode } = await ground.pod.download(ground.path("file"));
    assertEquals(mode, 0o750, missing.join());
    assert(equal(await received(readable), data), missing.join());
  }
});

Deno.test("a container without a shell, or without any checksum, is refused and pointed to kubectl debug", async () => {
  for (const missing of [["sh"], ["sha256sum", "cksum", "wc"]]) {
    await using ground = await CopyGround.start(without(...missing));
    const error = await assertRejects(() => ground.pod.upload(noise(10), ground.path("file")), CopyError);
    assertStringIncludes(error.message, "kubectl debug");
    assertEquals(await ground.names(), []);
  }
});

Deno.test("what the container has is compared: it may not say what it likes", async () => {
  const liar = {
    name: "sha256sum",
    script: 'for f; do echo "$(printf %064d 1)  $f"; done; [ $# = 0 ] && printf "%064d  -\\n" 1',
  };
  await using ground = await CopyGround.start([...without("sha256sum"), liar]);
  for (const size of [10, 5 * MIB]) {
    await Deno.writeTextFile(ground.path("file"), "old");
    const error = await assertRejects(() => ground.pod.upload(noise(size), ground.path("file")), CopyError);
    assertMatch(error.message, /is not what was sent/);
    assertEquals(await Deno.readTextFile(ground.path("file")), "old");
    assertEquals(await ground.names(), ["file"]);
    const download = await ground.pod.download(ground.path("file"));
    await assertRejects(() => received(download.readable), CopyError, "is not what was received");
  }
});

Deno.test("a container whose disk is full says so, and keeps what was there", async () => {
  const full = { name: "cat", script: "exec /bin/cat >/dev/full" };
  const fullTar = { name: "tar", script: "case $* in *--version*) ;; *) /bin/cat >/dev/full; exit 2;; esac" };
  await using ground = await CopyGround.start([...without("cat", "tar"), full, fullTar]);
  for (const size of [10, 5 * MIB]) {
    await Deno.writeTextFile(ground.path("file"), "old");
    const error = await assertRejects(() => ground.pod.upload(noise(size), ground.path("file")), CopyError);
    assertStringIncludes(error.message, "No space left on device");
    assertEquals(await Deno.readTextFile(ground.path("file")), "old");
    assertEquals(await ground.names(), ["file"]);
  }
});

Deno.test("a disk that is full while the file is rewritten leaves the new content as a whole", async () => {
  const torn = { name: "cp", script: 'for last; do :; done; : >"$last"; exit 1' };
  await using ground = await CopyGround.start([...without("cp"), torn]);
  await Deno.writeTextFile(ground.path("file"), "old");
  const data = noise(5 * MIB);
  await ground.pod.upload(data, ground.path("file"));
  assert(equal(await Deno.readFile(ground.path("file")), data));
  assertEquals(await ground.names(), ["file"]);
});

Deno.test("download() takes a file that grows as far as it goes, and no other that changes", async () => {
  await using ground = await CopyGround.start();
  const data = noise(6 * MIB);
  const path = ground.path("log");
  await Deno.writeFile(path, data);
  const grows = await ground.pod.download(path);
  await Deno.writeFile(path, noise(100), { append: true });
  assert(equal(await received(grows.readable), data));
  const changes = await ground.pod.download(path);
  await Deno.writeFile(path, noise(6 * MIB));
  await assertRejects(() => received(changes.readable), CopyError);
});

Deno.test("download() and upload() say what is not there", async () => {
  await using ground = await CopyGround.start();
  await assertRejects(() => ground.pod.download(ground.path("nosuch")), CopyError, "No such file or directory");
  await assertRejects(() => ground.pod.download(ground.path("")), CopyError, "is no file, but a directory");
  const error = await assertRejects(() => ground.pod.upload(noise(1), ground.path("no/such")), CopyError);
  assertStringIncludes(error.message, "No such file or directory");
  assertEquals(await ground.names(), []);
});

Deno.test("tar() gives the container's own archive, and errors if it is not whole", async () => {
  await using ground = await CopyGround.start();
  await Deno.mkdir(ground.path("d"));
  await Deno.writeTextFile(ground.path("d/-f"), "content");
  const archive = await received(await ground.pod.tar(ground.path("d")));
  assertEquals(archive.length % 512, 0);
  assertStringIncludes(new TextDecoder("latin1").decode(archive), "d/-f");
  await assertRejects(async () => received(await ground.pod.tar(ground.path("nosuch"))), CopyError, "nosuch");

  const cut = { name: "tar", script: "/bin/tar cf - -C / etc/hostname | /bin/dd bs=512 count=2 2>/dev/null" };
  await using liar = await CopyGround.start([...without("tar"), cut]);
  await assertRejects(
    async () => received(await liar.pod.tar("/etc/hostname", { retries: 1 })),
    Error,
    "before exit status",
  );
});
