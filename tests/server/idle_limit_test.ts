import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Duplex, duplexPair } from "../../lib/bytes/mod.ts";
import { IdleError, withIdleLimit } from "../../lib/server/idle_limit.ts";
import type { UpgradableConnection } from "../../lib/server/upgrade.ts";

/** A connection that becomes `duplex`. */
function connectionOf(duplex: Duplex): UpgradableConnection {
  return {
    respond: () => Promise.resolve(),
    body: () => Promise.resolve(new Uint8Array(0)),
    upgrade: () => Promise.resolve(duplex),
  };
}

Deno.test("withIdleLimit() drops a stream over which nothing passes, and says why", async () => {
  const [client, server] = duplexPair();
  const began = performance.now();
  const error = await assertRejects(
    () =>
      withIdleLimit(connectionOf(server), 30, async (connection) => {
        const duplex = await connection.upgrade([]);
        await duplex.read(new Uint8Array(8));
      }),
    IdleError,
  );
  assertEquals(error.message, "nothing has passed for 0.03 s: the stream was dropped");
  assert(performance.now() - began >= 29);
  client.close();
});

Deno.test("withIdleLimit() leaves a stream alone over which something passes", async () => {
  const [client, server] = duplexPair();
  await withIdleLimit(connectionOf(server), 60, async (connection) => {
    const duplex = await connection.upgrade([]);
    const buffer = new Uint8Array(8);
    const end = performance.now() + 200; // More than three times the limit.
    while (performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      await client.write(new Uint8Array(1));
      assertEquals(await duplex.read(buffer), 1);
    }
  });
  client.close();
});
