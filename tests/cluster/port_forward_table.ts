/**
 * Everything that a connection through a port-forward can do, all of it at once: `port_forward_table.ts ACCESS POD`. Prints the wire that
 * it went over.
 *
 * @module
 */
import { assert, assertEquals, assertGreaterOrEqual, assertLess, assertRejects } from "@std/assert";
import {
  Cluster,
  ForwardError,
  type ForwardListener,
  type PortForward,
  type PortForwardEvent,
} from "../../lib/client/mod.ts";
import { PATTERN, PORTS } from "./port_forward_bytes.ts";
import {
  ask,
  connect,
  download,
  echo,
  isReset,
  listenAll,
  readExactly,
  sumOf,
  upload,
  writeAll,
} from "./port_forward_client.ts";

const MIB = 1024 * 1024;

/** What containerd gives a connection after its first end, in milliseconds, and half as much more. */
const LONGER_THAN_A_CUT = 1500;

async function main([access = "", pod = ""]: string[]): Promise<{ wires: string[] }> {
  const events: PortForwardEvent[] = [];
  const path = await Deno.makeTempDir();
  try {
    await using cluster = await Cluster.fromKubeconfig(JSON.parse(access));
    await using forward = await cluster.pod(pod).portForward({ onEvent: (event) => events.push(event) });
    const ports = await listenAll(forward, PORTS);
    const socket = await forward.listen({ path: `${path}/echo`, target: PORTS.echo });
    assertEquals((await Deno.stat(`${path}/echo`)).mode! & 0o777, 0o600);

    using before = await connect(ports.echo);
    await echo(before, PATTERN.subarray(0, 100));
    await Promise.all([
      fetchAndKeep(ports.fetch),
      echoBoth(ports.echo, socket),
      // Half-close: whoever ends its own direction first gets all that the pod has to say.
      ask(ports.fetch, "again\n").then((text) => assertEquals(text, "HTTP/1.0 200 OK\r\n\r\nagain\n")),
      answeredAndEnded(ports.echo),
      drip(ports.drip, 20, 500),
      drip(ports.drip, 3, LONGER_THAN_A_CUT),
      download(ports.source, 64 * MIB).then((got) => assertEquals(got, { size: 64 * MIB, sum: sumOf(64 * MIB) })),
      upload(ports.sink, 16 * MIB).then((sum) => assertEquals(sum, sumOf(16 * MIB))),
      refused(forward, ports.refused),
      reset(ports.reset),
    ]);
    await echo(before, PATTERN.subarray(0, 300_000)); // Nothing has touched it.

    const failures = events.filter((event) => event.type === "failed");
    assertEquals(failures.map(({ port }) => port).sort(), [PORTS.reset, PORTS.refused, PORTS.refused]);
    assertEquals([forward.stats.failed, forward.stats.redials], [3, 0]);
    assertGreaterOrEqual(forward.stats.bytesReceived, 64 * MIB);
    const wires = new Set(events.flatMap((event) => event.type === "dialed" ? [event.wire] : []));
    return { wires: [...wires] };
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

/** The usual client: it waits for the end of the answer, and then ends too. */
async function fetchAndKeep(listener: ForwardListener): Promise<void> {
  using connection = await connect(listener);
  await writeAll(connection, new TextEncoder().encode("page\n"));
  assertEquals(await new Response(connection.readable).text(), "HTTP/1.0 200 OK\r\n\r\npage\n");
}

async function echoBoth(...listeners: ForwardListener[]): Promise<void> {
  for (const listener of listeners) {
    using connection = await connect(listener);
    for (const size of [1, 1000, 32768, 300_000, 1_000_000]) await echo(connection, PATTERN.subarray(0, size));
  }
}

/** A server that waits for an end that containerd keeps from it does not keep its client for long. */
async function answeredAndEnded(listener: ForwardListener): Promise<void> {
  const began = performance.now();
  assertEquals(await ask(listener, "something"), "something");
  assertLess(performance.now() - began, 9_000);
}

async function drip(listener: ForwardListener, count: number, pause: number): Promise<void> {
  const lines = Array.from({ length: count }, (_, i) => `line ${i}\n`);
  assertEquals(await ask(listener, `${count} ${pause}\n`), lines.join(""));
}

/** Nobody listens in the pod. */
async function refused(forward: PortForward, listener: ForwardListener): Promise<void> {
  const attempt = async () => {
    await using connection = await forward.connect(PORTS.refused);
    await connection.read(new Uint8Array(1));
  };
  const error = await assertRejects(attempt, ForwardError);
  assertEquals([error.code, error.port], ["ECONNREFUSED", PORTS.refused]);
  using connection = await connect(listener);
  assert(await isReset(connection));
}

/** The server in the pod resets in the middle: no good end. */
async function reset(listener: ForwardListener): Promise<void> {
  using connection = await connect(listener);
  await writeAll(connection, new Uint8Array(10));
  await readExactly(connection, 1);
  assert(await isReset(connection));
}

console.log(JSON.stringify(await main(Deno.args)));
