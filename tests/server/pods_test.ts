import { assertEquals, assertGreater } from "@std/assert";
import { Pod } from "../../lib/server/pods.ts";

Deno.test("Container.attach() whose input ends while nobody reads it ends behind what was being written", async () => {
  const pod = await Pod.start({
    name: "web",
    containers: [{ name: "main", command: ["cat", "/dev/zero"], stdin: true }],
  });
  try {
    const [container] = pod.containers;
    const request = { action: "attach" as const, command: [], tty: false, stdin: true, stdout: true, stderr: false };
    const stalled = container!.attach(request);
    const other = container!.attach({ ...request, stdin: false });
    const output = other.stdout![Symbol.asyncIterator]();
    const read = async (atLeast: number) => {
      let size = 0;
      while (size < atLeast) size += (await output.next()).value?.length ?? 0;
      return size;
    };
    // Both get the same; what is more than a queue holds (256 KiB) now waits for room at the stalled one.
    const written = await read(256 * 1024 + 1);
    await stalled.stdin!.close();
    assertEquals(await stalled.exitCode, 0);
    let size = 0;
    for await (const data of stalled.stdout!) size += data.length;
    assertEquals(size, written);
    assertGreater(await read(1024 * 1024), 1024 * 1024 - 1);
    await other.end();
  } finally {
    await pod.end();
  }
});
