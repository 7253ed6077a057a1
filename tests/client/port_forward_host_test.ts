/** Port-forward from end to end, over each wire: our client, our own host, and local servers as the pod's processes. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Cluster, ForwardError, type PortForward, type Wire } from "../../lib/client/mod.ts";
import { pattern, utf8 } from "../spdy/harness.ts";
import { echo, readAll, withPodPort, writeAll } from "../server/ports.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Runs `work` with a port-forward to a pod whose port 80 `answer` serves, and on whose port 81 nobody listens. */
async function withHost(
  wire: Wire,
  answer: (connection: Deno.Conn) => Promise<void>,
  work: (forward: PortForward) => Promise<void>,
): Promise<void> {
  await withPodPort(answer, async (host) => {
    await using cluster = new Cluster({ server: host.url, wire });
    await using forward = await cluster.pod("web").portForward({ finDelay: 0 });
    await work(forward);
  });
}

/** Answers with how much came, after its end. */
async function count(connection: Deno.Conn): Promise<void> {
  const { length } = await readAll(connection);
  await writeAll(connection, utf8(`${length} bytes`));
  await connection.closeWrite();
}

/** Sends bytes and an end, and gives the answer. */
async function ask(forward: PortForward, bytes: Uint8Array, port = 80): Promise<Uint8Array> {
  await using connection = await forward.connect(port);
  const answer = new Response(connection.readable).bytes();
  answer.catch(() => {}); // Told below.
  const writer = connection.writable.getWriter();
  await writer.write(bytes).catch(() => {}); // The answer tells more.
  await writer.close().catch(() => {});
  return await answer;
}

for (const wire of ["tunnel", "spdy"] as const) {
  Deno.test(`Pod.portForward() over ${wire}: the answer after a half-close arrives`, async () => {
    await withHost(wire, count, async (forward) => {
      assertEquals(await ask(forward, pattern(3_000_000)), utf8("3000000 bytes"));
      assertEquals(await ask(forward, new Uint8Array(0)), utf8("0 bytes"));
      assertEquals(forward.stats.bytesSent, 3_000_000);
    });
  });

  Deno.test(`Pod.portForward() over ${wire}: 100 echoes at once beside 25 refused connections`, async () => {
    await withHost(wire, echo, async (forward) => {
      const payload = pattern(100_000);
      const outcomes = await Promise.allSettled(
        Array.from({ length: 125 }, (_, i) => ask(forward, payload.subarray(i), i % 5 === 0 ? 81 : 80)),
      );
      for (const [i, outcome] of outcomes.entries()) {
        if (i % 5 === 0) {
          assert(outcome.status === "rejected", `${i} was answered`);
          assert(outcome.reason instanceof ForwardError, `${i}: ${outcome.reason}`);
          assertEquals([outcome.reason.code, outcome.reason.port], ["ECONNREFUSED", 81]);
        } else {
          assert(outcome.status === "fulfilled", `${i}: ${outcome.status === "rejected" && outcome.reason}`);
          assertEquals(outcome.value.length, payload.length - i);
          assert(outcome.value.every((byte, at) => byte === payload[i + at]));
        }
      }
      const { active, connections, failed, redials } = forward.stats;
      assertEquals({ active, connections, failed, redials }, { active: 0, connections: 125, failed: 25, redials: 0 });
    });
  });
}

Deno.test("Pod.portForward() over channels carries a connection and a refusal", async () => {
  await withHost("websocket", async (connection) => {
    await writeAll(connection, utf8("hello"));
    await connection.closeWrite();
    await readAll(connection);
  }, async (forward) => {
    await using connection = await forward.connect(80);
    assertEquals(await new Response(connection.readable).text(), "hello");
    await using refused = await forward.connect(81);
    const error = await assertRejects(() => new Response(refused.readable).text(), ForwardError);
    assertEquals(error.code, "ECONNREFUSED");
  });
});

Deno.test("PortForward.listen() before our own host: a client of a real socket gets the answer to its end", async () => {
  await withHost("auto", count, async (forward) => {
    const listener = await forward.listen({ port: 0, target: 80 });
    const { address } = listener;
    assert("port" in address);
    using conn = await Deno.connect({ hostname: address.hostname, port: address.port });
    const sent = writeAll(conn, pattern(1_000_000)).then(() => conn.closeWrite());
    assertEquals(await readAll(conn), utf8("1000000 bytes"));
    await sent;
  });
});
