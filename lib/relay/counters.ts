/**
 * What relays count, and how Prometheus reads it.
 *
 * @module
 */
import type { Reason } from "./errors.ts";

/** The counters of one relay; they only grow, also when it is changed or restarted. */
export class Counters {
  /** Connections accepted, or flows of datagrams begun. */
  connections = 0;
  /** Bytes from the listening side to the target. */
  bytesOut = 0;
  /** Bytes from the target to the listening side. */
  bytesBack = 0;
  /** Datagrams from the listening side to the target. */
  datagramsOut = 0;
  /** Datagrams from the target to the listening side. */
  datagramsBack = 0;
  /** What did not get through, by reason. */
  readonly errors: Map<Reason, number> = new Map();

  /** Counts a failure, or several. */
  fail(reason: Reason, times = 1): void {
    this.errors.set(reason, (this.errors.get(reason) ?? 0) + times);
  }
}

/** One relay, for the metrics. */
export interface Measured {
  /** Its name. */
  readonly name: string;
  /** Whether it listens. */
  readonly up: boolean;
  /** Connections or flows that are open. */
  readonly open: number;
  /** Its counters. */
  readonly counters: Counters;
}

/** Configurations read while running. */
export interface Reloads {
  /** How many were taken. */
  good: number;
  /** How many were refused. */
  bad: number;
  /** Whether the last one was taken. */
  lastGood: boolean;
}

/** Prometheus' text format 0.0.4. */
export function formatMetrics(relays: readonly Measured[], reloads: Reloads): string {
  const families = FAMILIES.map(([name, type, help, samples]) => {
    const lines = relays.flatMap((relay) =>
      samples(relay).map(([labels, value]) => `${PREFIX}${name}{relay="${relay.name}"${labels}} ${value}\n`)
    );
    return `# HELP ${PREFIX}${name} ${help}\n# TYPE ${PREFIX}${name} ${type}\n${lines.join("")}`;
  });
  return families.join("") +
    `# HELP ${PREFIX}reloads_total Configurations read while running.\n# TYPE ${PREFIX}reloads_total counter\n` +
    `${PREFIX}reloads_total{result="good"} ${reloads.good}\n${PREFIX}reloads_total{result="bad"} ${reloads.bad}\n` +
    `# HELP ${PREFIX}last_reload_good Whether the configuration that was read last is in use.\n` +
    `# TYPE ${PREFIX}last_reload_good gauge\n${PREFIX}last_reload_good ${Number(reloads.lastGood)}\n`;
}

const PREFIX = "podwire_relay_";

type Family = readonly [
  name: string,
  type: "counter" | "gauge",
  help: string,
  samples: (relay: Measured) => Array<readonly [labels: string, value: number]>,
];

const FAMILIES: readonly Family[] = [
  ["up", "gauge", "Whether the relay listens.", ({ up }) => [["", Number(up)]]],
  ["connections", "gauge", "Connections or flows of datagrams that are open.", ({ open }) => [["", open]]],
  ["connections_total", "counter", "Connections accepted or flows of datagrams begun.", ({ counters }) => [
    ["", counters.connections],
  ]],
  ["bytes_total", "counter", "Bytes passed on, to the target or from it.", ({ counters }) => [
    [`,direction="to"`, counters.bytesOut],
    [`,direction="from"`, counters.bytesBack],
  ]],
  ["datagrams_total", "counter", "Datagrams passed on, to the target or from it.", ({ counters }) => [
    [`,direction="to"`, counters.datagramsOut],
    [`,direction="from"`, counters.datagramsBack],
  ]],
  [
    "errors_total",
    "counter",
    "Connections, requests or datagrams that did not get through.",
    ({ counters }) => [...counters.errors].map(([reason, count]) => [`,reason="${reason}"`, count] as const),
  ],
];
