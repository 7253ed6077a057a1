/**
 * The certificates and keys of a relay.
 *
 * @module
 */
import { systemText } from "../bytes/mod.ts";
import type { Relay } from "./config.ts";
import { RelayError } from "./errors.ts";

/** The content of the files that a relay's TLS names, by their paths. */
export type TlsFiles = ReadonlyMap<string, string>;

/**
 * Reads a relay's certificates and keys.
 *
 * @throws {RelayError} If one cannot be read or is not PEM; none of its content is told.
 */
export async function readTlsFiles({ listen, target }: Relay): Promise<TlsFiles> {
  const files = new Map<string, string>();
  for (const [tls, end] of [[listen.tls, "listen"], [target.tls, "target"]] as const) {
    for (const [key, path] of Object.entries(tls ?? {})) {
      if (!key.endsWith("File")) continue;
      const where = `${end}.tls.${key}: ${path}`;
      const text = await Deno.readTextFile(path).catch((cause) => {
        throw new RelayError(`${where}: ${systemText(cause)}`, "listen", { cause });
      });
      const wanted = key === "keyFile" ? "PRIVATE KEY" : "CERTIFICATE";
      if (!new RegExp(`-----BEGIN [A-Z ]*${wanted}-----`).test(text)) {
        throw new RelayError(`${where}: there is no PEM ${wanted.toLowerCase()} in it`, "listen");
      }
      files.set(path, text);
    }
  }
  return files;
}
