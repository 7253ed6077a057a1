/**
 * The log of a container, as a response or as the messages of a WebSocket.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import { webSocketProtocols } from "./access.ts";
import type { Container } from "./container.ts";
import type { LogEntry } from "./container_log.ts";
import type { HttpRequest, HttpResponse } from "./http.ts";
import { parseNumber } from "./pod_list.ts";
import type { Query } from "./query.ts";
import { badRequest, StatusError } from "./status_error.ts";
import { type UpgradableConnection, upgradeToWebSocket } from "./upgrade.ts";

/** A log that a request may read. */
export class LogStream {
  readonly #body: (signal: AbortSignal) => AsyncIterable<Uint8Array>;

  /** What `body` gives. */
  private constructor(body: (signal: AbortSignal) => AsyncIterable<Uint8Array>) {
    this.#body = body;
  }

  /**
   * The log of `container` as the query wants it (core/v1 `PodLogOptions`).
   *
   * @throws {StatusError} If it wants what is not there, or is malformed.
   */
  static of(container: Container, pod: string, query: Query): LogStream {
    const follow = query.flag("follow");
    const tail = numberFrom(0, query, "tailLines", pod);
    const limit = numberFrom(1, query, "limitBytes", pod);
    const since = sinceWhen(query, pod);
    const timestamps = query.flag("timestamps");
    const log = query.flag("previous") ? container.previousLog : container.log;
    if (!log) {
      throw badRequest(`previous terminated container "${container.spec.name}" in pod "${pod}" not found`);
    }
    return new LogStream((signal) => format(log.read({ follow, tail, since, signal }), timestamps, limit));
  }

  /** The response with the log. */
  response(signal: AbortSignal): HttpResponse {
    return {
      status: 200,
      headers: [["Cache-Control", "no-cache, private"], ["Content-Type", "text/plain"]],
      body: this.#body(signal),
    };
  }

  /** Sends it by the protocol from before there were channels: a message of nothing, then the log (apimachinery `wsstream.Reader`). */
  async sendMessages(connection: UpgradableConnection, request: HttpRequest): Promise<void> {
    const offered = webSocketProtocols(request);
    const socket = await upgradeToWebSocket(connection, request, offered, ["binary.k8s.io", BASE64_PROTOCOL, ""]);
    if (!socket) return;
    const gone = new AbortController();
    const ignoreInput = async () => {
      while (await socket.receive() !== undefined);
    };
    // However it goes, nobody listens any more then.
    const ignored = ignoreInput().catch(() => {}).finally(() => gone.abort());
    const isBase64 = socket.protocol === BASE64_PROTOCOL;
    const send = (data: Uint8Array) => isBase64 ? socket.send(data.toBase64()) : socket.send(data);
    try {
      await send(new Uint8Array(0));
      for await (const data of this.#body(gone.signal)) await send(data);
      await socket.close();
    } catch (error) {
      socket.abort(error); // The client has gone in the middle of something.
      if (!(error instanceof PodwireError)) throw error;
    } finally {
      await ignored;
    }
  }
}

const BASE64_PROTOCOL = "base64.binary.k8s.io";

async function* format(
  batches: AsyncIterable<readonly LogEntry[]>,
  timestamps: boolean,
  limit = Infinity,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  for await (const batch of batches) {
    const parts = batch.flatMap(({ time, data, starts }) =>
      timestamps && starts ? [encoder.encode(`${time.toISOString()} `), data] : [data]
    );
    const text = new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
    yield text.subarray(0, limit);
    limit -= text.length;
    if (limit <= 0) return;
  }
}

function numberFrom(least: 0 | 1, query: Query, name: string, pod: string): number | undefined {
  const value = parseNumber(query, name);
  if (value === undefined || value >= least) return value;
  const must = least === 0 ? "must be greater than or equal to 0" : "must be greater than 0";
  throw invalid(pod, `${name}: Invalid value: ${value}: ${must}`);
}

function sinceWhen(query: Query, pod: string): Date | undefined {
  const seconds = numberFrom(1, query, "sinceSeconds", pod);
  const time = query.get("sinceTime") ?? "";
  if (time === "") return seconds === undefined ? undefined : new Date(Date.now() - seconds * 1000);
  if (seconds !== undefined) throw invalid(pod, "at most one of `sinceTime` or `sinceSeconds` may be specified");
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) {
    throw badRequest(`sinceTime: ${JSON.stringify(time)} is no time as RFC 3339 has it`);
  }
  return date;
}

function invalid(pod: string, what: string): StatusError {
  return new StatusError(422, "Invalid", `PodLogOptions ${JSON.stringify(pod)} is invalid: ${what}`, {
    name: pod,
    kind: "PodLogOptions",
  });
}
