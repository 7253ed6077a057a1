/**
 * The `oidc` auth provider, as far as a token lasts.
 *
 * @module
 */
import type { CredentialSource } from "./credentials.ts";
import { CredentialsError, misconfigured } from "./errors.ts";
import type { HostEnvironment } from "./host.ts";
import type { Entry, KubeconfigUser } from "./kubeconfig.ts";
import type { Secret } from "./secret.ts";

/** A token counts as expired this many milliseconds early, as in client-go. */
const SKEW = 10_000;

/**
 * Uses the `id-token` until it expires. It is not refreshed: that hands out a new refresh token, which
 * must be written back into the kubeconfig, and kubectl and the plugins that followed `oidc` do that.
 */
export class OidcToken implements CredentialSource {
  readonly #token: Secret | undefined;
  readonly #expires: number | undefined;
  readonly #user: string;
  readonly #host: HostEnvironment;

  /**
   * Takes a user with an `auth-provider` of that name.
   *
   * @throws {ConfigError} when something is missing, or the `id-token` is not a JWT.
   */
  constructor(entry: Entry<KubeconfigUser>, config: ReadonlyMap<string, Secret>, host: HostEnvironment) {
    const position = entry.at("auth-provider");
    for (const key of ["idp-issuer-url", "client-id"]) {
      if (!config.get(key)?.reveal()) throw misconfigured(`Must provide ${key}`, position);
    }
    this.#user = entry.name;
    this.#host = host;
    this.#token = config.get("id-token");
    if (!this.#token?.reveal()) return;
    this.#expires = expiry(this.#token.reveal());
    if (this.#expires === undefined) throw misconfigured("ID Token is not a valid JWT", position);
  }

  /** See {@linkcode CredentialSource}. */
  authorization(): Promise<string> {
    if (this.#token && this.#expires !== undefined && this.#host.now() + SKEW < this.#expires) {
      return Promise.resolve(`Bearer ${this.#token.reveal()}`);
    }
    return Promise.reject(
      new CredentialsError(
        `the user "${this.#user}" has no valid id-token, and podwire does not refresh OIDC tokens: ` +
          "let kubectl renew it with any request (it writes the new one into the kubeconfig), or use an exec plugin",
      ),
    );
  }
}

/** When a JWT expires, in milliseconds since 1970; 0 when it does not say; `undefined` when it is not a JWT. */
function expiry(token: string): number | undefined {
  const parts = token.split(".");
  if (parts.length !== 3) return undefined;
  try {
    const claims: unknown = JSON.parse(atob((parts[1] ?? "").replaceAll("-", "+").replaceAll("_", "/")));
    if (typeof claims !== "object" || claims === null) return undefined;
    return "exp" in claims && typeof claims.exp === "number" ? claims.exp * 1000 : 0;
  } catch {
    return undefined; // The error's text would quote the token.
  }
}
