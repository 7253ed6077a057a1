/** The admin endpoint: what it answers, and that neither silence nor a crowd nor a lack of file descriptors ends it. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Address, parseAddress, serveAdmin } from "../../lib/relay/mod.ts";
import { HTTP_DEADLINES } from "../../lib/relay/http_request.ts";
import { PODWIRE } from "../cli/harness.ts";
import { until } from "../support/until.ts";
import { ask, Ground, modeOf, readAll, writeAll } from "./harness.ts";

const TCP = parseAddress("tcp:127.0.0.1:0");

const get = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;

function connect(address: Address): Promise<Deno.Conn> {
  if ("path" in address) return Deno.connect({ transport: "unix", path: address.path });
  return Deno.connect({ hostname: "127.0.0.1", port: address.port });
}

async function asked(address: Address, text: string): Promise<string> {
  return await ask(await connect(address) as Deno.TcpConn, text);
}

for (const kind of ["tcp", "unix"]) {
  Deno.test(`the admin endpoint answers each request of a connection over ${kind}`, async () => {
    await using ground = await Ground.start();
    await using admin = await serveAdmin(ground.relays, kind === "tcp" ? TCP : parseAddress(`unix:${ground.folder}/a`));
    const answers = await asked(
      admin.address,
      get("/healthz") + get("/readyz?verbose") + get("/").replace("GET", "HEAD") +
        get("/metrics").replace("GET", "PUT") +
        get("/metrics", "Connection: close\r\n") + get("/healthz"),
    );
    assertEquals(answers.match(/HTTP\/1\.1 \d+/g), [200, 200, 404, 405, 200].map((status) => `HTTP/1.1 ${status}`));
    assertMatch(answers, /Content-Length: 3\r\n\r\nok\nHTTP/);
    assertMatch(answers, /Content-Type: text\/plain; version=0\.0\.4; charset=utf-8\r\n[^]*last_reload_good 1\n/);
  });
}

Deno.test("the admin endpoint says what does not work, to the byte", async () => {
  await using ground = await Ground.start({
    name: "it",
    listen: { address: "unix:FOLDER/nö/it.sock" },
    target: { address: "tcp:1" },
  });
  await using admin = await serveAdmin(ground.relays, TCP);
  const response = await fetch(`http://127.0.0.1:${(admin.address as { port: number }).port}/readyz`);
  assertEquals(response.status, 503);
  assertMatch(await response.text(), /nö\/it\.sock: no such file or directory\n$/);
});

Deno.test("the admin endpoint listens anew when its socket is gone, and leaves somebody else's alone", async () => {
  await using ground = await Ground.start();
  const path = `${ground.folder}/a`;
  {
    await using admin = await serveAdmin(ground.relays, parseAddress(`unix:${path}`));
    using kept = await connect(admin.address);
    await Deno.remove(path);
    await until("it is there again", async () => await modeOf(path) === "600");
    assertMatch(await asked(admin.address, get("/healthz")), /ok\n$/);
    await writeAll(kept, get("/metrics", "Connection: close\r\n"));
    assertMatch(await readAll(kept), /200 OK[^]*last_reload_good 1\n(?![^]*accept)/);
    await Deno.writeTextFile(`${path}.new`, "theirs");
    await Deno.rename(`${path}.new`, path);
  }
  assertEquals(await Deno.readTextFile(path), "theirs");
});

Deno.test("the admin endpoint refuses what is not HTTP/1.1, and goes on", async () => {
  await using ground = await Ground.start();
  await using admin = await serveAdmin(ground.relays, TCP);
  assertMatch(await asked(admin.address, "\x16\x03\x01\r\n\r\n"), /^HTTP\/1\.1 400 [^]*Connection: close\r\n/);
  assertStringIncludes(await asked(admin.address, get("/metrics")), `admin_errors_total{reason="bad_request"} 1\n`);
});

Deno.test("the admin endpoint ends connections that ask for nothing, and those that ask too slowly", async () => {
  await using ground = await Ground.start();
  await using admin = await serveAdmin(ground.relays, TCP, { ...HTTP_DEADLINES, head: 50, kept: 50 });
  for (const said of ["", get("/healthz"), "GET /he"]) {
    using conn = await connect(admin.address);
    await writeAll(conn, said);
    assertMatch(await readAll(conn), said === "GET /he" ? /^HTTP\/1\.1 400 / : said === "" ? /^$/ : /ok\n$/);
  }
  assertStringIncludes(await asked(admin.address, get("/metrics")), `admin_errors_total{reason="idle"} 1\n`);
});

Deno.test("the admin endpoint answers a probe when others hold all of its connections", async () => {
  await using ground = await Ground.start();
  await using admin = await serveAdmin(ground.relays, TCP);
  await using crowd = new AsyncDisposableStack();
  for (let i = 0; i < 100; i++) crowd.use(await connect(admin.address));
  assertMatch(await asked(admin.address, get("/metrics")), /admin_errors_total{reason="limit"} 37\n/);
});

Deno.test("the admin endpoint outlives the lack of file descriptors", async () => {
  await using ground = await Ground.start();
  const config = `${ground.folder}/none.yaml`;
  await Deno.writeTextFile(config, "relays: []\n");
  const command = [Deno.execPath(), ...PODWIRE, "relay", "run", "-c", config, "--admin", "tcp:127.0.0.1:0"];
  const process = new Deno.Command("sh", {
    args: ["-c", 'ulimit -n 64; exec "$@"', "sh", ...command],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let ended = false;
  void process.status.then(() => ended = true);
  let said = "";
  const reading = (async () => {
    for await (const piece of process.stderr.pipeThrough(new TextDecoderStream())) said += piece;
  })();
  try {
    await until("it is ready", () => /no relays yet\n/.test(said));
    const address = parseAddress(/admin endpoint on (\S+)\n/.exec(said)?.[1] ?? "");
    await until("accepting fails", async () => {
      const crowd = await Promise.all(Array.from({ length: 64 }, () => connect(address)));
      for (const conn of crowd) conn.close();
      return /admin_errors_total{reason="accept"} [1-9]/.test(await asked(address, get("/metrics")));
    });
  } finally {
    if (!ended) process.kill("SIGTERM");
    await reading;
    assertEquals((await process.status).code, 0, said);
  }
});
