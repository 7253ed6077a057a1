import { assertEquals } from "@std/assert";
import { ContainerLog, type LogReadOptions } from "../../lib/server/container_log.ts";

const encode = (text: string) => new TextEncoder().encode(text);

async function read(log: ContainerLog, options: Partial<LogReadOptions> = {}): Promise<string[]> {
  const lines: string[] = [];
  const all = { follow: false, signal: new AbortController().signal, ...options };
  for await (const batch of log.read(all)) lines.push(...batch.map(({ data }) => new TextDecoder().decode(data)));
  return lines;
}

Deno.test("ContainerLog keeps whole lines of both outputs apart", async () => {
  const log = new ContainerLog();
  log.append("stdout", encode("one\ntw"));
  log.append("stderr", encode("er"));
  log.append("stdout", encode("o\n\nrest"));
  assertEquals(await read(log), ["one\n", "two\n", "\n"]);
  log.append("stderr", encode("ror\n"));
  log.end();
  assertEquals(await read(log), ["one\n", "two\n", "\n", "error\n", "rest"]);
  assertEquals(await read(log, { tail: 2 }), ["error\n", "rest"]);
  assertEquals(await read(log, { tail: 0 }), []);
  assertEquals(await read(log, { since: new Date(Date.now() + 60_000) }), []);
});

Deno.test("ContainerLog cuts long lines, and lets the oldest entries go", async () => {
  const log = new ContainerLog();
  log.append("stdout", new Uint8Array(40_000).fill(0x61));
  log.append("stdout", encode("\nend\n"));
  assertEquals((await read(log)).map((line) => line.length), [16_384, 16_384, 7_233, 4]);
  const entries = [];
  for await (const batch of log.read({ follow: false, signal: new AbortController().signal })) entries.push(...batch);
  assertEquals(entries.map(({ starts }) => starts), [true, false, false, true]);
  for (let i = 0; i < 30_000; i++) log.append("stdout", encode(`${i}\n`));
  const kept = await read(log);
  assertEquals(kept.at(-1), "29999\n");
  // 1 MiB, of which an entry costs its bytes and 100.
  assertEquals(kept.length, Math.floor(1024 * 1024 / 106));
});

Deno.test("ContainerLog.read() follows to the container's end, or the reader's", async () => {
  const log = new ContainerLog();
  log.append("stdout", encode("one\n"));
  const ended = new AbortController();
  const following = read(log, { follow: true });
  const leaving = read(log, { follow: true, signal: ended.signal });
  await Promise.resolve();
  log.append("stdout", encode("two\n"));
  ended.abort();
  assertEquals((await leaving)[0], "one\n");
  log.append("stdout", encode("three"));
  log.end();
  assertEquals(await following, ["one\n", "two\n", "three"]);
});
