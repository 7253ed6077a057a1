/**
 * Server-side printing: the tables that `kubectl get` shows (meta.k8s.io/v1 Table).
 *
 * @module
 */
import { LIST_META, namespaceMetadata, NODE_NAME, podMetadata } from "./objects.ts";
import type { Pod } from "./pods.ts";

type Cell = string | number;

/** Whether an `Accept` header prefers a table: the first form in it that the host has (apimachinery's negotiation). */
export function wantsTable(accept: string | undefined): boolean {
  for (const form of (accept ?? "").split(",")) {
    const [type, ...parameters] = form.split(";").map((part) => part.trim());
    const kind = parameters.find((parameter) => parameter.startsWith("as="));
    if (type !== "application/json" && type !== "*/*") continue;
    if (kind === undefined) return false;
    if (kind === "as=Table" && parameters.includes("g=meta.k8s.io") && parameters.includes("v=v1")) return true;
  }
  return false;
}

/** Pods as a table (kubernetes `pkg/printers/internalversion`). */
export function podTable(pods: readonly Pod[], now: Date = new Date()): Record<string, unknown> {
  const columns = [
    column("Name", 0, "name"),
    column("Ready"),
    column("Status"),
    column("Restarts"),
    column("Age"),
    column("IP", 1),
    column("Node", 1),
    column("Nominated Node", 1),
    column("Readiness Gates", 1),
  ];
  const rows = pods.map((pod) => {
    const ready = pod.containers.filter((container) => container.state.type === "running").length;
    const cells = [
      pod.spec.name,
      `${ready}/${pod.containers.length}`,
      podStatus(pod),
      "0",
      humanDuration(now.getTime() - pod.createdAt.getTime()),
      "127.0.0.1",
      NODE_NAME,
      "<none>",
      "<none>",
    ];
    return row(cells, podMetadata(pod));
  });
  return table(columns, rows);
}

/** Namespaces as a table. */
export function namespaceTable(names: readonly string[]): Record<string, unknown> {
  const columns = [column("Name", 0, "name"), column("Status"), column("Age")];
  return table(columns, names.map((name) => row([name, "Active", "<unknown>"], namespaceMetadata(name))));
}

/** What kubectl shows as a pod's status: the phase, or why its containers ended. */
function podStatus(pod: Pod): string {
  if (pod.phase === "Running") return "Running";
  for (const { state } of pod.containers) {
    if (state.type === "terminated" && state.reason !== "Completed") return state.reason;
  }
  return "Completed";
}

function table(columnDefinitions: readonly unknown[], rows: readonly unknown[]): Record<string, unknown> {
  return { kind: "Table", apiVersion: "meta.k8s.io/v1", metadata: LIST_META, columnDefinitions, rows };
}

function column(name: string, priority = 0, format = ""): Record<string, unknown> {
  return { name, type: "string", format, description: "", priority };
}

function row(cells: readonly Cell[], metadata: unknown): Record<string, unknown> {
  return { cells, object: { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata } };
}

/** An age as kubectl writes it (apimachinery `util/duration`.HumanDuration). */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 0) return "0s";
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return two(minutes, "m", seconds % 60, "s");
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return two(hours, "h", minutes % 60, "m");
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (hours < 192) return two(days, "d", hours % 24, "h");
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 ? two(years, "y", days % 365, "d") : `${years}y`;
}

function two(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;
}
