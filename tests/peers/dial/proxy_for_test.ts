/** `proxyFor()` against Go's own reading of the environment. */
import { assert, assertEquals } from "@std/assert";
import { type Endpoint, proxyFor } from "../../../lib/dial/mod.ts";
import { run } from "./peers.ts";

const SOURCE = new URL("go/", import.meta.url);

const TARGETS = [
  "http://example.com",
  "https://example.com",
  "https://example.com:6443",
  "https://api.example.com",
  "https://api.example.com:6443",
  "https://example.com.",
  "https://badexample.com",
  "https://com",
  "http://localhost",
  "https://localhost:6443",
  "https://localhost.",
  "https://my.localhost",
  "https://127.0.0.1:6443",
  "https://127.9.9.9",
  "https://[::1]:6443",
  "https://10.1.2.3",
  "https://10.1.2.3:6443",
  "http://192.168.0.7:8080",
  "https://[2001:db8::1]",
  "https://[2001:db8::1]:6443",
  "https://[2001:db9::1]",
  "https://[64:ff9b::1]",
  "https://[::ffff:10.1.2.3]",
  "https://0.0.0.0",
];

const NO_PROXY = [
  "",
  ",,",
  "*",
  "example.com",
  "EXAMPLE.com",
  " example.com , x",
  ".example.com",
  "*.example.com",
  "*example.com",
  "example.com:6443",
  "example.com:443",
  "example.com:80",
  "example.com:",
  ".example.com:6443",
  "example.com.",
  "com",
  ".",
  ":6443",
  "10.1.2.3",
  "10.1.2.3:6443",
  "10.0.0.0/8",
  "10.1.2.3/32",
  "10.1.2.3/33",
  "10.0.0.0/08",
  "010.1.2.3",
  "10.1",
  "0.0.0.0/0",
  "192.168.0.0/24,10.1.2.4/31",
  "2001:db8::1",
  "[2001:db8::1]",
  "[2001:db8::1]:6443",
  "2001:db8::/32",
  "2001:DB8:0::/32",
  "::/0",
  "::ffff:10.1.2.3",
  "::ffff:10.0.0.0/104",
  "::ffff:10.0.0.0/96",
  "::ffff:10.0.0.0/8",
  "::ffff:10.0.0.0/129",
  "https://example.com",
  "example.com/8",
  "*,example.com",
  "x,*",
  "[example.com]",
  "[example.com]:6443",
  "0.0.0.0",
];

const PROXIES: ReadonlyArray<Readonly<Record<string, string>>> = [
  {},
  { HTTPS_PROXY: "http://one:3128", HTTP_PROXY: "http://two:3128" },
  { https_proxy: "http://one:3128", http_proxy: "http://two:3128" },
  { HTTPS_PROXY: "http://one:3128", https_proxy: "http://lower:3128" },
  { HTTPS_PROXY: "", https_proxy: "http://lower:3128" },
  { HTTPS_PROXY: "one:3128", HTTP_PROXY: "two" },
  { HTTPS_PROXY: "https://user:pass@one:3128", HTTP_PROXY: "socks5://two:1080" },
  { HTTPS_PROXY: "socks5h://one:1080", HTTP_PROXY: "ftp://two" },
  { HTTPS_PROXY: "127.0.0.1:3128", HTTP_PROXY: "[::1]:3128" },
  { ALL_PROXY: "http://all:3128", all_proxy: "http://all:3128" },
  { HTTPS_PROXY: "http://one:3128", HTTP_PROXY: "http://two:3128", REQUEST_METHOD: "GET" },
  { HTTPS_PROXY: "http://one:3128", HTTP_PROXY: "http://two:3128", no_proxy: "example.com" },
  { HTTPS_PROXY: "http://one:3128", HTTP_PROXY: "http://two:3128", NO_PROXY: "x", no_proxy: "example.com" },
];

function endpointOf(target: string): Endpoint {
  const url = new URL(target);
  const tls = url.protocol === "https:";
  return { hostname: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) || (tls ? 443 : 80), tls };
}

/** A URL's spelling does not matter here: Go keeps it as it was, the platform's `URL` adds a slash. */
function canonical(url: URL | string): string {
  return `${url}`.replace(/\/$/, "");
}

function ours(target: string, env: Readonly<Record<string, string>>): string {
  try {
    const proxy = proxyFor(endpointOf(target), (name) => env[name]);
    return proxy ? canonical(proxy) : "direct";
  } catch (error) {
    return `error: ${(error as Error).message}`;
  }
}

Deno.test("proxyFor() reads the environment as Go does", async () => {
  const folder = await Deno.makeTempDir({ prefix: "podwire-go-" });
  try {
    const program = `${folder}/proxyfor`;
    await run("go", ["build", "-o", program, "."], { cwd: SOURCE });
    const environments = [
      ...PROXIES,
      ...NO_PROXY.map((list) => ({ HTTPS_PROXY: "http://one:3128", HTTP_PROXY: "http://two:3128", NO_PROXY: list })),
    ];
    let proxied = 0;
    for (const env of environments) {
      const lines = (await run(program, TARGETS, { env, clearEnv: true })).trimEnd().split("\n");
      const theirs = TARGETS.map((target, i) => [target, canonical(lines[i]!)]);
      assertEquals(TARGETS.map((target) => [target, ours(target, env)]), theirs, JSON.stringify(env));
      proxied += lines.filter((line) => line !== "direct").length;
    }
    assert(proxied > 300, `only ${proxied} went through a proxy`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
