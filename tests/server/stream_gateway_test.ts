/** Streams through a gateway to the embedded host: whole, or without the wire that the client asks for. */
import { assertEquals } from "@std/assert";
import { Cluster, type Wire } from "../../lib/client/mod.ts";
import { echo, withPort } from "./ports.ts";
import { type Lacks, startGateway, startHost, withOldServer } from "./stream_ground.ts";

Deno.test.sanitizer({ ops: true, resources: true });

for (const lacks of [[], ["websocket"], ["spdy"], ["v5", "spdy"]] as Lacks[][]) {
  for (const wire of ["websocket", "spdy"] as Wire[]) {
    Deno.test(`exec over ${wire} works where the upstream lacks ${lacks.join(" and ") || "nothing"}`, async () => {
      await using host = await startHost();
      await withOldServer(host, lacks, async (server) => {
        await using gateway = await startGateway(server);
        await using cluster = new Cluster({ server: gateway.url.href, wire });
        const ended = gateway.next();
        const output = await cluster.pod("web").exec(["sh", "-c", "echo out; echo err >&2; exit 7"]).output();
        assertEquals(
          [new TextDecoder().decode(output.stdout), new TextDecoder().decode(output.stderr), output.code],
          ["out\n", "err\n", 7],
        );
        const outcome = await ended;
        assertEquals([outcome.status, outcome.wireIn], [101, wire]);
        assertEquals(
          outcome.wireOut,
          lacks.includes(wire as Lacks) || lacks.length === 2 && wire === "spdy" ? other(wire) : wire,
        );
      });
    });
  }
}

function other(wire: Wire): Wire {
  return wire === "spdy" ? "websocket" : "spdy";
}

for (const lacks of [[], ["tunnel"], ["spdy"], ["websocket"]] as Lacks[][]) {
  for (const wire of ["websocket", "tunnel", "spdy"] as Wire[]) {
    Deno.test(`port-forward over ${wire} works where the upstream lacks ${lacks.join(" and ") || "nothing"}`, async () => {
      await withPort(echo, async (port, refused) => {
        await using host = await startHost({ 80: port, 81: refused });
        await withOldServer(host, lacks, async (server) => {
          await using gateway = await startGateway(server);
          await using cluster = new Cluster({ server: gateway.url.href, wire });
          await using forward = await cluster.pod("web").portForward();
          const connection = await forward.connect(80);
          const writer = connection.writable.getWriter();
          const text = "x".repeat(100_000);
          await writer.write(new TextEncoder().encode(text));
          const reader = connection.readable.getReader();
          let got = "";
          while (got.length < text.length) got += new TextDecoder().decode((await reader.read()).value);
          assertEquals(got, text);
          await writer.close().catch(() => {});
          await reader.cancel();
        });
      });
    });
  }
}
