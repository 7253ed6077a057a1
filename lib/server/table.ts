/**
 * Server-side printing: the tables that `kubectl get` shows (meta.k8s.io/v1 Table).
 *
 * @module
 */
import { type ContainerStatus, LIST_META, namespaceMetadata, NODE_NAME, type PodBody } from "./objects.ts";

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
export function podTable(
  pods: readonly PodBody[],
  resourceVersion: string,
  now: Date = new Date(),
): Record<string, unknown> {
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
  const rows = pods.map(({ metadata, status }) => {
    const { containerStatuses } = status;
    const cells = [
      metadata.name,
      `${containerStatuses.filter(({ ready }) => ready).length}/${containerStatuses.length}`,
      metadata.deletionTimestamp !== undefined && status.phase === "Running" ? "Terminating" : podStatus(status),
      podRestarts(containerStatuses, now),
      age(metadata.creationTimestamp, now),
      "127.0.0.1",
      NODE_NAME,
      "<none>",
      "<none>",
    ];
    return row(cells, metadata);
  });
  return table(columns, rows, { resourceVersion });
}

/** Namespaces as a table. */
export function namespaceTable(names: readonly string[]): Record<string, unknown> {
  const columns = [column("Name", 0, "name"), column("Status"), column("Age")];
  return table(columns, names.map((name) => row([name, "Active", "<unknown>"], namespaceMetadata(name))));
}

/** What kubectl shows as a pod's status: why the first of its containers does not run, or the phase. */
function podStatus({ phase, containerStatuses }: PodBody["status"]): string {
  const reasons = containerStatuses.map(({ state }) => state.waiting?.reason ?? state.terminated?.reason);
  const reason = reasons.find((reason) => reason !== undefined);
  if (reason === undefined) return phase;
  return reason === "Completed" && containerStatuses.some(({ ready }) => ready) ? "NotReady" : reason;
}

function podRestarts(statuses: readonly ContainerStatus[], now: Date): string {
  const count = statuses.reduce((sum, { restartCount }) => sum + restartCount, 0);
  const last = statuses.flatMap(({ lastState }) => lastState.terminated?.finishedAt ?? []).sort().at(-1);
  return last === undefined ? String(count) : `${count} (${age(last, now)} ago)`;
}

function age(time: string, now: Date): string {
  return humanDuration(now.getTime() - Date.parse(time));
}

function table(
  columnDefinitions: readonly unknown[],
  rows: readonly unknown[],
  metadata: { readonly resourceVersion: string } = LIST_META,
): Record<string, unknown> {
  return { kind: "Table", apiVersion: "meta.k8s.io/v1", metadata, columnDefinitions, rows };
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
