/** TLS on either side, with and without certificates of clients; and who is said to have connected. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { parseRelays, type RelayEvent, Relays, type RelaySpec, TlsFileError } from "../../lib/relay/mod.ts";
import { testdata } from "../dial/harness.ts";
import { until, within } from "../support/until.ts";
import { ask, echo, Ground, readAll, Server } from "./harness.ts";

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
  await until("the target is refused", () => ground.metric("errors_total", `relay="bad",reason="connect"`) === 1);
  const said = ground.events.find(({ relay, type }) => relay === "bad" && type === "unreachable")?.message ?? "";
  assertMatch(said, /^no TLS with 127\.0\.0\.1:\d+: .*; name the authority that .* \(target\.tls\.caFile\)/);
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
  await until("both clients are refused", () => ground.metric("errors_total", `reason="client_tls"`) === 2);
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
    await until(
      `${name} gives its client up`,
      () => ground.metric("errors_total", `relay="${name}",reason="client_tls"`) === 1,
    );
  }
});

Deno.test("a relay with TLS ends while a connection is open", async () => {
  await using server = new Server(echo);
  const ground = await Ground.start(
    { name: "it", listen: { ...ANY, tls: SERVER }, target: { address: `tcp:127.0.0.1:${server.port}` } },
  );
  using conn = await connectTls(ground.port());
  await conn.write(new TextEncoder().encode("x"));
  await conn.read(new Uint8Array(1));
  await within("the relay ends", ground[Symbol.asyncDispose]());
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

Deno.test("a change whose certificates cannot be used changes nothing", async () => {
  await using server = new Server(echo);
  const target = { address: `tcp:127.0.0.1:${server.port}` };
  const good: RelaySpec = { name: "it", listen: { ...ANY, tls: SERVER }, target };
  await using ground = await Ground.start(good);
  const port = ground.port();
  const open = await connectTls(port);
  const garbage = `${ground.folder}/garbage.crt`;
  await Deno.writeTextFile(garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  const other: RelaySpec = { name: "other", listen: ANY, target };
  const cases: ReadonlyArray<readonly [change: Partial<RelaySpec>, says: RegExp]> = [
    [
      { listen: { ...ANY, tls: { ...SERVER, certFile: "/none/typo.pem" } } },
      /^listen\.tls\.certFile: \/none\/typo\.pem: no such file/,
    ],
    [
      { listen: { ...ANY, tls: { ...SERVER, keyFile: CLIENT.keyFile } } },
      /^listen\.tls\.keyFile: \S+client\.key: is not the key of the certificate in \S+server\.crt$/,
    ],
    [
      { listen: { ...ANY, tls: { ...SERVER, clientCaFile: garbage } } },
      /^listen\.tls\.clientCaFile: \S+garbage\.crt: its certificate cannot be read$/,
    ],
    [{ target: { ...target, tls: { caFile: garbage } } }, /^target\.tls\.caFile: \S+garbage\.crt: its certificate/],
  ];
  for (const [change, says] of cases) {
    const error = await assertRejects(() => ground.apply(other, { ...good, ...change }), TlsFileError);
    assertMatch(error.message, says);
    assertEquals(error.relay, "it");
    assertEquals(ground.relays.state().map(({ name }) => name), ["it"]);
    assertEquals(ground.port(), port);
  }
  assertEquals(await ask(open, "still here"), "still here");
  assertEquals(await ask(await connectTls(port), "x"), "x");
});

Deno.test("a relay keeps its certificate until the new one and its key are both there", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-relay-" });
  try {
    const tls = { certFile: `${folder}/tls.crt`, keyFile: `${folder}/tls.key` };
    await Deno.copyFile(SERVER.certFile, tls.certFile);
    await Deno.copyFile(SERVER.keyFile, tls.keyFile);
    await using server = new Server(echo);
    const target = { address: `tcp:127.0.0.1:${server.port}` };
    const events: RelayEvent[] = [];
    await using relays = new Relays({ interval: 5, onEvent: (event) => events.push(event) });
    const text = JSON.stringify({ relays: [{ name: "it", listen: { ...ANY, tls }, target }] });
    await relays.apply(parseRelays([{ file: "relays.json", text }]));
    const address = relays.state()[0]?.listening;
    const port = address && "port" in address ? address.port : 0;

    await Deno.copyFile(file("named.crt"), tls.certFile);
    await until("the files are told to be outdated", () => events.some(({ type }) => type === "outdated"));
    assertMatch(
      events.at(-1)?.message ?? "",
      /^goes on with its old certificates: listen\.tls\.keyFile: .* is not the key/,
    );
    assertEquals(await ask(await connectTls(port), "x"), "x");

    await Deno.copyFile(file("named.key"), tls.keyFile);
    // The new certificate is for another name.
    await until(
      "the new certificate is shown",
      () => connectTls(port).then((conn) => conn.close(), () => true).then((refused) => refused === true),
    );
    assertEquals(events.filter(({ type }) => type === "outdated").length, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
