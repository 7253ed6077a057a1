/** Where a cluster is and as whom to go there, of what `new Cluster()` is given. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type ApiRequest, Cluster, type ClusterOptions } from "../../lib/client/mod.ts";
import { ConfigError } from "../../lib/kubeconfig/mod.ts";

/** The server's URL, and the `Authorization` that it is sent. */
async function goesTo(options: ClusterOptions): Promise<[server: string, authorization: string | undefined]> {
  const requests: ApiRequest[] = [];
  await using cluster = new Cluster({
    ...options,
    transport: {
      request: (request) => {
        requests.push(request);
        return Promise.resolve(Response.json({}));
      },
      openWebSocket: () => Promise.reject(new Error("no streams here")),
      openSpdy: () => Promise.reject(new Error("no streams here")),
      close: () => {},
    },
  });
  await cluster.get("/version");
  return [cluster.server.href, requests[0]?.headers.find(([name]) => name === "Authorization")?.[1]];
}

Deno.test("new Cluster() reads a server as a kubeconfig does", async () => {
  const servers = {
    "https://cluster.test/prefix": "https://cluster.test/prefix",
    "localhost:38007": "http://localhost:38007/",
    "10.0.0.1": "http://10.0.0.1/",
    "https://cluster.test/?a=b#c": "https://cluster.test/",
  };
  for (const [server, href] of Object.entries(servers)) assertEquals(await goesTo({ server }), [href, undefined]);
});

Deno.test("new Cluster() refuses a server that is none, without its password", () => {
  const servers = {
    "ftp://u:secret@x": 'unsupported protocol scheme "ftp" in "ftp://x"',
    "https://u:secret@x:99999":
      'host must be a URL or a host:port pair: "https://x:99999": port 99999 is larger than 65535',
    "http://%zz:secret@x": "the user in the URL of x is not percent-encoded text",
  };
  for (const [server, text] of Object.entries(servers)) {
    assertEquals(assertThrows(() => new Cluster({ server }), ConfigError).message, text);
  }
});

Deno.test("new Cluster() keeps a user and a password for itself", async () => {
  const basic = `Basic ${btoa("us er:p@ss")}`;
  const server = new URL("http://us%20er:p%40ss@cluster.test/x");
  assertEquals(await goesTo({ server }), ["http://cluster.test/x", basic]);
  assertEquals(server.password, "p%40ss", "the caller's own URL is left alone");
  assertEquals(await goesTo({ server: server.href }), ["http://cluster.test/x", basic]);
  assertEquals(await goesTo({ server, token: "t" }), ["http://cluster.test/x", "Bearer t"]);
  assertEquals(await goesTo({ server, token: "" }), ["http://cluster.test/x", basic]);
});

Deno.test("new Cluster() and resolvePod() refuse a timeout that is no time", async () => {
  const server = "https://cluster.test";
  for (const timeout of [NaN, -1, "5", null] as number[]) {
    assertThrows(() => new Cluster({ server, timeout }), RangeError, `timeout: ${timeout} is not a time`);
    await assertRejects(() => new Cluster({ server }).resolvePod("web", { timeout }), RangeError, "timeout");
  }
  for (const timeout of [0, 1e12, Infinity]) new Cluster({ server, timeout }).close();
});

Deno.test("get() and request() refuse a path without a slash: it would be the end of the server's own", async () => {
  await using cluster = new Cluster({ server: "http://cluster.test/prefix" });
  for (const path of ["version", "", "http://elsewhere.test/"]) {
    await assertRejects(() => cluster.get(path), TypeError, `the path "${path}" does not start with a slash`);
    await assertRejects(() => cluster.request(path), TypeError, "slash");
  }
});

Deno.test("exec() refuses what is no list of words, and an empty one", () => {
  const pod = new Cluster({ server: "http://cluster.test" }).pod("web");
  assertThrows(() => pod.exec("ls -l" as unknown as string[]), TypeError, "no list of words");
  assertThrows(() => pod.exec([]), TypeError, "empty");
});
