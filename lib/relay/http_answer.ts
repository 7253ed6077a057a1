/**
 * Answers of HTTP/1.1, as they go out.
 *
 * @module
 */
import { concat } from "../bytes/mod.ts";
import { encodeResponseHead } from "../dial/mod.ts";

/** An answer that is not the target's but this process's own: a text. */
export interface OwnAnswer {
  /** Its code and what that is called. */
  readonly status: readonly [code: number, reason: string];
  /** Its body. */
  readonly text: string;
  /** The body's media type; plain text, if absent. */
  readonly type?: string;
}

/** Encodes `answer` to a request with `method`, with an end of the connection unless it is to be kept. */
export function encodeAnswer({ status, text, type }: OwnAnswer, method: string, keepAlive: boolean): Uint8Array {
  const body = new TextEncoder().encode(text);
  const [code, reason] = status;
  const head = encodeResponseHead(code, reason, [
    ["Date", new Date().toUTCString()],
    ["Content-Type", type ?? "text/plain; charset=utf-8"],
    ["Content-Length", String(body.length)],
    ...(code === 405 ? [["Allow", "GET, HEAD"] as const] : []),
    ...(keepAlive ? [] : [["Connection", "close"] as const]),
  ]);
  return method === "HEAD" ? head : concat([head, body]);
}
