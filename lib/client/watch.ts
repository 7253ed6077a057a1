/**
 * Watching objects of the API server.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import { ApiError } from "./errors.ts";

/** What happened to an object (apimachinery `pkg/watch`). */
export interface WatchEvent<T> {
  /** What. `ERROR` carries a `Status`; a resource version that is too old ends a watch so. */
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  /** The object as it is now, or was. */
  readonly object: T;
}

/** Sends a request; the answer's body is not read yet. */
export type SendRequest = (
  path: string,
  options: { query?: URLSearchParams; signal?: AbortSignal },
) => Promise<Response>;

/**
 * The events of the objects at `path`, until the server ends the watch, which it does every few minutes. Where it does not,
 * since the link died, that is an error soon after.
 *
 * @throws {ApiError} If the server refuses, or sends what is no event or a far too large one. Whatever else it throws is
 * the connection's.
 */
export async function* watch<T>(
  request: SendRequest,
  path: string,
  query: Readonly<Record<string, string>>,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<T>> {
  const deadline = new AbortController();
  const stalled = () => deadline.abort(new PodwireError(`the watch of ${path} stalled`));
  const timer = setTimeout(stalled, WATCH_SECONDS * 1000 + GRACE);
  const until = AbortSignal.any([signal, deadline.signal]);
  try {
    const limits = { timeoutSeconds: String(WATCH_SECONDS), watch: "true" };
    const response = await request(path, { query: new URLSearchParams({ ...query, ...limits }), signal: until });
    if (!response.ok) throw await ApiError.from(response, { signal: until });
    const parts = response.body?.pipeThrough(new TextDecoderStream());
    let text = "";
    for await (const part of parts ?? []) {
      text += part;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        yield readEvent(text.slice(0, end), path);
        text = text.slice(end + 1);
      }
      if (text.length > MAX_EVENT) {
        throw new ApiError(200, { message: `watch event of ${path} is larger than ${MAX_EVENT} bytes` });
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Reads one line of a watch. */
function readEvent<T>(line: string, path: string): WatchEvent<T> {
  const wrong = (cause?: unknown) => new ApiError(200, { message: `malformed watch event of ${path}` }, { cause });
  let event: { readonly type?: unknown; readonly object?: { readonly metadata?: unknown } | null } | null;
  try {
    event = JSON.parse(line);
  } catch (cause) {
    throw wrong(cause);
  }
  const { type, object } = event ?? {};
  if (!EVENT_TYPES.some((known) => known === type) || typeof object !== "object" || !object) throw wrong();
  if (type !== "ERROR" && (typeof object.metadata !== "object" || !object.metadata)) throw wrong();
  return event as WatchEvent<T>;
}

const EVENT_TYPES: ReadonlyArray<WatchEvent<unknown>["type"]> = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"];

/** How long one watch may last, in seconds, and how much longer it is waited for, in milliseconds. */
const WATCH_SECONDS = 300;
const GRACE = 15_000;

/**
 * The largest watch event, in characters. etcd takes objects of 1.5 MiB, unless it is told to take larger ones, in a
 * form that is seldom half as long as their JSON. A list has no such limit, and brings what a watch cannot.
 */
const MAX_EVENT = 4 * 1024 * 1024;
