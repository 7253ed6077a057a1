/** Local servers that play a pod's processes. */
import { concat } from "../../lib/bytes/mod.ts";
import { type HostServer, serveHost } from "../../lib/server/mod.ts";

/** Repeats what comes. */
export async function echo(connection: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
    await writeAll(connection, buffer.subarray(0, n));
  }
}

/** Writes all of `bytes`. */
export async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** What comes until the other end has ended its direction. */
export async function readAll(connection: Deno.Conn): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(64 * 1024);
  for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
    parts.push(buffer.slice(0, n));
  }
  return concat(parts);
}

/** Listens on a free port while `work` runs. `refused` is a port where nobody listens, and nobody else can. */
export async function withPort(
  answer: (connection: Deno.Conn) => Promise<void>,
  work: (port: number, refused: number) => Promise<void>,
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  // A connection of our own, whose port is taken and not listened on.
  const other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using holder = await Deno.connect({ hostname: "127.0.0.1", port: other.addr.port });
  const answering = new Map<Deno.Conn, Promise<void>>();
  let over = false;
  const serve = async (connection: Deno.Conn) => {
    try {
      await answer(connection);
    } catch (error) {
      // The other end may leave in the middle, and so may the test.
      const expected = [Deno.errors.ConnectionReset, Deno.errors.BrokenPipe].some((type) => error instanceof type);
      if (!expected && !over) throw error;
    } finally {
      answering.delete(connection);
      if (!over) connection.close();
    }
  };
  const accepting = (async () => {
    for await (const connection of listener) answering.set(connection, serve(connection));
  })();
  try {
    await work(listener.addr.port, holder.localAddr.port);
  } finally {
    listener.close();
    other.close();
    await accepting;
    over = true;
    const left = [...answering];
    for (const [connection] of left) connection.close();
    await Promise.all(left.map(([, served]) => served));
  }
}

/** Runs `work` with a host whose pod `web` has `port` for what `answer` does, and nobody on `refused`: its ports 80 and 81. */
export async function withPodPort(
  answer: (connection: Deno.Conn) => Promise<void>,
  work: (host: HostServer) => Promise<void>,
  portsOf: (port: number, refused: number) => Record<number, number> = (port, refused) => ({ 80: port, 81: refused }),
): Promise<void> {
  await withPort(answer, async (port, refused) => {
    const containers = [{ name: "main", command: ["sleep", "600"] }];
    const pods = [{ name: "web", ports: portsOf(port, refused), containers }];
    await using host = await serveHost({ listen: { port: 0 }, pods });
    await work(host);
  });
}
