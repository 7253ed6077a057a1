/**
 * The client half of a test of `WebSocketStream`, which Deno has only behind a flag. Run by browser_test.ts.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { openPlatformWebSocket, WebSocketConnectionError } from "../../lib/websocket/mod.ts";
import { pattern } from "./harness.ts";

const [url = ""] = Deno.args;
assert("WebSocketStream" in globalThis);
const open = () => openPlatformWebSocket(url, ["v5.channel.k8s.io"]);

const socket = await open();
for (const size of [0, 1, 40_000, 3 << 20]) {
  const [message] = await Promise.all([socket.receive(), socket.send(pattern(size))]);
  assertEquals(message, pattern(size));
}
const [text] = await Promise.all([socket.receive(), socket.send("Grüße")]);
assertEquals(text, "Grüße");
// The server's end checks how this arrives. `closed` is not checked: Deno's own rejects now and then when the
// server's Close frame and the end of the connection come together.
await socket.close({ closeCode: 3002, reason: "seen enough" });

const broken = await open();
await assertRejects(() => broken.receive(), WebSocketConnectionError);

await open(); // does not read, and must not be flooded, until the test has seen enough
await Deno.stdin.read(new Uint8Array(1));

Deno.stdout.writeSync(new TextEncoder().encode(`WebSocketStream ${socket.protocol} ok\n`));
Deno.exit(0); // Deno's WebSocketStream cannot be dropped cleanly while it reads ahead (denoland/deno#27769).
