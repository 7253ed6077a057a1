/**
 * The certificates and keys of a relay.
 *
 * @module
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { systemText } from "../bytes/mod.ts";
import type { Relay } from "./config.ts";
import { RelayError } from "./errors.ts";

/** The content of the files that a relay's TLS names, by their paths. */
export type TlsFiles = ReadonlyMap<string, string>;

/** A file of a relay's TLS cannot be used. */
export class TlsFileError extends RelayError {
  /** The class's name. */
  override name = "TlsFileError";
  /** The relay. */
  readonly relay: string;
  /** The key that names the file: `listen.tls.certFile`. */
  readonly key: string;
  /** What is wrong, after the file's path. */
  readonly text: string;

  /** An error for what `key` of `relay` names. */
  constructor(relay: string, key: string, text: string, options?: ErrorOptions) {
    super(`${key}: ${text}`, "listen", options);
    this.relay = relay;
    this.key = key;
    this.text = text;
  }
}

/**
 * Reads a relay's certificates and keys, and sees that TLS can be spoken with them.
 *
 * @throws {TlsFileError} If one cannot be read or is not PEM, or a key is not its certificate's; none of its content is told.
 */
export async function readTlsFiles({ name, listen, target }: Relay): Promise<TlsFiles> {
  const files = new Map<string, string>();
  for (const [tls, end] of [[listen.tls, "listen"], [target.tls, "target"]] as const) {
    const wrong = (key: string, text: string, cause?: unknown) =>
      new TlsFileError(name, `${end}.tls.${key}`, text, { cause });
    let certificate: X509Certificate | undefined;
    for (const [key, path] of Object.entries(tls ?? {})) {
      if (!key.endsWith("File")) continue;
      const text = await Deno.readTextFile(path).catch((cause) => {
        throw wrong(key, `${path}: ${systemText(cause)}`, cause);
      });
      try {
        if (key === "keyFile") readKey(text);
        else if (key === "certFile") [certificate] = readCertificates(text);
        else readCertificates(text);
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        throw wrong(key, `${path}: ${error.message}`, error.cause);
      }
      files.set(path, text);
    }
    if (!certificate || !tls?.keyFile) continue;
    if (!certificate.checkPrivateKey(readKey(files.get(tls.keyFile) ?? ""))) {
      throw wrong("keyFile", `${tls.keyFile}: is not the key of the certificate in ${tls.certFile}`);
    }
  }
  return files;
}

/** The certificates of a PEM file, of which there is at least one. */
function readCertificates(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/g);
  if (!blocks) throw new SyntaxError("there is no PEM certificate in it");
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      throw new SyntaxError(`its ${index === 0 ? "" : `${index + 1}. `}certificate cannot be read`, { cause });
    }
  });
}

/** The private key of a PEM file, in which there may be more. */
function readKey(pem: string): KeyObject {
  const [block] = /-----BEGIN ([A-Z ]*PRIVATE KEY)-----[^]*?-----END \1-----/.exec(pem) ?? [];
  if (block === undefined) throw new SyntaxError("there is no PEM private key in it");
  try {
    return createPrivateKey(block);
  } catch (cause) {
    throw new SyntaxError("its private key cannot be read, or needs a password", { cause });
  }
}
