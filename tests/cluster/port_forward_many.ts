/**
 * Connections in great number, some of which fail: `port_forward_many.ts ACCESS POD COUNT`, where COUNT is how many there are one after
 * another. Needs `--v8-flags=--expose-gc`. Prints {@linkcode Remains} of the first half and of all.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { connect as dial, type Socket } from "node:net";
import { Cluster, type ForwardListener, type PortForward } from "../../lib/client/mod.ts";
import { PATTERN, PORTS } from "./port_forward_bytes.ts";
import { connect, echo, heldBytes, isReset, listenAll, openFiles, writeAll } from "./port_forward_client.ts";

/** What the process holds when nothing goes on. */
export interface Remains {
  /** Open file descriptors. */
  readonly files: number;
  /** What JavaScript still holds after a collection, in bytes. */
  readonly held: number;
}

type Listeners = Record<keyof typeof PORTS, ForwardListener>;

/** Of so many connections one is refused, one is reset by the server in the pod or by the client. */
const EVERY = { one: 50, atOnce: 5 };

async function main([access = "", pod = "", total = ""]: string[]): Promise<Remains[]> {
  await using cluster = await Cluster.fromKubeconfig(JSON.parse(access));
  await using forward = await cluster.pod(pod).portForward();
  const listeners = await listenAll(forward, PORTS);
  using witness = await connect(listeners.echo);
  await atOnce(forward, listeners, witness, 1000);

  const count = Number(total);
  const remains: Remains[] = [];
  for (const [start, end] of [[0, count / 2], [count / 2, count]] as const) {
    const resets: Promise<void>[] = [];
    for (let i = start; i < end; i++) {
      const done = one(listeners, i, EVERY.one);
      if (i % EVERY.one === 2) resets.push(done); // containerd tells of a pod's reset a second late.
      else await done;
      if (i % 100 === 0) await echo(witness, PATTERN.subarray(i, i + 1000));
    }
    await Promise.all(resets);
    await settled(forward);
    remains.push({ files: await openFiles(), held: await heldBytes() });
  }
  const { connections, failed, redials } = forward.stats;
  const refusals = 200 + count / EVERY.one;
  assertEquals([connections, redials], [1 + 1000 + count, 0]);
  // Those that a client resets have failed as well, unless they had ended before.
  assert(failed >= 1.5 * refusals && failed <= 2 * refusals, `${failed} failed`);
  return remains;
}

/** A connection that does what its number says. */
async function one(listeners: Listeners, i: number, every: number): Promise<void> {
  const reset = i % every === 2;
  if (i % every === 1) {
    assert(await isRefused(listeners.refused), "refused");
  } else if (reset && i % (2 * every) === 2) {
    using connection = await connect(listeners.reset);
    await writeAll(connection, new Uint8Array(10));
    assert(await isReset(connection), "reset by the server");
  } else if (reset) {
    await resetByClient(listeners.echo);
  } else {
    // The client ends first: containerd tells of the pod's end a second late, to kubectl too.
    using connection = await connect(listeners.echo);
    await echo(connection, PATTERN.subarray(i, i + 1000));
  }
}

/** The reset may come before the connection is handed out. */
async function isRefused(listener: ForwardListener): Promise<boolean> {
  try {
    using connection = await connect(listener);
    return await isReset(connection);
  } catch (error) {
    return error instanceof Deno.errors.ConnectionReset;
  }
}

/** `count` connections that are all open before the first of them ends. */
async function atOnce(forward: PortForward, listeners: Listeners, witness: Deno.Conn, count: number): Promise<void> {
  const healthy = Array.from({ length: count }, (_, i) => i).filter((i) => ![1, 2].includes(i % EVERY.atOnce));
  const opened = Promise.withResolvers<void>();
  let left = healthy.length;
  await Promise.all(Array.from({ length: count }, async (_, i) => {
    if (i % EVERY.atOnce === 1 || i % EVERY.atOnce === 2) return await one(listeners, i, EVERY.atOnce);
    using connection = await connect(listeners.echo);
    await echo(connection, PATTERN.subarray(i * 10, i * 10 + 5000));
    if (--left === 0) opened.resolve();
    await opened.promise;
    await echo(connection, PATTERN.subarray(i * 20, i * 20 + 5000));
  }));
  await echo(witness, PATTERN.subarray(0, 100_000));
  await settled(forward);
}

/** In the middle of an exchange the client goes, with a reset. */
async function resetByClient(listener: ForwardListener): Promise<void> {
  if (!("port" in listener.address)) throw new TypeError("not a TCP port");
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const { port, hostname } = listener.address;
  const socket: Socket = dial(port, hostname, () => socket.write(PATTERN.subarray(0, 50_000)));
  socket.once("data", () => socket.resetAndDestroy()).once("close", () => resolve()).once("error", reject);
  await promise;
}

/** Waits until only the witness is open. */
async function settled(forward: PortForward): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (forward.stats.active > 1) {
    if (performance.now() > deadline) throw new Error(`${forward.stats.active} connections are still there`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

if (import.meta.main) console.log(JSON.stringify(await main(Deno.args)));
