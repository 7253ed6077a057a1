/** client-go's executors and port-forwarders against the embedded host, directly and through gateways. Needs Go (Debian's `golang-go`). */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { echo, withPort } from "../../server/ports.ts";
import { type GatewayOptions, type Lacks, startGateway, startHost, withOldServer } from "../../server/stream_ground.ts";
import { buildGo } from "../build.ts";

const peer = await buildGo("gateway-peer", new URL("./go/", import.meta.url));

const WIRES = ["websocket", "spdy", "fallback"] as const;

/** What each case of the peer said: `ok`, or what went wrong. */
async function runPeer(server: string, wire: string): Promise<Record<string, string>> {
  const child = new Deno.Command(peer, { args: [server, wire], stdout: "piped", stderr: "piped" }).spawn();
  const { success, stdout, stderr } = await child.output();
  assert(success, new TextDecoder().decode(stderr));
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split("\t") as [string, string]));
}

/** Runs `work` with the URL of the embedded host, less what it `lacks`. */
async function withHost(lacks: readonly Lacks[], work: (server: string) => Promise<void>): Promise<void> {
  await withPort(echo, async (port, refused) => {
    await using host = await startHost({ 80: port, 81: refused });
    if (lacks.length === 0) await work(host.url.href);
    else await withOldServer(host, lacks, work);
  });
}

/** How many cases the peer has. */
const CASES = 19;

/** Asserts that all cases went well, but for one that is `different`. */
function assertAllOk(results: Record<string, string>, different?: string): void {
  assertEquals(Object.keys(results).length, CASES);
  assertEquals(Object.entries(results).filter(([name, result]) => result !== "ok" && name !== different), []);
  if (different !== undefined) assertNotEquals(results[different], "ok");
}

for (const wire of WIRES) {
  Deno.test(`client-go over ${wire} works against the embedded host`, async () => {
    await withHost([], async (server) => assertAllOk(await runPeer(server, wire)));
  });
}

const GATEWAYS: Array<[what: string, lacks: Lacks[], options: GatewayOptions]> = [
  ["passes everything through", [], {}],
  ["translates for a server without WebSockets", ["websocket"], {}],
  ["translates for a server without SPDY", ["spdy"], {}],
  ["translates to SPDY as the API server does", [], { declaredFeatures: [] }],
];

for (const [what, lacks, options] of GATEWAYS) {
  for (const wire of WIRES) {
    Deno.test(`client-go over ${wire} works through a gateway that ${what}`, async () => {
      await withHost(lacks, async (server) => {
        await using gateway = await startGateway(server, options);
        // There a refusal comes behind the 101, as the session's status.
        const different = options.declaredFeatures && wire === "websocket" ? "BadHandshake" : undefined;
        assertAllOk(await runPeer(gateway.url.href, wire), different);
      });
    });
  }
}
