/** The table of ways in Node 22, and names with several addresses in Deno and in Node. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Endpoint } from "../../../lib/dial/mod.ts";
import { denoFlags, ROOT } from "../../offline/flags.ts";
import { ground } from "./ground.ts";
import { freePort, Peers, run } from "./peers.ts";
import { type Row, rows } from "./rows.ts";

/** The program of Node 22, from npm. */
async function node(): Promise<string> {
  return (await run("npx", ["--yes", "node@22", "-p", "process.execPath"])).trim();
}

/** `child.ts` and all that it loads as one file for Node. */
async function bundle(peers: Peers): Promise<string> {
  const file = `${peers.folder}/child.mjs`;
  const own = ["--platform", "browser", "--external", "node:*", "-o", file, "tests/peers/dial/child.ts"];
  await run(Deno.execPath(), ["bundle", ...await denoFlags(), ...own], { cwd: ROOT });
  return file;
}

/** Goes all ways in a process of its own; returns the rows that did not end well, and how. */
async function goAll(
  command: readonly [string, ...string[]],
  all: readonly Row[],
  env: Record<string, string>,
): Promise<Array<[name: string, failure: string]>> {
  const [program, ...args] = command;
  const output = await run(program, args, { cwd: ROOT, env, stdin: JSON.stringify(all) });
  const results = JSON.parse(output) as Array<[string, string]>;
  assertEquals(results.map(([name]) => name), all.map(({ name }) => name));
  return results.filter(([, result]) => result !== "ok");
}

Deno.test("createDialer() reaches real peers from Node 22", async () => {
  await using peers = new Peers();
  const there = await ground(peers);
  const all = rows(there);
  assert(all.length > 80);
  const command = [await node(), await bundle(peers)] as const;
  assertEquals(await goAll(command, all, { HOME: peers.folder }), []);

  const { tcp, tcp6, ca, proxies } = there;
  const tls = { caCerts: [ca] };
  const at = (port: number, hostname = "127.0.0.1"): Endpoint => ({ hostname, port, tls: true });
  const wrong: Row[] = [
    { name: "no server", endpoint: at(freePort()), tls },
    { name: "no unix socket", endpoint: at(1), tls, unixSocket: `${peers.folder}/none.sock` },
    { name: "unknown authority", endpoint: at(tcp.server), tls: {} },
    { name: "another address", endpoint: at(tcp.named), tls },
    { name: "another IPv6 address", endpoint: at(tcp6.named, "::1"), tls },
    { name: "another name", endpoint: at(tcp.named), tls: { ...tls, serverName: "else.test" } },
    ...Object.entries(proxies).map(([name, proxy]) => ({ name, endpoint: at(freePort()), tls, proxy })),
  ];
  const failures = await goAll(command, wrong, {});
  assertEquals(failures.map(([name]) => name), wrong.map(({ name }) => name));
  const expected = [
    /^DialError: cannot connect to 127.0.0.1:\d+: connection refused/,
    /^DialError: cannot connect to the unix socket .*none.sock: no such file/,
    /^DialError: no TLS with 127.0.0.1:\d+: .*certificate-authority/,
    /^DialError: no TLS with 127.0.0.1:\d+: .*tls-server-name/,
    /^DialError: no TLS with \[::1\]:\d+: .*tls-server-name/,
    /^DialError: no TLS with 127.0.0.1:\d+: .*tls-server-name/,
    ...Object.values(proxies).map(() => /^DialError: (CONNECT request to|cannot get through the proxy) 127.0.0.1:\d+/),
  ];
  for (const [i, [, text]] of failures.entries()) assertMatch(text, expected[i]!);
});

Deno.test("createDialer() tries all addresses of a name, in Deno and in Node 22", async () => {
  await using peers = new Peers();
  const { tcp, ca, clientCertificate } = await ground(peers);
  // Only 127.0.0.1 answers; nothing listens on the ports at the other two.
  const hosts = peers.write("hosts", "127.0.0.8 cluster.test\n127.0.0.9 cluster.test\n127.0.0.1 cluster.test\n");
  const tls = { caCerts: [ca] };
  const all: Row[] = [
    { name: "TCP", endpoint: { hostname: "cluster.test", port: tcp.plain, tls: false }, tls: {} },
    { name: "TLS", endpoint: { hostname: "cluster.test", port: tcp.named, tls: true }, tls },
    {
      name: "TLS with a client certificate",
      endpoint: { hostname: "cluster.test", port: tcp["named-client"], tls: true },
      tls: { ...tls, clientCertificate },
    },
  ];
  const there = (command: string): [string, ...string[]] => [
    "unshare",
    "-m",
    "sh",
    "-c",
    `mount --bind ${hosts} /etc/hosts && exec ${command}`,
  ];
  assertEquals(
    await goAll(there(`${Deno.execPath()} run -A ${(await denoFlags()).join(" ")} tests/peers/dial/child.ts`), all, {}),
    [],
  );
  assertEquals(await goAll(there(`${await node()} ${await bundle(peers)}`), all, {}), []);
});
