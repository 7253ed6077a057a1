/**
 * Relays unix sockets to TCP ports of this network namespace: `bridge.ts PATH=PORT …`. A path in the file system is in
 * reach from every network namespace, so this is the way from outside to the API servers.
 *
 * @module
 */

async function relay(path: string, port: number): Promise<never> {
  const listener = Deno.listen({ transport: "unix", path });
  while (true) {
    const inner = await listener.accept();
    join(inner, port).catch((error) => console.error(`${path}: ${error}`));
  }
}

async function join(near: Deno.Conn, port: number): Promise<void> {
  using _near = near;
  using far = await Deno.connect({ hostname: "127.0.0.1", port });
  await Promise.all([pump(near, far), pump(far, near)]);
}

/** Passes bytes on as they come, and then the end of the stream, so that the other direction may go on. */
async function pump(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(65_536);
  for (let size = await from.read(buffer); size !== null; size = await from.read(buffer)) {
    for (let sent = 0; sent < size;) sent += await to.write(buffer.subarray(sent, size));
  }
  await to.closeWrite();
}

await Promise.all(Deno.args.map((arg) => {
  const [path = "", port] = arg.split("=");
  return relay(path, Number(port));
}));
