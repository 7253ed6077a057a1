/** `proxyFor()` against what Go's golang.org/x/net/http/httpproxy v0.62.0 answers to the same questions. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DialError, type Endpoint, proxyFor } from "../../lib/dial/mod.ts";

const URLS = [
  "example.com",
  "example.com:8443",
  "http://example.com",
  "www.example.com",
  "notexample.com",
  "sample.com",
  "10.0.0.1",
  "10.0.0.1:6443",
  "http://10.0.0.1",
  "11.0.0.1",
  "10.255.0.1",
  "[fd00::1]",
  "[fd00::1]:6443",
  "[fd00::3]",
  "[fe00::1]",
  "[::ffff:10.0.0.1]",
  "example.com.",
  "foo.localhost",
];

/** Never through a proxy, whatever NO_PROXY says. */
const LOCAL = [
  "localhost",
  "localhost:6443",
  "http://localhost",
  "127.0.0.1",
  "127.8.8.8:1",
  "[::1]",
  "[::ffff:127.0.0.1]",
];

/** `NO_PROXY`, and which of the URLs it exempts. */
const NO_PROXY: ReadonlyArray<readonly [noProxy: string, exempt: string]> = [
  ["", ""],
  ["example.com", "example.com example.com:8443 http://example.com www.example.com"],
  [".example.com", "www.example.com"],
  ["*.example.com", "www.example.com"],
  ["Example.COM", "example.com example.com:8443 http://example.com www.example.com"],
  ["com", "example.com example.com:8443 http://example.com www.example.com notexample.com sample.com"],
  ["ample.com", ""],
  ["example.com:443", "example.com www.example.com"],
  ["example.com:80", "http://example.com"],
  ["example.com:", "example.com example.com:8443 http://example.com www.example.com"],
  ["example.com:0443", ""],
  ["example.com:x", ""],
  [":443", ""],
  ["10.0.0.1", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 [::ffff:10.0.0.1]"],
  ["10.0.0.1:443", "10.0.0.1 [::ffff:10.0.0.1]"],
  ["10.0.0.1:80", "http://10.0.0.1"],
  ["10.0.0.0/8", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 10.255.0.1 [::ffff:10.0.0.1]"],
  ["10.0.0.0/33", ""],
  ["10.0.0.1/0", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 11.0.0.1 10.255.0.1 [::ffff:10.0.0.1]"],
  ["0.0.0.0/0", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 11.0.0.1 10.255.0.1 [::ffff:10.0.0.1]"],
  ["010.0.0.1", ""],
  ["10.0.0.0/08", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 10.255.0.1 [::ffff:10.0.0.1]"],
  ["fd00::1", "[fd00::1] [fd00::1]:6443"],
  ["[fd00::1]", ""],
  ["[fd00::1]:443", "[fd00::1]"],
  ["[fd00::1]:80", ""],
  ["[fd00::1]:", "[fd00::1] [fd00::1]:6443"],
  ["fd00::/8", "[fd00::1] [fd00::1]:6443 [fd00::3]"],
  ["::/0", "[fd00::1] [fd00::1]:6443 [fd00::3] [fe00::1]"],
  ["FD00::1", "[fd00::1] [fd00::1]:6443"],
  ["::ffff:10.0.0.1", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 [::ffff:10.0.0.1]"],
  ["::ffff:10.0.0.0/104", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 10.255.0.1 [::ffff:10.0.0.1]"],
  ["::ffff:a00:1", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 [::ffff:10.0.0.1]"],
  ["localhost", "foo.localhost"],
  ["  example.com , x", "example.com example.com:8443 http://example.com www.example.com"],
  ["x:1,10.0.0.0/8", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 10.255.0.1 [::ffff:10.0.0.1]"],
  ["*example.com", ""],
  ["*.com:443", "example.com www.example.com notexample.com sample.com"],
  ["*.*", ""],
  ["[example.com]:443", "example.com www.example.com"],
  ["[example.com]", ""],
  ["[*.example.com]:443", "www.example.com"],
  [".", "example.com."],
  ["*.", "example.com."],
  ["10.0.0.1.", ""],
  ["example.com.", "example.com."],
  ["10.0.0.", ""],
  ["10.0.0.1/8/8", ""],
  ["/8", ""],
  ["fd00::1/128", "[fd00::1] [fd00::1]:6443"],
  ["fd00::2/127", "[fd00::3]"],
  ["fd00::2/126", "[fd00::1] [fd00::1]:6443 [fd00::3]"],
  ["10.0.0.2/31", ""],
  ["10.0.0.2/30", "10.0.0.1 10.0.0.1:6443 http://10.0.0.1 [::ffff:10.0.0.1]"],
  ["a b,example.com", "example.com example.com:8443 http://example.com www.example.com"],
  ["[::1]", ""],
  ["fd00::1:443", ""],
  ["..example.com", ""],
  ["1.1/8", ""],
  ["[10.0.0.1]:443", "10.0.0.1 [::ffff:10.0.0.1]"],
  ["[10.0.0.1]", ""],
  ["[]:443", ""],
  ["fd00::1%eth0", ""],
  ["*", URLS.join(" ")],
  ["a, *,b", URLS.join(" ")],
];

function endpoint(text: string): Endpoint {
  const url = new URL(text.includes("://") ? text : `https://${text}`);
  const tls = url.protocol === "https:";
  return { hostname: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) || (tls ? 443 : 80), tls };
}

function environment(values: Record<string, string>): (name: string) => string | undefined {
  return (name) => values[name];
}

for (const [noProxy, exempt] of NO_PROXY) {
  Deno.test(`proxyFor() exempts what Go exempts when NO_PROXY is ${JSON.stringify(noProxy)}`, () => {
    const env = environment({ HTTP_PROXY: "http://p:1", HTTPS_PROXY: "http://p:1", NO_PROXY: noProxy });
    assertEquals(URLS.filter((url) => !proxyFor(endpoint(url), env)).join(" "), exempt);
    assertEquals(LOCAL.filter((url) => proxyFor(endpoint(url), env)), []);
  });
}

Deno.test("proxyFor() takes HTTPS_PROXY for TLS and HTTP_PROXY without, upper case before lower", () => {
  const tls = endpoint("https://x");
  const plain = endpoint("http://x");
  const proxies = (values: Record<string, string>) =>
    [tls, plain].map((endpoint) => proxyFor(endpoint, environment(values))?.href);
  assertEquals(proxies({}), [undefined, undefined]);
  assertEquals(proxies({ ALL_PROXY: "http://a" }), [undefined, undefined]);
  assertEquals(proxies({ HTTPS_PROXY: "http://a", HTTP_PROXY: "http://b" }), ["http://a/", "http://b/"]);
  assertEquals(proxies({ https_proxy: "http://a", http_proxy: "http://b" }), ["http://a/", "http://b/"]);
  assertEquals(proxies({ HTTPS_PROXY: "http://a", https_proxy: "http://b" }), ["http://a/", undefined]);
  assertEquals(proxies({ HTTPS_PROXY: "", https_proxy: "http://b" }), ["http://b/", undefined]);
  assertEquals(proxies({ HTTPS_PROXY: "http://a", no_proxy: "x" }), [undefined, undefined]);
});

Deno.test("proxyFor() reads a proxy with and without a scheme", () => {
  for (
    const [value, href] of [
      ["proxy", "http://proxy/"],
      ["proxy:3128", "http://proxy:3128/"],
      ["127.0.0.1:3128", "http://127.0.0.1:3128/"],
      ["[::1]:3128", "http://[::1]:3128/"],
      ["user:pass@proxy:3128", "http://user:pass@proxy:3128/"],
      ["https://proxy", "https://proxy/"],
      ["socks5://proxy:1080", "socks5://proxy:1080"],
    ] as const
  ) {
    assertEquals(proxyFor(endpoint("x"), environment({ HTTPS_PROXY: value }))?.href, href);
  }
});

Deno.test("proxyFor() says which variable cannot be read, and not what is in it", () => {
  for (const value of ["http://user:secret@", "http://[::1", "user:secret@:80"]) {
    const error = assertThrows(() => proxyFor(endpoint("x"), environment({ HTTPS_PROXY: value })), DialError);
    assertEquals([error.hop, error.address], ["proxy", "HTTPS_PROXY"]);
    assert(!error.message.includes("secret"), error.message);
  }
});

Deno.test("proxyFor() refuses HTTP_PROXY in a CGI program, where a client's Proxy header may have set it", () => {
  const cgi = { REQUEST_METHOD: "GET", HTTP_PROXY: "http://p:1", HTTPS_PROXY: "http://p:1", NO_PROXY: "*" };
  assertThrows(() => proxyFor(endpoint("http://x"), environment(cgi)), DialError, "CGI");
  assertEquals(proxyFor(endpoint("https://x"), environment({ ...cgi, NO_PROXY: "" }))?.href, "http://p:1/");
  assertEquals(proxyFor(endpoint("http://x"), environment({ REQUEST_METHOD: "GET" })), undefined);
});
