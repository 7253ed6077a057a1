/** What can be done with a copy's streams without a cast: the type checker is the judge. */
import { assertEquals } from "@std/assert";
import type { Download, Pod, UploadSource } from "../../lib/client/mod.ts";
import { CopyGround } from "./copy_ground.ts";

Deno.test("downloads and archives go through the platform's own transforms, and into responses", async () => {
  await using ground = await CopyGround.start();
  const { pod }: { pod: Pod } = ground;
  await Deno.writeTextFile(ground.path("file"), "text");
  const download: Download & AsyncDisposable = await pod.download(ground.path("file"));
  const zipped = download.readable.pipeThrough(new CompressionStream("gzip"));
  assertEquals(await new Response(zipped.pipeThrough(new DecompressionStream("gzip"))).text(), "text");
  const archive = (await pod.tar(ground.path("file"))).pipeThrough(new CompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(archive).arrayBuffer());
  assertEquals([...bytes.subarray(0, 2)], [0x1f, 0x8b]);
  const sources: UploadSource[] = [bytes.buffer, new DataView(bytes.buffer), new Uint16Array(2), new Blob([bytes])];
  for (const source of sources) await pod.upload(source, ground.path("copy"));
});
