/** Memory stays flat, whoever stalls: every queue on the way has a bound. */
import { assertGreater, assertGreaterOrEqual, assertLess } from "@std/assert";
import { measureFlatness, MIB } from "./flat.ts";
import { message, withRawServer } from "./raw_server.ts";

Deno.test.sanitizer({ ops: true, resources: true });

Deno.test("RemoteProcess holds memory flat when its reader stalls and the server sends as fast as it can", async () => {
  let sent = 0;
  let sentInStall = 0;
  await withRawServer(async (connection) => {
    await connection.accept();
    await connection.frame();
    const flood = message(1, new Uint8Array(32 * 1024));
    const timer = setTimeout(() => sentInStall = sent, 3000);
    try {
      for (; sent < 2048 * MIB; sent += flood.length) await connection.write(flood);
    } catch {
      // The client has gone, as it should.
    } finally {
      clearTimeout(timer);
    }
  }, async (server) => {
    const { read } = await measureFlatness("read", { server }, "web");
    assertGreaterOrEqual(read, 16 * MIB, "the flood goes on when somebody reads");
    assertGreater(sentInStall, 0);
    assertLess(sentInStall, 16 * MIB, "the server was slowed down");
  });
});

Deno.test("RemoteProcess holds memory flat when the server does not read what it writes", async () => {
  const over = Promise.withResolvers<void>();
  await withRawServer(async (connection) => {
    await connection.accept();
    await over.promise;
    await connection.gone();
  }, async (server) => {
    try {
      const { written } = await measureFlatness("write", { server }, "web");
      assertGreater(written, 0);
      assertLess(written, 16 * MIB, "the writer was slowed down");
    } finally {
      over.resolve();
    }
  });
});
