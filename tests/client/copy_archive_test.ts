import { assertEquals } from "@std/assert";
import { readArchive } from "../../lib/client/copy_archive.ts";

/** A header of GNU's tar, whose size field is a number of 95 bits, high byte first, behind a set bit ("base-256"). */
function hugeHeader(size: bigint): Uint8Array {
  const header = new Uint8Array(512);
  const put = (at: number, text: string) => header.set(new TextEncoder().encode(text), at);
  put(0, "huge");
  put(100, "0000644\0");
  put(108, "0000000\0");
  put(116, "0000000\0");
  put(136, "00000000000\0");
  put(148, " ".repeat(8));
  put(156, "0");
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
