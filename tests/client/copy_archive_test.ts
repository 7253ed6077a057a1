import { assertEquals, assertLess, assertRejects } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import { CopyError } from "../../lib/client/copy_error.ts";
import { type ArchiveEntry, readArchive, readPlainArchive } from "../../lib/client/copy_archive.ts";

/** Both readers: that of Deno and Node, and that of browsers. */
const READERS = { readArchive, readPlainArchive };

/** A header of GNU's tar, whose size field is a number of 95 bits, high byte first, behind a set bit ("base-256"). */
function hugeHeader(size: bigint, type = "0"): Uint8Array {
  const header = new Uint8Array(512);
  const put = (at: number, text: string) => header.set(new TextEncoder().encode(text), at);
  put(0, "huge");
  put(100, "0000644\0");
  put(108, "0000000\0");
  put(116, "0000000\0");
  put(136, "00000000000\0");
  put(156, type);
  put(257, "ustar  \0");
  new DataView(header.buffer).setBigUint64(128, size);
  header[124] = 0x80;
  return sealed(header);
}

/** Sets the checksum of a header. */
function sealed(header: Uint8Array): Uint8Array {
  const sum = header.fill(32, 148, 156).reduce((sum, byte) => sum + byte, 0);
  header.set(new TextEncoder().encode(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
  return header;
}

for (const [reader, read] of Object.entries(READERS)) {
  Deno.test(`${reader}() reads sizes beyond 8 GiB as GNU's tar and busybox's write them`, async () => {
    const size = 9n << 30n;
    for await (const { header } of read(ReadableStream.from([hugeHeader(size), new Uint8Array(512)]))) {
      assertEquals([header.name, header.type, header.size], ["huge", "file", Number(size)]);
      break; // Its content is not there.
    }
  });
}

for (const [reader, read] of Object.entries(READERS)) {
  Deno.test(`${reader}() goes on behind a file that is larger than what is read ahead, though the next one is there`, async () => {
    const size = 300_000;
    const file = concat([hugeHeader(BigInt(size)), new Uint8Array(size).fill(97), new Uint8Array(-size & 511)]);
    const archive = concat([file, file, file, new Uint8Array(1024)]);
    const pieces = Array.from({ length: 15 }, (_, i) => archive.subarray(i * 65536, (i + 1) * 65536));
    const sizes: number[] = [];
    for await (const { content } of read(ReadableStream.from(pieces))) {
      sizes.push(concat(await Array.fromAsync<Uint8Array>(content)).length);
    }
    assertEquals(sizes, [size, size, size]);
  });
}

/** An archive that goes on for ever behind its first header, and how much of it has been taken. */
function withoutEnd(first: Uint8Array): { readonly archive: ReadableStream<Uint8Array>; taken(): number } {
  let taken = 0;
  let header: Uint8Array | undefined = first;
  const archive = new ReadableStream<Uint8Array>({
    pull(controller) {
      const chunk = header ?? new Uint8Array(64 * 1024).fill(97);
      header = undefined;
      taken += chunk.length;
      controller.enqueue(chunk);
    },
  }, { highWaterMark: 0 });
  return { archive, taken: () => taken };
}

for (const [type, name] of [["L", "name"], ["K", "link's target"], ["x", "pax header"], ["g", "global pax header"]]) {
  Deno.test(`readArchive() gives up on a ${name} without end, and keeps no more than 2 MiB of it`, async () => {
    const { archive, taken } = withoutEnd(hugeHeader(9n << 30n, type));
    await assertRejects(() => Array.fromAsync(readArchive(archive)), CopyError, "a header of more than 1 MiB");
    assertLess(taken(), 2 * 1024 * 1024);
  });
}

Deno.test("readPlainArchive() gives up on a header without end too, and keeps no more than 4 MiB of it", async () => {
  for (
    const [size, message] of [[7n << 20n, "a header of more than 1 MiB"], [9n << 30n, "exceeds maximum size"]] as const
  ) {
    const { archive, taken } = withoutEnd(hugeHeader(size, "L"));
    await assertRejects(() => Array.fromAsync(readPlainArchive(archive)), Error, message);
    assertLess(taken(), 4 * 1024 * 1024);
  }
});

/** Everything in an archive; every other file is left unread. */
async function listing(entries: AsyncIterable<ArchiveEntry>): Promise<unknown[]> {
  const list: unknown[] = [];
  for await (const { header, content } of entries) {
    const read = header.type === "file" && list.length % 2 === 0;
    list.push([header, read && concat(await Array.fromAsync<Uint8Array>(content))]);
  }
  return list;
}

for (const format of ["gnu", "pax", "ustar"]) {
  Deno.test(`readPlainArchive() reads what readArchive() does of tar's ${format} archives, in pieces of any size`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "podwire-archive-" });
    try {
      const long = "long".repeat(20);
      await Deno.mkdir(`${folder}/tree/${long}/${long}`, { recursive: true });
      for (const [name, size] of [["empty", 0], ["small", 7], ["gr\u00fc\u00dfe", 512], ["large", 300_000]] as const) {
        const data = Uint8Array.from({ length: size }, (_, i) => i % 251);
        for (const path of [name, `${long}/${long}/${name}`]) {
          await Deno.writeFile(`${folder}/tree/${path}`, data, { mode: 0o640 });
          await Deno.utime(`${folder}/tree/${path}`, 981173106.25, 981173106.25);
        }
      }
      await Deno.symlink("small", `${folder}/tree/symlink`);
      await Deno.symlink(`${long}/${long}/gr\u00fc\u00dfe`, `${folder}/tree/${long}/away`);
      await Deno.link(`${folder}/tree/large`, `${folder}/tree/twin`);
      const { stdout } = await new Deno.Command("tar", { args: ["cf", "-", `--format=${format}`, "tree"], cwd: folder })
        .output();
      const expected = await listing(readArchive(ReadableStream.from([stdout])));
      assertEquals(expected.length, 14);
      for (const step of [100, 512, 4096, 64 * 1024, stdout.length]) {
        const pieces = Array.from(
          { length: Math.ceil(stdout.length / step) },
          (_, i) => stdout.subarray(i * step, (i + 1) * step),
        );
        assertEquals(await listing(readPlainArchive(ReadableStream.from(pieces))), expected, `${step} bytes`);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("readArchive() refuses an entry whose size, time or owner is no number", async () => {
  const pax = (field: string) => {
    const record = new TextEncoder().encode(`${field.length + 4} ${field}\n`);
    return [hugeHeader(BigInt(record.length), "x"), record, new Uint8Array(512 - record.length)];
  };
  const entry = hugeHeader(0n);
  for (const field of ["size=abc", "size=-51", "mtime=abc", "uid=abcde", "gid=abcde"]) {
    const archive = ReadableStream.from([...pax(field), entry, new Uint8Array(1024)]);
    const what = field.split("=")[0];
    await assertRejects(() => Array.fromAsync(readArchive(archive)), CopyError, `is no ${what}`, field);
  }
  const negative = hugeHeader(0n);
  negative.fill(0xff, 124, 135).fill(0x80, 135, 136);
  const archive = ReadableStream.from([sealed(negative), new Uint8Array(1024)]);
  await assertRejects(() => Array.fromAsync(readArchive(archive)), CopyError, "is no size");
});

Deno.test("readArchive() takes an archive that comes in large chunks", async () => {
  const parts: Uint8Array[] = [];
  for (let i = 0; i < 3000; i++) parts.push(hugeHeader(512n), new Uint8Array(512).fill(i % 251));
  const whole = new Uint8Array(await new Blob([...parts, new Uint8Array(1024)] as BlobPart[]).arrayBuffer());
  for (const read of [readArchive, readPlainArchive]) {
    const entries = await Array.fromAsync(read(ReadableStream.from([whole])), async ({ content }) => {
      const chunks = Array.isArray(content) ? content : await Array.fromAsync(content);
      return chunks[0]![0];
    });
    assertEquals(entries, Array.from({ length: 3000 }, (_, i) => i % 251));
  }
});

Deno.test("readPlainArchive() refuses a name that is no UTF-8, and an archive that is cut", async () => {
  const odd = hugeHeader(0n);
  odd[3] = 0xff;
  sealed(odd);
  const read = (...chunks: Uint8Array[]) => Array.fromAsync(readPlainArchive(ReadableStream.from(chunks)));
  await assertRejects(() => read(odd, new Uint8Array(1024)), CopyError, "a name that cannot be read");
  await assertRejects(() => read(hugeHeader(0n).subarray(0, 300)), Error, "truncated");
});

Deno.test("readPlainArchive() cancels the archive when it is left, and ends with what breaks that", async () => {
  for (const broken of [false, true]) {
    const cancelled = Promise.withResolvers<void>();
    let header: Uint8Array | undefined = hugeHeader(1000n);
    const archive = new ReadableStream<Uint8Array>({
      async pull(controller) {
        if (header) controller.enqueue(header);
        else if (broken) throw new Error("it broke");
        else await new Promise(() => {});
        header = undefined;
      },
      cancel: () => cancelled.resolve(),
    }, { highWaterMark: 0 });
    const entries = readPlainArchive(archive);
    const { value } = await entries.next();
    if (broken) await assertRejects(() => Array.fromAsync<Uint8Array>(value.content), Error, "it broke");
    if (broken) await assertRejects(() => entries.next(), Error, "it broke");
    await entries.return(undefined);
    if (!broken) await cancelled.promise;
  }
});
