import { assertEquals } from "@std/assert";
import { wireText } from "../../lib/cli/pod_session.ts";
import { UpgradeError } from "../../lib/client/mod.ts";

const refused = (code: number, statusText: string, body = "") =>
  new UpgradeError({ code, statusText, body, resource: "pods/exec", wire: "websocket" });

Deno.test("wireText() tells the wire, and why it is not the first one", () => {
  const spdy = { wire: "spdy", protocol: "v4.channel.k8s.io" } as const;
  assertEquals(
    wireText({ wire: "websocket", protocol: "v5.channel.k8s.io", refused: undefined }),
    "WebSocket, v5.channel.k8s.io",
  );
  assertEquals(wireText({ ...spdy, refused: undefined }), "SPDY/3.1, v4.channel.k8s.io");
  assertEquals(
    wireText({ ...spdy, refused: refused(403, "Forbidden") }),
    "SPDY/3.1, v4.channel.k8s.io (after WebSocket was refused: 403 Forbidden)",
  );
  assertEquals(
    wireText({ ...spdy, refused: refused(101, "", "invalid protocol") }),
    "SPDY/3.1, v4.channel.k8s.io (after WebSocket was refused: unable to upgrade connection: invalid protocol)",
  );
});
