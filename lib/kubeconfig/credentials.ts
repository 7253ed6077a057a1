/**
 * Credentials put together from where they come from.
 *
 * @module
 */
import type { ClientCertificate, HeaderFields } from "../dial/mod.ts";
import type { Credentials } from "./access.ts";
import { CredentialsError } from "./errors.ts";

/** One way to credentials: a token, a file, a plugin. */
export interface CredentialSource {
  /** The value of the `Authorization` header. */
  authorization?(signal?: AbortSignal): Promise<string | undefined>;
  /** The client certificate. */
  certificate?(signal?: AbortSignal): Promise<ClientCertificate | undefined>;
  /** What is cached now, to tell it from what comes later. */
  cached?(): unknown;
  /** Forgets what is cached; if `refused` is given, only that. */
  invalidate?(refused?: unknown): void;
}

/** The first source that has an answer gives it; fixed headers come on top. */
export class CombinedCredentials implements Credentials {
  readonly #sources: readonly CredentialSource[];
  readonly #headers: ReadonlyArray<readonly [string, string]>;
  /** What each source had cached for the headers that were given out. */
  readonly #given = new WeakMap<HeaderFields, readonly unknown[]>();

  /** Takes the sources in their order, and headers such as `Impersonate-User`. */
  constructor(sources: readonly CredentialSource[], headers: ReadonlyArray<readonly [string, string]>) {
    this.#sources = sources;
    this.#headers = headers;
    for (const [name, value] of headers) checkHeader(name, value);
  }

  /** See {@linkcode Credentials}. */
  async headers(options: { readonly signal?: AbortSignal } = {}): Promise<Array<[name: string, value: string]>> {
    const headers = this.#headers.map(([name, value]): [string, string] => [name, value]);
    for (const source of this.#sources) {
      const authorization = await source.authorization?.(options.signal);
      if (authorization === undefined) continue;
      checkHeader("Authorization", authorization);
      headers.unshift(["Authorization", authorization]);
      break;
    }
    this.#given.set(headers, this.#sources.map((source) => source.cached?.()));
    return headers;
  }

  /** See {@linkcode Credentials}. */
  async clientCertificate(options: { readonly signal?: AbortSignal } = {}): Promise<ClientCertificate | undefined> {
    for (const source of this.#sources) {
      const certificate = await source.certificate?.(options.signal);
      if (certificate) return certificate;
    }
    return undefined;
  }

  /** See {@linkcode Credentials}. */
  invalidate(refused?: HeaderFields): void {
    const given = refused && this.#given.get(refused);
    for (const [i, source] of this.#sources.entries()) source.invalidate?.(given?.[i]);
  }
}

/** Basic authentication (RFC 7617), the text as UTF-8. */
export function basicAuthorization(username: string, password: string): string {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))}`;
}

/** A line break in a token would let it write headers of its own. */
function checkHeader(name: string, value: string): void {
  // deno-lint-ignore no-control-regex -- control characters are what must not be there (RFC 9110, 5.5)
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(value)) {
    throw new CredentialsError(`the value for the header ${name} contains a line break or control character`);
  }
}
