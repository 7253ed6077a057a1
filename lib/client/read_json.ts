/**
 * JSON out of an answer that should be nothing else.
 *
 * @module
 */
import { maskPath } from "../bytes/mod.ts";
import { ApiError } from "./errors.ts";

/**
 * The value in the body of `response`, which answers a request with `method` for `path`.
 *
 * @throws {ApiError} If it is not JSON: a login page in front of the server, say. Its code is the answer's.
 * @throws What broke the body.
 */
export async function readJson<T>(response: Response, method: string, path: string): Promise<T> {
  const text = await response.text();
  try {
    return JSON.parse(text) as T;
  } catch {
    // The parser's own words would quote the body, which may be a secret's.
    const [type = "no content type"] = (response.headers.get("content-type") ?? undefined)?.split(";") ?? [];
    const message = `the answer to ${method} ${maskPath(path.replace(/\?.*/, ""))} is not JSON (${type.trim()})`;
    throw new ApiError(response.status, { status: "Failure", message, code: response.status });
  }
}
