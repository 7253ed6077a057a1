import { assert, assertEquals, assertMatch } from "@std/assert";
import { GatewayMetrics, MAX_SERIES } from "../../lib/server/metrics.ts";

/** One line of values. */
interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Reads Prometheus' text format 0.0.4 and nothing else. */
function parse(text: string): { samples: Sample[]; types: Record<string, string> } {
  assert(text.endsWith("\n"));
  const types: Record<string, string> = {};
  const samples: Sample[] = [];
  let helped = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const [, help] = /^# HELP ([a-zA-Z_:][\w:]*) (?:[^\\\n]|\\\\|\\n)+$/.exec(line) ?? [];
    const [, typed = "", type = ""] = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (help) helped = help;
    else if (typed) {
      assertEquals(typed, helped);
      assert(!(typed in types), `${typed} is there twice`);
      types[typed] = type;
    } else {
      const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:e[-+]\d+)?)$/.exec(line);
      assert(match, line);
      const [, name = "", labels = "", value] = match;
      assertEquals(name.replace(types[helped] === "histogram" ? /_(bucket|sum|count)$/ : "", ""), helped);
      samples.push({ name, labels: parseLabels(labels), value: Number(value) });
    }
  }
  return { samples, types };
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  const label = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\n"])*)"(,|$)/y;
  while (label.lastIndex < text.length) {
    const match = label.exec(text);
    assert(match, text);
    const [, name = "", value = ""] = match;
    assert(!(name in labels));
    labels[name] = value.replace(/\\(.)/g, (_, character) => character === "n" ? "\n" : character);
  }
  return labels;
}

function find(
  { samples }: { samples: Sample[] },
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  const found = samples.filter((sample) =>
    sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value)
  );
  assert(found.length < 2, `${name} is there twice`);
  return found[0]?.value;
}

Deno.test("GatewayMetrics has every metric of Kubernetes 1.36 and of KEP-4006", () => {
  assertEquals(parse(new GatewayMetrics().text()).types, {
    apiserver_websocket_streaming_requests_total: "counter",
    apiserver_stream_translator_requests_total: "counter",
    apiserver_stream_tunnel_requests_total: "counter",
    kubelet_websocket_streaming_requests_total: "counter",
    num_ws_remote_command_v5_total: "counter",
    num_ws_port_forward_v2_total: "counter",
    apiserver_streaming_active_connections: "gauge",
    kubelet_streaming_websocket_requests_total: "counter",
    podwire_gateway_connections: "gauge",
    podwire_gateway_bytes_total: "counter",
    podwire_gateway_failures_total: "counter",
    podwire_gateway_request_duration_seconds: "histogram",
  });
});

Deno.test("GatewayMetrics counts", () => {
  const metrics = new GatewayMetrics();
  metrics.streamingRequest("exec", "proxied_to_kubelet");
  metrics.streamingRequest("exec", "proxied_to_kubelet");
  metrics.streamingRequest("portforward", "translated_at_apiserver");
  metrics.translatorRequest(200);
  metrics.translatorRequest(400);
  metrics.translatorRequest(500);
  metrics.tunnelRequest(101);
  metrics.kubeletRequest("attach", 101);
  metrics.connections(7);
  metrics.bytes("received", 1000);
  metrics.bytes("received", 24);
  metrics.failure("dial");
  const end = metrics.streamOpened("exec", "translated_at_apiserver");
  const stream = { subresource: "exec", proxy_type: "translated_or_tunneled" };
  const during = parse(metrics.text());
  assertEquals(find(during, "apiserver_streaming_active_connections", stream), 1);
  end();
  const after = parse(metrics.text());
  const rows: Array<[name: string, labels: Record<string, string>, value: number | undefined]> = [
    ["apiserver_websocket_streaming_requests_total", { subresource: "exec", proxy_type: "proxied_to_kubelet" }, 2],
    ["apiserver_websocket_streaming_requests_total", {
      subresource: "portforward",
      proxy_type: "translated_at_apiserver",
    }, 1],
    ["apiserver_stream_translator_requests_total", { code: "200" }, 1],
    ["apiserver_stream_translator_requests_total", { code: "500" }, 1],
    ["num_ws_remote_command_v5_total", { type: "success" }, 1],
    ["num_ws_remote_command_v5_total", { type: "failure" }, 2],
    ["apiserver_stream_tunnel_requests_total", { code: "101" }, 1],
    ["num_ws_port_forward_v2_total", { type: "success" }, 1],
    ["kubelet_websocket_streaming_requests_total", { subresource: "attach" }, 1],
    ["kubelet_streaming_websocket_requests_total", { subresource: "attach", result: "success" }, 1],
    ["apiserver_streaming_active_connections", stream, 0],
    ["podwire_gateway_connections", {}, 7],
    ["podwire_gateway_bytes_total", { direction: "received" }, 1024],
    ["podwire_gateway_bytes_total", { direction: "sent" }, undefined],
    ["podwire_gateway_failures_total", { reason: "dial" }, 1],
  ];
  for (const [name, labels, value] of rows) assertEquals(find(after, name, labels), value, name);
});

Deno.test("GatewayMetrics observes durations in buckets that add up", () => {
  const metrics = new GatewayMetrics();
  for (const seconds of [0.004, 0.005, 0.02, 3, 3600]) metrics.request("GET", 200, seconds);
  metrics.request("BREW", 99, 1);
  const parsed = parse(metrics.text());
  const name = "podwire_gateway_request_duration_seconds";
  const labels = { method: "GET", code: "200" };
  const bucket = (le: string) => find(parsed, `${name}_bucket`, { ...labels, le });
  assertEquals(["0.005", "0.025", "2.5", "5", "60", "+Inf"].map(bucket), [2, 3, 3, 4, 4, 5]);
  assertEquals(find(parsed, `${name}_count`, labels), 5);
  assertEquals(Math.round(find(parsed, `${name}_sum`, labels)!), 3603);
  assertEquals(find(parsed, `${name}_count`, { method: "other", code: "other" }), 1);
});

Deno.test("GatewayMetrics escapes labels, and keeps only so many", () => {
  const metrics = new GatewayMetrics();
  metrics.failure('a "quoted"\\\nreason');
  for (let i = 0; i < 2 * MAX_SERIES; i++) metrics.failure(`reason ${i}`);
  const parsed = parse(metrics.text());
  assertEquals(find(parsed, "podwire_gateway_failures_total", { reason: 'a "quoted"\\\nreason' }), 1);
  assertEquals(parsed.samples.length, MAX_SERIES);
  assertEquals(
    find(parsed, "podwire_gateway_failures_total", { reason: "other" }),
    2 * MAX_SERIES + 1 - (MAX_SERIES - 1),
  );
  assertMatch(metrics.text(), /reason="a \\"quoted\\"\\\\\\nreason"/);
});
