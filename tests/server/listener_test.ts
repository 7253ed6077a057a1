import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ListenError } from "../../mod.ts";
import { HttpServer } from "../../lib/server/http_server.ts";
import type { SocketListener } from "../../lib/server/listener.ts";
import { serveHost } from "../../lib/server/mod.ts";
import { inFolder } from "../support/in_folder.ts";
import { connect } from "./raw_client.ts";

Deno.test("a unix socket is its owner's alone, needs no token, and is removed at the end", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/host.sock`;
    await using host = await serveHost({ listen: { path }, pods: [] });
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    assertEquals(host.token, undefined);
    assertEquals(JSON.parse(host.kubeconfig).clusters[0].cluster["via-unix-socket"], path);
    const connection = await connect(host);
    await connection.write(new TextEncoder().encode("GET /version HTTP/1.0\r\nHost: any.name.will.do\r\n\r\n"));
    assertMatch(await new Response(connection.readable).text(), /^HTTP\/1\.1 200 OK\r\n/);
    await host.close();
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  });
});

Deno.test("serveHost() removes a socket that nobody listens on, and nothing else", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/host.sock`;
    // A process that is killed leaves its socket behind.
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        "--no-config",
        `Deno.listen({ transport: "unix", path: ${
          JSON.stringify(path)
        } }); console.log(1); setInterval(() => {}, 9999)`,
      ],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    await assertRejects(() => serveHost({ listen: { path } }), ListenError, "somebody listens");
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    assert((await Deno.lstat(path)).isSocket);
    await using host = await serveHost({ listen: { path }, pods: [] });
    assertEquals(host.address, { transport: "unix", path });

    const file = `${folder}/file`;
    await Deno.writeTextFile(file, "mine");
    await assertRejects(() => serveHost({ listen: { path: file } }), ListenError, "is not a socket");
    assertEquals(await Deno.readTextFile(file), "mine");
    await assertRejects(() => serveHost({ listen: { path: `${folder}/none/x` } }), ListenError, "cannot listen on");
  });
});

Deno.test("serveHost() listens on loopback addresses only", async () => {
  for (const hostname of ["0.0.0.0", "::", "192.0.2.1", "example.com"]) {
    await assertRejects(
      () => serveHost({ listen: { hostname, port: 0 } }),
      ListenError,
      "not an address of this machine's loopback",
    );
  }
  await using host = await serveHost({ listen: { port: 0 }, pods: [] });
  const { port } = host.url;
  await assertRejects(
    () => serveHost({ listen: { port: Number(port) } }),
    ListenError,
    `127.0.0.1:${port}: address already in use`,
  );
});

Deno.test("maxConnections makes further connections wait", async () => {
  await using host = await serveHost({ listen: { port: 0 }, pods: [], token: null, maxConnections: 1 });
  const first = await connect(host);
  const second = await connect(host);
  const request = new TextEncoder().encode("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await second.write(request);
  const buffer = new Uint8Array(1024);
  const answer = second.read(buffer);
  await first.write(request);
  await first.read(new Uint8Array(1024));
  first.close();
  assertMatch(new TextDecoder().decode(buffer.subarray(0, await answer ?? 0)), /^HTTP\/1\.1 200 OK/);
  const third = await connect(host);
  await host.close(); // Also while it waits for one to end.
  second.close();
  third.close();
});

Deno.test("a signal ends the host", async () => {
  const controller = new AbortController();
  const host = await serveHost({ listen: { port: 0 }, signal: controller.signal });
  const connection = await connect(host);
  controller.abort();
  await host.finished;
  assertEquals(await connection.read(new Uint8Array(1)), null);
  connection.close();
  await assertRejects(() => serveHost({ listen: { port: 0 }, signal: controller.signal }), DOMException);
});

Deno.test("serveHost() refuses an abstract socket, which anybody could open", async () => {
  for (const path of ["", "\0podwire"]) {
    await assertRejects(() => serveHost({ listen: { path }, pods: [] }), ListenError, "a unix socket needs a path");
  }
});

Deno.test("serveHost() ends when it is aborted while it starts", async () => {
  const ended = new AbortController();
  const starting = serveHost({ listen: { port: 0 }, pods: [], signal: ended.signal });
  ended.abort();
  await using host = await starting;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<string>((resolve) => timer = setTimeout(() => resolve("still serving"), 5_000));
  assertEquals(await Promise.race([host.finished, late]), undefined);
  clearTimeout(timer);
});

Deno.test("a server that can accept no more says so to who drains it, and leaves no timer behind", {
  sanitizeOps: true,
}, async () => {
  const broken = new ListenError("cannot accept connections any more", { path: "/s" }, "ENOBUFS");
  const listener = {
    connections: () => new ReadableStream({ start: (controller) => controller.error(broken) }),
    close: () => Promise.resolve(),
  } as unknown as SocketListener; // The system's own breaks at nobody's command.
  const server = new HttpServer(listener, () => Promise.resolve());
  for (const patience of [3_600_000, 0]) {
    assertEquals(await assertRejects(() => server.drain(patience)), broken);
    await new Promise((resolve) => setTimeout(resolve)); // The timer of 0 has its turn.
  }
});
