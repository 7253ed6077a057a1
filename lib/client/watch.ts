/**
 * Watching objects of the API server.
 *
 * @module
 */
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
 * The events of the objects at `path`, until the server ends the watch, which it does every few minutes.
 *
 * @throws {ApiError} If the server refuses.
 */
export async function* watch<T>(
  request: SendRequest,
  path: string,
  query: Readonly<Record<string, string>>,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<T>> {
  const response = await request(path, { query: new URLSearchParams({ ...query, watch: "true" }), signal });
  if (!response.ok) throw await ApiError.from(response, { signal });
  const parts = response.body?.pipeThrough(new TextDecoderStream());
  let text = "";
  for await (const part of parts ?? []) {
    text += part;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield JSON.parse(text.slice(0, end)) as WatchEvent<T>;
      text = text.slice(end + 1);
    }
    if (text.length > MAX_EVENT) {
      throw new ApiError(200, { message: `watch event of ${path} is larger than ${MAX_EVENT} bytes` });
    }
  }
}

/** The largest watch event in bytes: etcd's own limit on an object is 1.5 MiB. */
const MAX_EVENT = 4 * 1024 * 1024;
