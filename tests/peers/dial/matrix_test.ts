/** Every way to a server with every kind of TLS, against squid, tinyproxy, danted and socat. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { createDialer, type DialerOptions, DialError, type Endpoint } from "../../../lib/dial/mod.ts";
import { ground, proxyUrl } from "./ground.ts";
import { freePort, PASSWORD, Peers, TINYPROXY_PASSWORD, USER } from "./peers.ts";
import { exchange, type Ground, rows } from "./rows.ts";

const WRONG = "wr0ng-password";

/** `~` is `home` while `use` runs. */
async function withHome(home: string, use: () => Promise<void>): Promise<void> {
  const before = Deno.env.get("HOME");
  Deno.env.set("HOME", home);
  try {
    await use();
  } finally {
    if (before === undefined) Deno.env.delete("HOME");
    else Deno.env.set("HOME", before);
  }
}

async function dialError(options: DialerOptions, endpoint: Endpoint): Promise<DialError> {
  const error = await assertRejects(async () => (await createDialer(options)(endpoint)).close(), DialError);
  const passwords = [PASSWORD, TINYPROXY_PASSWORD, WRONG];
  const secrets = passwords.flatMap((
    password,
  ) => [password, encodeURIComponent(password), btoa(`${USER}:${password}`)]);
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const text = `${at.message} ${at.stack}`;
    assert(!secrets.some((secret) => text.includes(secret)), `a secret is in ${text}`);
  }
  return error;
}

Deno.test("createDialer() reaches real peers on every way with every kind of TLS", async (t) => {
  await using peers = new Peers();
  const there = await ground(peers);

  await withHome(peers.folder, async () => {
    const all = rows(there);
    assertEquals(all.length, 7 * 12);
    for (const row of all) await t.step(row.name, () => exchange(row));
  });

  for (const [way, proxy] of Object.entries(there.proxies)) await t.step(way, (t) => refusals(t, there, proxy));

  await t.step("the https proxy is verified", async () => {
    const proxy = new URL(there.proxies["https proxy (squid)"]!);
    const error = await dialError({ proxy }, { hostname: "127.0.0.1", port: there.tcp.plain, tls: false });
    assertEquals([error.hop, error.address], ["tls", proxy.host]);
  });

  await t.step("the environment names the proxy, and the proxy looks the name up", async () => {
    for (const way of ["http proxy (squid)", "https proxy (squid)", "socks5h proxy (danted)"]) {
      const env = (name: string) => name === "https_proxy" ? there.proxies[way] : undefined;
      const dial = createDialer({ env, tls: { caCerts: [there.ca] } });
      (await dial({ hostname: "cluster.test", port: there.tcp.named, tls: true })).close();
    }
  });
});

/** What goes wrong behind a proxy, and at it. */
async function refusals(t: Deno.TestContext, there: Ground, proxy: string): Promise<void> {
  const { protocol, host, port } = new URL(proxy);
  const tls = { caCerts: [there.ca] };
  const plain: Endpoint = { hostname: "127.0.0.1", port: there.tcp.plain, tls: false };

  if (proxy.includes("@")) {
    await t.step("a wrong password is refused, and in no error", async () => {
      const wrong = new URL(proxyUrl(protocol.slice(0, -1), Number(port), WRONG));
      const error = await dialError({ proxy: wrong, tls }, plain);
      assertEquals([error.hop, error.address], ["proxy", host]);
      // tinyproxy says 401 where RFC 9110 has 407.
      assertMatch(error.message, protocol.startsWith("http") ? /returned response: 40[17] / : /refuses the user/);
    });
    await t.step("no password is refused", async () => {
      const error = await dialError({ proxy: new URL(`${protocol}//${host}`), tls }, plain);
      assertEquals([error.hop, error.address], ["proxy", host]);
    });
  }
  await t.step("a server that is not there", async () => {
    const error = await dialError({ proxy: new URL(proxy), tls }, { ...plain, port: freePort() });
    assertEquals([error.hop, error.address], ["proxy", host]);
    assertStringIncludes(error.message, protocol.startsWith("http") ? "CONNECT request to" : "refused");
  });
  await t.step("a server that cannot be verified", async () => {
    const error = await dialError({ proxy: new URL(proxy), tls }, {
      hostname: "127.0.0.1",
      port: there.tcp.named,
      tls: true,
    });
    assertEquals([error.hop, error.address], ["tls", `127.0.0.1:${there.tcp.named}`]);
  });
  await t.step("a proxy that is not there", async () => {
    const gone = new URL(proxy);
    gone.port = `${freePort()}`;
    const error = await dialError({ proxy: gone, tls }, plain);
    assertEquals([error.hop, error.address, error.code], ["proxy", gone.host, "ECONNREFUSED"]);
    assertInstanceOf(error.cause, Error);
  });
}
