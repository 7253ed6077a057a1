/**
 * Lists of pods, and watches of them.
 *
 * @module
 */
import { MAX_DELAY } from "../bytes/mod.ts";
import { goJson } from "./go_json.ts";
import type { HttpResponse } from "./http.ts";
import { NODE_NAME, type PodBody, podList, podObject } from "./objects.ts";
import type { PodChange, PodStore } from "./pod_store.ts";
import type { Query } from "./query.ts";
import { parseFieldSelector, parseLabelSelector } from "./selectors.ts";
import { badRequest, StatusError } from "./status_error.ts";
import { podTable } from "./table.ts";

/** Which pods, and how. */
export interface PodListRequest {
  /** The namespace; absent for all. */
  readonly namespace?: string | undefined;
  /** Selectors and the options of a watch. */
  readonly query: Query;
  /** Whether the client wants tables. */
  readonly asTable: boolean;
}

/**
 * The pods that a request selects.
 *
 * @throws {StatusError} If a selector is malformed.
 */
export function listPods(store: PodStore, request: PodListRequest): Record<string, unknown> {
  const found = store.list().filter(selectPods(request));
  const version = String(store.version);
  return request.asTable ? podTable(found, version) : podList(found, version);
}

/**
 * What becomes of the pods that a request selects, as long as the client listens (apiserver
 * `pkg/endpoints/handlers/watch.go`).
 *
 * @throws {StatusError} If the request is malformed.
 */
export function watchPods(store: PodStore, request: PodListRequest, signal: AbortSignal): HttpResponse {
  const { query } = request;
  const seconds = parseNumber(query, "timeoutSeconds");
  const from = parseNumber(query, "resourceVersion");
  const timeout = seconds ? [AbortSignal.timeout(Math.min(seconds * 1000, MAX_DELAY))] : [];
  const over = AbortSignal.any([signal, ...timeout]);
  const headers = [["Cache-Control", "no-cache, private"], ["Content-Type", "application/json"]] as const;
  return { status: 200, headers, body: watchEvents(store, { ...request, matches: selectPods(request), from }, over) };
}

interface Watch extends PodListRequest {
  readonly matches: (pod: PodBody) => boolean;
  /** The version from which on changes are wanted; without one, all that is there counts as new. */
  readonly from: number | undefined;
}

async function* watchEvents(store: PodStore, watch: Watch, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { query, asTable, matches } = watch;
  const event = (type: string, object: unknown) => encoder.encode(`${goJson({ type, object })}\n`);
  const podEvent = (type: string, pod: PodBody) =>
    event(type, asTable ? podTable([pod], pod.metadata.resourceVersion) : podObject(pod));
  let version = watch.from || store.version;
  const initial = query.flag("sendInitialEvents");
  if (initial || !watch.from) {
    version = store.version;
    for (const pod of store.list().filter(matches)) yield podEvent("ADDED", pod);
  }
  if (initial && query.flag("allowWatchBookmarks")) {
    const metadata = { resourceVersion: String(version), annotations: { "k8s.io/initial-events-end": "true" } };
    yield event("BOOKMARK", { kind: "Pod", apiVersion: "v1", metadata });
  }
  for (;;) {
    let changes: readonly PodChange[];
    try {
      changes = store.since(version);
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      return yield event("ERROR", error.status);
    }
    for (const change of changes) {
      version = change.version;
      const type = eventType(change, matches);
      if (type) yield podEvent(type, change.after);
    }
    if (changes.length === 0 && !await store.changed(signal)) return;
  }
}

const encoder = new TextEncoder();

/** What a change means to whoever sees only the pods that match. */
function eventType({ before, after, gone }: PodChange, matches: (pod: PodBody) => boolean): string | undefined {
  const was = before !== undefined && matches(before);
  const is = !gone && matches(after);
  return was ? (is ? "MODIFIED" : "DELETED") : is ? "ADDED" : undefined;
}

function selectPods({ namespace, query }: PodListRequest): (pod: PodBody) => boolean {
  const byLabel = parseLabelSelector(query.get("labelSelector") ?? "");
  const byField = parseFieldSelector(query.get("fieldSelector") ?? "", Object.keys(podFields()));
  return (pod) =>
    (namespace === undefined || pod.metadata.namespace === namespace) && byLabel(pod.metadata.labels ?? {}) &&
    byField(podFields(pod));
}

/** The fields that pods can be selected by (kubernetes `pkg/registry/core/pod/strategy.go`). */
function podFields(pod?: PodBody): Record<string, string> {
  return {
    "metadata.name": pod?.metadata.name ?? "",
    "metadata.namespace": pod?.metadata.namespace ?? "",
    "spec.nodeName": NODE_NAME,
    "spec.restartPolicy": String(pod?.spec.restartPolicy),
    "status.phase": pod?.status.phase ?? "",
    "status.podIP": "127.0.0.1",
  };
}

/**
 * A whole number in the query.
 *
 * @throws {StatusError} If it is none.
 */
export function parseNumber(query: Query, name: string): number | undefined {
  const text = query.get(name) ?? "";
  if (text === "") return undefined;
  if (!/^-?\d{1,15}$/.test(text)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text);
}
