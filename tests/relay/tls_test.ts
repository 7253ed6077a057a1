/** TLS on either side, with and without certificates of clients; and who is said to have connected. */
import { assertEquals, assertMatch } from "@std/assert";
import { testdata } from "../dial/harness.ts";
import { ask, echo, Ground, readAll, Server, until } from "./harness.ts";

const file = (name: string) => new URL(`../dial/testdata/${name}`, import.meta.url).pathname;
const ANY = { address: "tcp:127.0.0.1:0" };
const CA = { caCerts: [testdata("ca.crt")] };
const SERVER = { certFile: file("server.crt"), keyFile: file("server.key") };
const CLIENT = { certFile: file("client.crt"), keyFile: file("client.key") };
const big = "0123456789".repeat(50_000);

async function connectTls(port: number, certificate: { cert?: string; key?: string } = {}): Promise<Deno.TlsConn> {
  const options = { hostname: "127.0.0.1", port, ...CA, ...certificate } as Deno.ConnectTlsOptions;
  const conn = await Deno.connectTls(options);
  await conn.handshake();
  return conn;
}

Deno.test("a relay speaks TLS with its clients and with its target", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start(
    { name: "it", listen: { ...ANY, tls: SERVER }, target: { address: `tcp:127.0.0.1:${server.port}` } },
  );
  assertEquals(await ask(await connectTls(ground.port()), big), big);
  await ground.apply(
    { name: "it", listen: { ...ANY, tls: SERVER }, target: { address: `tcp:127.0.0.1:${server.port}` } },
    { name: "t", listen: { address: "unix:FOLDER/t.sock" }, target: { address: `tcp:127.0.0.1:${ground.port()}` } },
    { name: "skip", listen: ANY, target: { address: "unix:FOLDER/t.sock", tls: { insecureSkipVerify: true } } },
    {
      name: "name",
      listen: ANY,
      target: { address: "unix:FOLDER/t.sock", tls: { caFile: file("ca.crt"), serverName: "localhost" } },
    },
    {
      name: "tcp",
      listen: ANY,
      target: { address: `tcp:127.0.0.1:${ground.port()}`, tls: { caFile: file("ca.crt") } },
    },
    {
      name: "bad",
      listen: ANY,
      target: { address: `tcp:127.0.0.1:${ground.port()}`, tls: { caFile: file("other-ca.crt") } },
    },
  );
  for (const relay of ["skip", "name", "tcp"]) assertEquals(await ask(await ground.connect(relay), big), big, relay);
  assertEquals(await ask(await ground.connect("bad"), "x").catch(() => ""), "");
  await until(() => ground.metric("errors_total", `relay="bad",reason="connect"`) === 1);
});

Deno.test("a relay asks its clients for a certificate, and shows its own to its target", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start(
    {
      name: "it",
      listen: { ...ANY, tls: { ...SERVER, clientCaFile: file("ca.crt") } },
      target: { address: `tcp:127.0.0.1:${server.port}` },
    },
  );
  const certificate = { cert: testdata("client.crt"), key: testdata("client.key") };
  assertEquals(await ask(await connectTls(ground.port(), certificate), big), big);
  for (const wrong of [{}, { cert: testdata("expired.crt"), key: testdata("expired.key") }]) {
    // In TLS 1.3 the client's handshake is over before the server looks at its certificate.
    const answer = await connectTls(ground.port(), wrong).then((conn) => ask(conn, "x")).catch(() => "");
    assertEquals(answer, "");
  }
  await until(() => ground.metric("errors_total", `reason="client_tls"`) === 2);
  await ground.apply(
    {
      name: "it",
      listen: { ...ANY, tls: { ...SERVER, clientCaFile: file("ca.crt") } },
      target: { address: `tcp:127.0.0.1:${server.port}` },
    },
    {
      name: "front",
      listen: ANY,
      target: { address: `tcp:127.0.0.1:${ground.port()}`, tls: { caFile: file("ca.crt"), ...CLIENT } },
    },
  );
  assertEquals(await ask(await ground.connect("front"), big), big);
});

Deno.test("a relay does not wait for ever for a client's handshake", async () => {
  await using ground = await Ground.start(
    ...[SERVER, { ...SERVER, clientCaFile: file("ca.crt") }].map((tls, i) => ({
      name: `r${i}`,
      listen: { ...ANY, tls },
      target: { address: "tcp:127.0.0.1:1" },
      connectTimeout: "100ms",
    })),
  );
  for (const name of ["r0", "r1"]) {
    using conn = await ground.connect(name);
    assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null, name);
    await until(() => ground.metric("errors_total", `relay="${name}",reason="client_tls"`) === 1);
  }
});

Deno.test("the path filter works with a target that speaks TLS", async () => {
  const body = "up 1\n".repeat(10_000);
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    cert: testdata("server.crt"),
    key: testdata("server.key"),
    onListen: () => {},
  }, () => new Response(body));
  await using ground = await Ground.start({
    name: "it",
    listen: ANY,
    target: { address: `tcp:127.0.0.1:${server.addr.port}`, tls: { insecureSkipVerify: true } },
    http: { paths: ["/metrics"] },
  });
  const response = await fetch(`http://127.0.0.1:${ground.port()}/metrics`);
  assertEquals(await response.text(), body);
  const other = await fetch(`http://127.0.0.1:${ground.port()}/other`);
  assertEquals(other.status, 403);
  await other.text();
  await server.shutdown();
});

Deno.test("a relay whose certificate cannot be read fails alone, and says which", async () => {
  await using server = new Server(echo);
  await using ground = await Ground.start(
    {
      name: "bad",
      listen: { ...ANY, tls: { certFile: "FOLDER/none.crt", keyFile: file("server.key") } },
      target: { address: "tcp:127.0.0.1:1" },
    },
    {
      name: "mixed",
      listen: { ...ANY, tls: { certFile: file("server.key"), keyFile: file("server.crt") } },
      target: { address: "tcp:127.0.0.1:1" },
    },
    { name: "it", listen: ANY, target: { address: `tcp:127.0.0.1:${server.port}` } },
  );
  assertEquals(await ask(await ground.connect(), "x"), "x");
  assertMatch(
    ground.relays.failures.join("\n"),
    /^bad: listen\.tls\.certFile: .*none\.crt: no such file or directory\nmixed: listen\.tls\.certFile: .*no PEM certificate in it$/,
  );
});

Deno.test("a relay says by the PROXY protocol who connected", async () => {
  await using server = new Server(async (conn) => {
    heard.push(await readAll(conn));
  });
  const heard: string[] = [];
  const target = { address: `tcp:127.0.0.1:${server.port}` };
  await using ground = await Ground.start(
    { name: "it", listen: ANY, target: { ...target, proxyProtocol: "v1" } },
    { name: "two", listen: ANY, target: { ...target, proxyProtocol: "v2" } },
    { name: "file", listen: { address: "unix:FOLDER/a.sock" }, target: { ...target, proxyProtocol: "v1" } },
    { name: "file2", listen: { address: "unix:FOLDER/b.sock" }, target: { ...target, proxyProtocol: "v2" } },
  );
  const conn = await ground.connect();
  const { port } = conn.localAddr as Deno.NetAddr;
  await ask(conn, "hello");
  // Section 2.1 of the protocol: the text form.
  assertEquals(heard.pop(), `PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${ground.port()}\r\nhello`);
  await ask(await Deno.connect({ transport: "unix", path: `${ground.folder}/a.sock` }), "hello");
  assertEquals(heard.pop(), "PROXY UNKNOWN\r\nhello");
  // Section 2.2: signature, version 2 and PROXY, family and protocol, length.
  await ask(await ground.connect("two"), "hello");
  assertEquals(heard.pop()?.slice(0, 24), "\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01");
  await ask(await Deno.connect({ transport: "unix", path: `${ground.folder}/b.sock` }), "hello");
  assertEquals(heard.pop(), "\r\n\r\n\0\r\nQUIT\n!\0\0\0hello");
});
