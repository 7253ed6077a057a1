import { assertEquals, assertLess, assertRejects } from "@std/assert";
import { CopyError } from "../../lib/client/copy_error.ts";
import { readArchive } from "../../lib/client/copy_archive.ts";

/** A header of GNU's tar, whose size field is a number of 95 bits, high byte first, behind a set bit ("base-256"). */
function hugeHeader(size: bigint, type = "0"): Uint8Array {
  const header = new Uint8Array(512);
  const put = (at: number, text: string) => header.set(new TextEncoder().encode(text), at);
  put(0, "huge");
  put(100, "0000644\0");
  put(108, "0000000\0");
  put(116, "0000000\0");
  put(136, "00000000000\0");
  put(148, " ".repeat(8));
  put(156, type);
  put(257, "ustar  \0");
  new DataView(header.buffer).setBigUint64(128, size);
  header[124] = 0x80;
  const sum = header.reduce((sum, byte) => sum + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return header;
}

Deno.test("readArchive() reads sizes beyond 8 GiB as GNU's tar and busybox's write them", async () => {
  const size = 9n << 30n;
  for await (const { header } of readArchive(ReadableStream.from([hugeHeader(size), new Uint8Array(512)]))) {
    assertEquals([header.name, header.type, header.size], ["huge", "file", Number(size)]);
    break; // Its content is not there.
  }
});

for (const [type, name] of [["L", "name"], ["K", "link's target"], ["x", "pax header"], ["g", "global pax header"]]) {
  Deno.test(`readArchive() gives up on a ${name} without end, and keeps no more than 2 MiB of it`, async () => {
    let taken = 0;
    let header: Uint8Array | undefined = hugeHeader(9n << 30n, type);
    const archive = new ReadableStream<Uint8Array>({
      pull(controller) {
        const chunk = header ?? new Uint8Array(64 * 1024).fill(97);
        header = undefined;
        taken += chunk.length;
        controller.enqueue(chunk);
      },
    }, { highWaterMark: 0 });
    await assertRejects(() => Array.fromAsync(readArchive(archive)), CopyError, "a header of more than 1 MiB");
    assertLess(taken, 2 * 1024 * 1024);
  });
}
