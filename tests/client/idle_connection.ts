/**
 * Which connection a session takes: an idle one may have been closed by the server meanwhile.
 *
 * @module
 */
import { assertRejects } from "@std/assert";
import { type ClusterOptions, UpgradeError } from "../../lib/client/mod.ts";
import { headerValue } from "../captures/recording.ts";
import { withCluster } from "./raw_server.ts";

/** Asserts that a session shares the connection of the request before it while that is fresh, and opens one of its own otherwise. */
export async function assertSharesFreshOnly(options: Partial<ClusterOptions> = {}): Promise<void> {
  let connections = 0;
  await withCluster(async (connection) => {
    const mine = ++connections;
    for (;;) {
      const head = await connection.head().catch(() => undefined);
      if (!head) return; // The client closes its idle connections in the end.
      if (headerValue(head, "upgrade")) break;
      await connection.write('HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{"metadata":{"name":"web"}}');
    }
    await connection.write(`HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n${mine}`);
    await connection.closeWrite();
    await connection.gone();
  }, async (cluster) => {
    const now = performance.now;
    try {
      for (const [idle, expected] of [[1_000, 1], [10_000, 3]] as const) {
        await cluster.pod("web").get();
        performance.now = () => now.call(performance) + idle;
        const session = cluster.pod("web").exec(["cat"]);
        await assertRejects(() => session.output(), UpgradeError, `connection: ${expected}`);
      }
    } finally {
      performance.now = now;
    }
  }, options);
}
