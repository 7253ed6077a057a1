/**
 * Nothing is lost, whatever the amount, the size of a message or the number of sessions; and nothing stays behind.
 */
import { assertEquals, assertLess } from "@std/assert";
import { createHash } from "node:crypto";
import { type ClientOptions, Cluster, type Wire } from "../../lib/client/mod.ts";
import type { AccessOptions } from "../../lib/kubeconfig/mod.ts";
import { denoFlags } from "../offline/flags.ts";
import { type Ground, ground, type NodeName, type ServerName } from "./ground.ts";
import type { Remains } from "./many_client.ts";
import { run } from "./process.ts";

Deno.test.sanitizer({ ops: true, resources: true }); // Timers and sockets that outlive a test fail it.

const MIB = 1024 * 1024;

/** A way to a node. */
interface Way {
  readonly name: string;
  readonly server: ServerName;
  readonly node: NodeName;
  readonly wire: Wire;
}

/** Passed through to the node, translated by the API server, and SPDY through both ages of API server. */
const WAYS: readonly Way[] = [
  { name: "default/node1", server: "default", node: "node1", wire: "websocket" },
  { name: "mid/node1", server: "mid", node: "node1", wire: "websocket" },
  { name: "default/node1 over SPDY", server: "default", node: "node1", wire: "spdy" },
  { name: "old/node2 over SPDY", server: "old", node: "node2", wire: "spdy" },
];

function accessOf(cluster: Ground, { server, wire }: Way): AccessOptions & ClientOptions {
  return { kubeconfig: cluster.kubeconfig(server), viaUnixSocket: cluster.socket(server), wire };
}

/** Random bytes; an odd size keeps them from lining up with any buffer. */
function random(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return bytes;
}

const BLOB = random(4 * MIB - 3);
/** So many blobs are one GiB and a little more. */
const BLOBS = 257;

function sha256(parts: Iterable<Uint8Array>): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

function* repeat<T>(value: T, count: number): Generator<T> {
  for (let i = 0; i < count; i++) yield value;
}

async function hashOf(stream: ReadableStream<Uint8Array>): Promise<{ size: number; sum: string }> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of stream) {
    hash.update(chunk);
    size += chunk.length;
  }
  return { size, sum: hash.digest("hex") };
}

for (const way of WAYS) {
  Deno.test(`1 GiB to a command and 1 GiB from one arrive whole on ${way.name}`, async () => {
    const cluster = await ground();
    const sum = sha256(repeat(BLOB, BLOBS));
    await using api = await Cluster.fromKubeconfig(accessOf(cluster, way));
    await cluster.withPod({ node: way.node }, async (pod) => {
      await using up = await api.pod(pod.name).exec(["sha256sum"], { stdin: "piped" }).spawn();
      const [, printed] = await Promise.all([
        ReadableStream.from(repeat(BLOB, BLOBS)).pipeTo(up.stdin),
        new Response(up.stdout).text(),
      ]);
      assertEquals([printed, (await up.status).code], [`${sum}  -\n`, 0]);

      // A command that writes a file keeps its stdout open: containerd closes stdin when stdout ends.
      await using put = await api.pod(pod.name).exec(["sh", "-c", "cat > /tmp/blob; echo"], { stdin: "piped" }).spawn();
      await ReadableStream.from([BLOB]).pipeTo(put.stdin);
      assertEquals((await put.status).code, 0);

      const script = `i=0; while [ $i -lt ${BLOBS} ]; do cat /tmp/blob; i=$((i + 1)); done`;
      await using down = await api.pod(pod.name).exec(["sh", "-c", script]).spawn();
      assertEquals(await hashOf(down.stdout), { size: BLOB.length * BLOBS, sum });
      assertEquals((await down.status).code, 0);
    });
  });

  Deno.test(`messages of 1 B to 64 KiB pass whole in both directions on ${way.name}`, async () => {
    const cluster = await ground();
    await using api = await Cluster.fromKubeconfig(accessOf(cluster, way));
    await cluster.withPod({ node: way.node }, async (pod) => {
      await using echo = await api.pod(pod.name).exec(["cat"], { stdin: "piped" }).spawn();
      const writer = echo.stdin.getWriter();
      const reader = echo.stdout.getReader({ mode: "byob" });
      for (const size of [1, 2, 124, 125, 126, 4095, 4096, 32767, 32768, 32769, 65534, 65535, 65536]) {
        for (let round = 0; round < 5; round++) {
          const sent = BLOB.subarray(round * size, (round + 1) * size);
          const [, received] = await Promise.all([
            writer.write(sent),
            reader.read(new Uint8Array(size), { min: size }),
          ]);
          assertEquals(received.value?.toHex(), sent.toHex(), `${size} bytes`);
        }
      }
      // And all sizes mixed, without waiting for the echo.
      const sent = BLOB.subarray(0, 2 * MIB);
      const write = async () => {
        let size = 1;
        for (let at = 0; at < sent.length; at += size) {
          size = 1 + (size * 48271) % 65536;
          await writer.write(sent.subarray(at, at + size));
        }
        await writer.close();
      };
      reader.releaseLock();
      const [, received] = await Promise.all([write(), hashOf(echo.stdout)]);
      assertEquals(received, { size: sent.length, sum: sha256([sent]) });
      assertEquals((await echo.status).code, 0);

      // The container's writes have the sizes, too.
      for (const size of [1, 4095, 32768, 65536]) {
        const args = ["dd", "if=/dev/zero", `bs=${size}`, `count=${Math.min(1000, 4 * MIB / size)}`];
        const { code, stdout } = await api.pod(pod.name).exec(args).output();
        assertEquals([code, stdout.length], [0, Math.min(1000, 4 * MIB / size) * size]);
      }
    });
  });

  Deno.test(`100 sessions at once keep their bytes and exit codes apart on ${way.name}`, async () => {
    const cluster = await ground();
    await using api = await Cluster.fromKubeconfig(accessOf(cluster, way));
    await cluster.withPod({ node: way.node }, async (pod) => {
      await Promise.all(Array.from({ length: 100 }, async (_, i) => {
        await using echo = await api.pod(pod.name).exec(["sh", "-c", `cat; exit ${i}`], { stdin: "piped" }).spawn();
        const sent = BLOB.subarray(i * 20_001, i * 20_001 + 100_000);
        const [, received] = await Promise.all([
          ReadableStream.from([sent]).pipeTo(echo.stdin),
          hashOf(echo.stdout),
        ]);
        assertEquals(received, { size: sent.length, sum: sha256([sent]) });
        assertEquals((await echo.status).code, i);
      }));
    });
  });
}

// What a client leaves behind is its own matter, whatever the server: once over each wire will do.
for (const way of [WAYS[0]!, WAYS[3]!]) {
  Deno.test(`500 sessions in a row leave no socket, no timer and no memory behind on ${way.name}`, async () => {
    const cluster = await ground();
    const client = new URL("./many_client.ts", import.meta.url).pathname;
    const access = JSON.stringify(accessOf(cluster, way));
    await cluster.withPod({ node: way.node }, async (pod) => {
      // A timer or a socket that is left would keep the client from ending.
      const { code, stdout, stderr } = await run(
        [Deno.execPath(), "run", "-A", "--v8-flags=--expose-gc", ...await denoFlags(), client, "500", access, pod.name],
        { timeout: 120_000 },
      );
      assertEquals(code, 0, stderr);
      const [first, half, last]: [Remains, Remains, Remains] = JSON.parse(stdout);
      assertEquals([half.sockets, last.sockets], [first.sockets, first.sockets]);
      // 250 sessions that leave 32 KiB each would be seen; a session's buffers are 16 times as large.
      assertLess(last.held - half.held, 8 * MIB, `from ${half.held / MIB} to ${last.held / MIB} MiB`);
    });
  });
}
