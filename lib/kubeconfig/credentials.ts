/**
 * Credentials put together from where they come from.
 *
 * @module
 */
import type { ClientCertificate } from "../dial/mod.ts";
import type { Credentials } from "./access.ts";
import { CredentialsError } from "./errors.ts";

/** One way to credentials: a token, a file, a plugin. */
export interface CredentialSource {
  /** The value of the `Authorization` header. */
  authorization?(signal?: AbortSignal): Promise<string | undefined>;
  /** The client certificate. */
  certificate?(signal?: AbortSignal): Promise<ClientCertificate | undefined>;
  /** Forgets what is cached. */
  invalidate?(): void;
}

/** The first source that has an answer gives it; fixed headers come on top. */
export class CombinedCredentials implements Credentials {
  readonly #sources: readonly CredentialSource[];
  readonly #headers: ReadonlyArray<readonly [string, string]>;

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
      return [["Authorization", authorization], ...headers];
    }
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
  invalidate(): void {
    for (const source of this.#sources) source.invalidate?.();
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
