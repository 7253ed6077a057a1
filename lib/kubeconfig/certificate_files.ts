/**
 * A client certificate and its key, each as text or in a file.
 *
 * @module
 */
import type { ClientCertificate } from "../dial/mod.ts";
import type { CredentialSource } from "./credentials.ts";
import { CredentialsError } from "./errors.ts";
import { explain, type HostEnvironment } from "./host.ts";
import type { Secret } from "./secret.ts";

/** Where one half of the pair is: PEM, or a file with it. */
export type PemSource = { readonly data: Secret } | { readonly file: string };

/** Reads the files for every new connection, so that renewed ones are used at once. */
export class CertificateFiles implements CredentialSource {
  readonly #cert: PemSource;
  readonly #key: PemSource;
  readonly #host: HostEnvironment;

  /** Takes both halves. */
  constructor(cert: PemSource, key: PemSource, host: HostEnvironment) {
    this.#cert = cert;
    this.#key = key;
    this.#host = host;
  }

  /** See {@linkcode CredentialSource}. */
  async certificate(): Promise<ClientCertificate> {
    const [cert, key] = await Promise.all([
      this.#read(this.#cert, "client certificate"),
      this.#read(this.#key, "client key"),
    ]);
    return { cert, key };
  }

  async #read(source: PemSource, what: string): Promise<string> {
    const pem = "data" in source ? source.data.reveal() : await this.#readFile(source.file, what);
    if (!isPem(pem)) throw new CredentialsError(`failed to find any PEM data in the ${what}`);
    return pem;
  }

  async #readFile(file: string, what: string): Promise<string> {
    try {
      return await this.#host.readTextFile(file);
    } catch (error) {
      throw new CredentialsError(`failed to read the ${what} ${file}: ${explain(error)}`, { cause: error });
    }
  }
}

/** Whether a text has anything in PEM in it; whether that is any good, only a handshake can tell. */
export function isPem(text: string): boolean {
  return text.includes("-----BEGIN ");
}
