/** The gateway's metrics before Prometheus' own parser. Needs promtool: Debian's package prometheus. */
import { assertEquals } from "@std/assert";
import { GatewayMetrics } from "../../../lib/server/metrics.ts";

Deno.test("promtool finds nothing wrong with the gateway's metrics", async () => {
  const metrics = new GatewayMetrics();
  assertEquals(await check(metrics.text()), "");
  metrics.streamingRequest("exec", "proxied_to_kubelet");
  metrics.translatorRequest(200);
  metrics.tunnelRequest(101);
  metrics.kubeletRequest("attach", 500);
  metrics.streamOpened("exec", "translated_at_apiserver")();
  metrics.connections(3);
  metrics.bytes("sent", 2 ** 53);
  metrics.bytes("received", 1e21);
  metrics.failure('a "quoted"\\\nreason');
  metrics.request("GET", 200, 1e-9);
  metrics.request("POST", 0, 1e6);
  assertEquals(await check(metrics.text()), "");
});

/** What promtool has to say. */
async function check(text: string): Promise<string> {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command("promtool", {
      args: ["check", "metrics"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (cause) {
    throw new Error("this test needs promtool: install Debian's package prometheus", { cause });
  }
  await new Blob([text]).stream().pipeTo(child.stdin);
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}
