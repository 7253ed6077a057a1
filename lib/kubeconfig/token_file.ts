/**
 * A bearer token in a file that somebody else renews.
 *
 * @module
 */
import type { CredentialSource } from "./credentials.ts";
import { CredentialsError } from "./errors.ts";
import { explain, type HostEnvironment } from "./host.ts";
import { Secret } from "./secret.ts";

/** How long a token that was read is used, in milliseconds: client-go's minute less its leeway of ten seconds. */
const FRESH = 50_000;

/** Reads the file again when what it said is 50 seconds old; keeps the last good token when that fails. */
export class TokenFile implements CredentialSource {
  readonly #path: string;
  readonly #host: HostEnvironment;
  #token: Secret | undefined;
  #readAt = -Infinity;

  /** Takes the file, and a token for as long as the file cannot be read. */
  constructor(path: string, fallback: Secret | undefined, host: HostEnvironment) {
    this.#path = path;
    this.#token = fallback;
    this.#host = host;
  }

  /** See {@linkcode CredentialSource}. */
  async authorization(): Promise<string> {
    if (!this.#token || this.#host.now() - this.#readAt >= FRESH) {
      try {
        this.#token = new Secret(await this.#read());
        this.#readAt = this.#host.now();
      } catch (error) {
        if (!this.#token) throw error;
      }
    }
    return `Bearer ${this.#token.reveal()}`;
  }

  /** The next request reads the file. */
  invalidate(): void {
    this.#readAt = -Infinity;
  }

  async #read(): Promise<string> {
    let text: string;
    try {
      text = await this.#host.readTextFile(this.#path);
    } catch (error) {
      throw new CredentialsError(`failed to read token file "${this.#path}": ${explain(error)}`, { cause: error });
    }
    const token = text.trim();
    if (!token) throw new CredentialsError(`read empty token from file "${this.#path}"`);
    return token;
  }
}
