/**
 * What a gateway counts, in Prometheus' text format 0.0.4.
 *
 * @module
 */

/** The media type of {@linkcode GatewayMetrics.text}. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Which of Kubernetes' stream requests. */
export type StreamSubresource = "exec" | "attach" | "portforward";

/** How an API server passes a stream on: as it is, or as another wire. */
export type ProxyType = "proxied_to_kubelet" | "translated_at_apiserver";

/**
 * The metrics of one gateway: Kubernetes' own for streams, under the names that Kubernetes 1.36 has and those in the text of
 * KEP-4006, which differ, and podwire's.
 *
 * Labels have few values: of each metric no more than {@linkcode MAX_SERIES} series are kept, and what would be further ones is counted
 * as `other`.
 *
 * @example
 * ```ts
 * import { GatewayMetrics } from "@podwire/podwire/server";
 *
 * const metrics = new GatewayMetrics();
 * metrics.request("GET", 200, 0.012);
 * console.log(metrics.text());
 * ```
 */
export class GatewayMetrics {
  readonly #streaming = new Metric(
    "apiserver_websocket_streaming_requests_total",
    "counter",
    "Requests for exec, attach and port-forward, by how they were passed on.",
    ["subresource", "proxy_type"],
  );
  readonly #translator = new Metric(
    "apiserver_stream_translator_requests_total",
    "counter",
    "Sessions of exec and attach that were translated, by HTTP status.",
    ["code"],
  );
  readonly #tunnel = new Metric(
    "apiserver_stream_tunnel_requests_total",
    "counter",
    "Port-forwards in a WebSocket that were translated, by HTTP status.",
    ["code"],
  );
  readonly #kubelet = new Metric(
    "kubelet_websocket_streaming_requests_total",
    "counter",
    "Requests for exec, attach and port-forward over WebSockets that a kubelet takes.",
    ["subresource"],
  );
  readonly #kepCommand = new Metric(
    "num_ws_remote_command_v5_total",
    "counter",
    "Sessions of exec and attach over v5.channel.k8s.io (KEP-4006).",
    ["type"],
  );
  readonly #kepForward = new Metric(
    "num_ws_port_forward_v2_total",
    "counter",
    "Port-forwards in a WebSocket (KEP-4006).",
    ["type"],
  );
  readonly #kepActive = new Metric(
    "apiserver_streaming_active_connections",
    "gauge",
    "Streams under way (KEP-4006).",
    ["subresource", "proxy_type"],
  );
  readonly #kepKubelet = new Metric(
    "kubelet_streaming_websocket_requests_total",
    "counter",
    "Requests for exec, attach and port-forward over WebSockets that a kubelet took (KEP-4006).",
    ["subresource", "result"],
  );
  readonly #connections = new Metric("podwire_gateway_connections", "gauge", "Connections of clients.", []);
  readonly #bytes = new Metric(
    "podwire_gateway_bytes_total",
    "counter",
    "Bytes of bodies and streams: received from clients, sent to them.",
    ["direction"],
  );
  readonly #failures = new Metric("podwire_gateway_failures_total", "counter", "Requests that failed, by why.", [
    "reason",
  ]);
  readonly #durations = new Histogram(
    "podwire_gateway_request_duration_seconds",
    "How long requests took.",
    ["method", "code"],
    [0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60],
  );

  /** A request for exec, attach or port-forward. */
  streamingRequest(subresource: string, proxyType: ProxyType): void {
    this.#streaming.add([subresource, proxyType], 1);
  }

  /** An exec or attach over v5 was translated. */
  translatorRequest(code: number): void {
    this.#translator.add([codeLabel(code)], 1);
    this.#kepCommand.add([resultLabel(code)], 1);
  }

  /** A port-forward in a WebSocket was translated. */
  tunnelRequest(code: number): void {
    this.#tunnel.add([codeLabel(code)], 1);
    this.#kepForward.add([resultLabel(code)], 1);
  }

  /** A request over a WebSocket, where the gateway stands in for a kubelet: in front of a container runtime. */
  kubeletRequest(subresource: StreamSubresource, code: number): void {
    this.#kubelet.add([subresource], 1);
    this.#kepKubelet.add([subresource, resultLabel(code)], 1);
  }

  /** A stream has begun. Call what is returned once when it is over. */
  streamOpened(subresource: string, proxyType: ProxyType): () => void {
    const labels = [subresource, proxyType === "proxied_to_kubelet" ? "proxied" : "translated_or_tunneled"];
    this.#kepActive.add(labels, 1);
    return () => this.#kepActive.add(labels, -1);
  }

  /** How many connections are open now. */
  connections(count: number): void {
    this.#connections.set([], count);
  }

  /** Bytes that clients sent or got. */
  bytes(direction: "received" | "sent", count: number): void {
    this.#bytes.add([direction], count);
  }

  /** A request is over. */
  request(method: string, code: number, seconds: number): void {
    this.#durations.observe([METHODS.has(method) ? method : OTHER, codeLabel(code)], seconds);
  }

  /** A request failed; `reason` is a word such as `dial`, not a text. */
  failure(reason: string): void {
    this.#failures.add([reason], 1);
  }

  /** All of it. */
  text(): string {
    return [
      this.#streaming,
      this.#translator,
      this.#tunnel,
      this.#kubelet,
      this.#kepCommand,
      this.#kepForward,
      this.#kepActive,
      this.#kepKubelet,
      this.#connections,
      this.#bytes,
      this.#failures,
      this.#durations,
    ].map((metric) => metric.text()).join("");
  }
}

/** Series of one metric at most. */
export const MAX_SERIES = 100;

/** What the label of a series too many says. */
const OTHER = "other";

const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** An HTTP status, or nothing that was one. */
function codeLabel(code: number): string {
  return Number.isInteger(code) && code >= 100 && code <= 599 ? String(code) : OTHER;
}

function resultLabel(code: number): "success" | "failure" {
  return code >= 100 && code < 400 ? "success" : "failure";
}

/** A value for each set of labels that has been seen. */
class Series<T> {
  readonly #values = new Map<string, T>();
  readonly #labels: readonly string[];
  readonly #make: () => T;

  constructor(labels: readonly string[], make: () => T) {
    this.#labels = labels;
    this.#make = make;
  }

  /** The key of these labels' series, which is how they are written. */
  key(values: readonly string[]): string {
    const key = this.#key(values);
    const fits = this.#values.has(key) || this.#values.size < MAX_SERIES - 1;
    return fits ? key : this.#key(this.#labels.map(() => OTHER));
  }

  get(key: string): T {
    return this.#values.get(key) ?? this.#make();
  }

  set(key: string, value: T): void {
    this.#values.set(key, value);
  }

  [Symbol.iterator](): Iterator<[string, T]> {
    return this.#values[Symbol.iterator]();
  }

  #key(values: readonly string[]): string {
    return this.#labels.map((label, i) => `${label}="${escapeLabel(values[i] ?? "")}"`).join(",");
  }
}

class Metric {
  readonly #name: string;
  readonly #head: string;
  readonly #series: Series<number>;

  constructor(name: string, type: "counter" | "gauge", help: string, labels: readonly string[]) {
    this.#name = name;
    this.#head = head(name, type, help);
    this.#series = new Series(labels, () => 0);
  }

  add(labels: readonly string[], amount: number): void {
    const key = this.#series.key(labels);
    this.#series.set(key, this.#series.get(key) + amount);
  }

  set(labels: readonly string[], value: number): void {
    this.#series.set(this.#series.key(labels), value);
  }

  text(): string {
    return this.#head + [...this.#series].map(([key, value]) => line(this.#name, key, value)).join("");
  }
}

/** Counts per bucket, and the sum of what was observed. */
interface Observations {
  readonly counts: number[];
  sum: number;
}

class Histogram {
  readonly #name: string;
  readonly #head: string;
  readonly #bounds: readonly number[];
  readonly #series: Series<Observations>;

  constructor(name: string, help: string, labels: readonly string[], bounds: readonly number[]) {
    this.#name = name;
    this.#head = head(name, "histogram", help);
    this.#bounds = [...bounds, Infinity];
    this.#series = new Series(labels, () => ({ counts: this.#bounds.map(() => 0), sum: 0 }));
  }

  observe(labels: readonly string[], value: number): void {
    const key = this.#series.key(labels);
    const observations = this.#series.get(key);
    this.#bounds.forEach((bound, i) => {
      if (value <= bound) observations.counts[i]!++;
    });
    observations.sum += value;
    this.#series.set(key, observations);
  }

  text(): string {
    return this.#head + [...this.#series].map(([key, { counts, sum }]) =>
      this.#bounds.map((bound, i) => {
        const le = `le="${bound === Infinity ? "+Inf" : bound}"`;
        return line(`${this.#name}_bucket`, key === "" ? le : `${key},${le}`, counts[i]!);
      }).join("") + line(`${this.#name}_sum`, key, sum) + line(`${this.#name}_count`, key, counts.at(-1)!)
    ).join("");
  }
}

function head(name: string, type: string, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

function line(name: string, labels: string, value: number): string {
  return `${name}${labels === "" ? "" : `{${labels}}`} ${value}\n`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
