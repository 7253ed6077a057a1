/** What a proxy is told, and what it may answer. Real proxies are in tests/peers/dial. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createDialer, DialError, type Endpoint } from "../../lib/dial/mod.ts";
import { latin1, portOf, readAll, silentPeer, withServer } from "./harness.ts";

const ENDPOINT: Endpoint = { hostname: "cluster.test", port: 6443, tls: false };

/** One exchange: what the proxy waits for, byte by byte, and what it says then. */
type Script = ReadonlyArray<readonly [expected: string, answer: string]>;

/** Dials through a proxy that plays `script` and ends. */
async function through(scheme: string, script: Script, endpoint = ENDPOINT): Promise<string> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let heard = "";
  const serve = async (conn: Deno.Conn) => {
    for (const [expected, answer] of script) {
      const buffer = new Uint8Array(expected.length);
      for (let filled = 0; filled < buffer.length;) {
        const n = await conn.read(buffer.subarray(filled));
        if (n === null) return;
        filled += n;
      }
      heard += String.fromCharCode(...buffer);
      for (const byte of latin1(answer)) await conn.write(Uint8Array.of(byte));
    }
  };
  return await withServer(listener, serve, async () => {
    const proxy = new URL(`${scheme}127.0.0.1:${portOf(listener)}`);
    const duplex = await createDialer({ proxy, timeout: 5000 })(endpoint);
    assertEquals(heard, script.map(([expected]) => expected).join(""));
    const rest = await readAll(duplex);
    duplex.close();
    return rest;
  });
}

const CONNECT = "CONNECT cluster.test:6443 HTTP/1.1\r\nHost: cluster.test:6443\r\n";
const OK = "HTTP/1.1 200 OK\r\n\r\n";
/** RFC 1928: version 5, CONNECT, a name. */
const REQUEST = "\x05\x01\x00\x03\x0ccluster.test\x19\x2b";
const GRANTED = "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50";

Deno.test("an http proxy is asked by CONNECT, and bytes behind its answer belong to the endpoint", async () => {
  assertEquals(await through("http://", [[`${CONNECT}\r\n`, `${OK}hello`]]), "hello");
});

Deno.test("an http proxy is told the user and the password of its URL, decoded", async () => {
  // base64 of "us er:p:ä" in UTF-8.
  const head = `${CONNECT}Proxy-Authorization: Basic dXMgZXI6cDrDpA==\r\n\r\n`;
  assertEquals(await through("http://us%20er:p%3A%C3%A4@", [[head, OK]]), "");
});

Deno.test("an http proxy is told an IPv6 address in brackets", async () => {
  const head = "CONNECT [fd00::1]:443 HTTP/1.1\r\nHost: [fd00::1]:443\r\n\r\n";
  assertEquals(await through("http://", [[head, OK]], { hostname: "fd00::1", port: 443, tls: false }), "");
});

Deno.test("a SOCKS 5 proxy is told a name, and bytes behind its answer belong to the endpoint", async () => {
  for (const scheme of ["socks5://", "socks5h://"]) {
    assertEquals(await through(scheme, [["\x05\x01\x00", "\x05\x00"], [REQUEST, `${GRANTED}hello`]]), "hello");
  }
});

Deno.test("a SOCKS 5 proxy is told an address as one, and may answer with any kind of its own", async () => {
  const greeting = ["\x05\x01\x00", "\x05\x00"] as const;
  for (const bound of ["\x01\x7f\x00\x00\x01", `\x04${"\x00".repeat(16)}`, "\x03\x05proxy"]) {
    const granted = `\x05\x00\x00${bound}\x00\x50`;
    const v4 = ["\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb", granted] as const;
    assertEquals(await through("socks5://", [greeting, v4], { hostname: "10.0.0.1", port: 443, tls: false }), "");
    const v6 = [`\x05\x01\x00\x04\xfd${"\x00".repeat(14)}\x01\x01\xbb`, granted] as const;
    assertEquals(await through("socks5://", [greeting, v6], { hostname: "fd00::1", port: 443, tls: false }), "");
  }
});

Deno.test("a SOCKS 5 proxy is told the user and the password if it wants them", async () => {
  const login = ["\x01\x05us er\x04p:\xc3\xa4", "\x01\x00"] as const;
  const script: Script = [["\x05\x02\x00\x02", "\x05\x02"], login, [REQUEST, GRANTED]];
  assertEquals(await through("socks5://us%20er:p%3A%C3%A4@", script), "");
  assertEquals(await through("socks5://user:pass@", [["\x05\x02\x00\x02", "\x05\x00"], [REQUEST, GRANTED]]), "");
});

for (
  const [scheme, script, text] of [
    [
      "http://u:secret@",
      [["C", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"]],
      "407 Proxy Authentication Required",
    ],
    ["http://u:secret@", [["C", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nsomething"]], "502 Bad Gateway"],
    ["http://u:secret@", [["C", "SSH-2.0-x\r\n"]], "not an HTTP/1.1 answer"],
    ["http://u:secret@", [["C", "HTTP/1.1 200"]], "the connection ended"],
    ["http://u:%zz@", [["C", OK]], "not percent-encoded"],
    ["socks5://", [["\x05\x01\x00", "HTTP/1.1 400"]], "does not speak SOCKS 5"],
    ["socks5://", [["\x05\x01\x00", "\x05\xff"]], "wants a user and a password"],
    ["socks5://", [["\x05\x01\x00", "\x05\x02"]], "wants a user and a password"],
    ["socks5://u:secret@", [["\x05\x02\x00\x02", "\x05\xff"]], "takes no user and password"],
    ["socks5://u:secret@", [["\x05\x02\x00\x02", "\x05\x02"], ["\x01\x01u\x06secret", "\x01\x01"]], "refuses the user"],
    [
      "socks5://",
      [["\x05\x01\x00", "\x05\x00"], [REQUEST, "\x05\x05\x00\x01"]],
      "cluster.test:6443: connection refused",
    ],
    ["socks5://", [["\x05\x01\x00", "\x05\x00"], [REQUEST, "\x05\x63\x00\x01"]], "reply 99"],
    ["socks5://", [["\x05\x01\x00", "\x05\x00"], [REQUEST, "\x05\x00\x00\x01\x7f"]], "closed the connection"],
    [`socks5://${"u".repeat(256)}:secret@`, [["\x05\x02\x00\x02", "\x05\x02"]], "longer than 255 bytes"],
  ] as ReadonlyArray<readonly [string, Script, string]>
) {
  Deno.test(`a proxy's fault is an error that says so: ${text} (${scheme.slice(0, 20)})`, async () => {
    const error = await assertRejects(() => through(scheme, script), DialError, text);
    assertEquals(error.hop, "proxy");
    assert(!error.message.includes("secret"), error.message);
  });
}

for (const scheme of ["http", "https", "socks5"]) {
  Deno.test(`a silent ${scheme} proxy is given up by deadline and by signal, and let go`, async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { serve, reached, gone } = silentPeer();
    await withServer(listener, serve, async () => {
      const proxy = new URL(`${scheme}://u:secret@127.0.0.1:${portOf(listener)}`);
      // With this the dialer speaks TLS by node:tls, which lets go at once; see shakeHands() for Deno's own.
      const tls = { insecureSkipVerify: true };
      const late = createDialer({ proxy, tls, timeout: 50 })(ENDPOINT);
      const error = await assertRejects(() => late, DialError, "within 50 ms");
      assertEquals([error.hop, error.address], [scheme === "https" ? "tls" : "proxy", proxy.host]);
      await gone[0].promise;
      const controller = new AbortController();
      const reason = new Error("enough");
      const dialing = createDialer({ proxy, tls })(ENDPOINT, { signal: controller.signal });
      dialing.catch(() => {}); // It is judged below.
      await reached[1].promise;
      controller.abort(reason);
      assertEquals(await assertRejects(() => dialing), reason);
      await gone[1].promise;
    });
  });
}
