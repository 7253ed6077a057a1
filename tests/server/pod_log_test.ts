import { assertEquals, assertMatch } from "@std/assert";
import { type HostPod, type HostServer, serveHost } from "../../lib/server/mod.ts";
import { Opcode } from "../captures/recording.ts";
import { connect, RawClient } from "./raw_client.ts";

/** Starts again once, and waits then. */
const TWICE =
  'if [ -e "$0" ]; then rm "$0"; echo second; exec sleep 600; else touch "$0"; printf "first\\nerror"; exit 3; fi';

/** A host whose pod `web` writes ten lines and waits, and whose pod `again` has been started again. */
async function withHost(work: (host: HostServer) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "podwire-log-" });
  const pods: readonly HostPod[] = [
    { name: "web", containers: [{ name: "main", command: ["sh", "-c", "seq 10; cat"], stdin: true }] },
    {
      name: "again",
      restartPolicy: "Always",
      containers: [{ name: "main", command: ["sh", "-c", TWICE, `${folder}/was-there`] }],
    },
    { name: "done", containers: [{ name: "main", command: ["true"] }] },
  ];
  try {
    await using host = await serveHost({ listen: { port: 0 }, pods });
    // Following ends with the container; this one ends when its second start has been heard of.
    for (const [pod, last] of [["web", "10\n"], ["again", "second\n"]] as const) {
      for (let log = ""; !log.includes(last);) log = await (await get(host, pod)).text();
    }
    await work(host);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const logPath = (host: HostServer, pod: string, query = "") =>
  `${host.url.pathname}/api/v1/namespaces/default/pods/${pod}/log?${query}`;

function get(host: HostServer, pod: string, query = ""): Promise<Response> {
  return fetch(`${host.url.origin}${logPath(host, pod, query)}`);
}

Deno.test("a log has what the container wrote, as much of it as is wanted", async () => {
  await withHost(async (host) => {
    const rows: Array<[query: string, log: string]> = [
      ["tailLines=0", ""],
      ["tailLines=100&limitBytes=7", "1\n2\n3\n4"],
      ["sinceSeconds=3600&limitBytes=2", "1\n"],
      ["sinceTime=2999-01-01T00:00:00Z", ""],
      ["sinceTime=2020-01-01T00:00:00Z&limitBytes=2", "1\n"],
    ];
    for (const [query, log] of rows) assertEquals(await (await get(host, "web", query)).text(), log, query);
    const all = await get(host, "web");
    assertEquals(all.headers.get("content-type"), "text/plain");
    assertEquals((await all.text()).split("\n").join(), "1,2,3,4,5,6,7,8,9,10,");
    for (const line of (await (await get(host, "web", "timestamps=true&tailLines=2")).text()).trimEnd().split("\n")) {
      assertMatch(line, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (9|10)$/);
    }
    const wrong = await (await get(host, "web", "sinceTime=yesterday")).json();
    assertEquals(wrong.code, 400);
    assertEquals((await (await get(host, "web", "sinceTime=2020-01-01T00:00:00Z&sinceSeconds=1")).json()).code, 422);
  });
});

Deno.test("a container that is started again has a previous log, and its pod says so", async () => {
  await withHost(async (host) => {
    assertEquals(await (await get(host, "again")).text(), "second\n");
    assertEquals(await (await get(host, "again", "previous=true")).text(), "first\nerror");
    const url = `${host.url.href}/api/v1/namespaces/default/pods/again`;
    const [{ restartCount, ready, lastState }] = (await (await fetch(url)).json()).status.containerStatuses;
    assertEquals([restartCount, ready, lastState.terminated.exitCode, lastState.terminated.reason], [
      1,
      true,
      3,
      "Error",
    ]);
  });
});

Deno.test("a log is followed to the container's end", async () => {
  await withHost(async (host) => {
    const log = await get(host, "web", "follow=true&tailLines=0");
    const path = `${host.url.pathname}/api/v1/namespaces/default/pods/web`;
    using attach = await RawClient.open(host, `${path}/attach?stdin=true&stdout=true`);
    await attach.send(0, "more\n");
    await attach.until(({ channels }) => channels[1] === "more\n");
    await (await fetch(`${host.url.origin}${path}?gracePeriodSeconds=0`, { method: "DELETE" })).body?.cancel();
    assertEquals(await log.text(), "more\n");
  });
});

Deno.test("a log comes as messages where it is asked for so", async () => {
  await withHost(async (host) => {
    const rows: Array<[protocol: string, opcode: number, payload: string]> = [
      ["binary.k8s.io", Opcode.BINARY, "first\nerror"],
      ["", Opcode.BINARY, "first\nerror"],
      ["base64.binary.k8s.io", Opcode.TEXT, btoa("first\nerror")],
    ];
    for (const [protocol, opcode, payload] of rows) {
      using client = await RawClient.open(host, logPath(host, "again", "previous=true"), { protocol });
      assertEquals(client.head.startLine, "HTTP/1.1 101 Switching Protocols");
      const [, chosen] = client.head.headers.find(([name]) => name === "Sec-WebSocket-Protocol") ?? [];
      assertEquals(chosen ?? "", protocol);
      while (client.frames.length < 3) await client.read();
      // Nothing first, as apimachinery's wsstream; then the log; then Close 1000.
      const [nothing, log, close] = client.frames;
      assertEquals([nothing!.opcode, log!.opcode, close!.opcode], [opcode, opcode, Opcode.CLOSE]);
      assertEquals([nothing!.payload.length, new TextDecoder().decode(log!.payload)], [0, payload]);
      assertEquals([...close!.payload], [3, 232]);
    }
    using refused = await RawClient.open(host, logPath(host, "again"), { protocol: "v4.channel.k8s.io" });
    assertEquals(refused.head.startLine, "HTTP/1.1 403 Forbidden");
  });
});

Deno.test("a follower over a WebSocket may leave", async () => {
  await withHost(async (host) => {
    using client = await RawClient.open(host, logPath(host, "web", "follow=true"), { protocol: "binary.k8s.io" });
    while (client.frames.length < 2) await client.read();
    await client.control(Opcode.CLOSE, Uint8Array.of(3, 232));
    while (!client.ended) await client.read();
    assertEquals(client.frames.at(-1)?.opcode, Opcode.CLOSE);
  });
});

Deno.test("port-forward to a pod that has ended is refused as by a container runtime", async () => {
  await withHost(async (host) => {
    const connection = await connect(host);
    const path = `${host.url.pathname}/api/v1/namespaces/default/pods/done/portforward`;
    const request = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n` +
      "X-Stream-Protocol-Version: portforward.k8s.io\r\nContent-Length: 0\r\n\r\n";
    await connection.write(new TextEncoder().encode(request));
    const answer = await new Response(connection.readable).text();
    assertMatch(answer, /^HTTP\/1\.1 500 [^]*\r\n\r\nsandbox container is not running$/);
  });
});
