/**
 * A certificate for a server that only this machine talks to, and only for as long as it runs.
 *
 * @module
 */
import type { ServerCertificate } from "./listener.ts";

/**
 * A new key and a certificate for `localhost`, `127.0.0.1` and `::1` that it signs itself (RFC 5280), good for a year. Whoever is to trust
 * it is given the certificate, as `certificate-authority-data` of a kubeconfig.
 *
 * @example
 * ```ts
 * import { selfSignedCertificate } from "@podwire/podwire/server";
 *
 * const { cert, key } = await selfSignedCertificate();
 * using listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key });
 * ```
 */
export async function selfSignedCertificate(): Promise<ServerCertificate> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const { publicKey, privateKey } = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const content = toBeSigned(new Uint8Array(await crypto.subtle.exportKey("spki", publicKey)));
  const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, privateKey, content);
  const certificate = sequence(content, SIGNATURE_ALGORITHM, bitString(derSignature(new Uint8Array(signature))));
  const key = await crypto.subtle.exportKey("pkcs8", privateKey);
  return { cert: pem("CERTIFICATE", certificate), key: pem("PRIVATE KEY", new Uint8Array(key)) };
}

/** A `TBSCertificate` (RFC 5280 section 4.1). */
function toBeSigned(publicKey: Bytes): Bytes {
  const serial = crypto.getRandomValues(new Uint8Array(16));
  const name = sequence(der(SET, sequence(COMMON_NAME, der(UTF8_STRING, text("podwire")))));
  const now = Date.now();
  const names = [
    der(DNS_NAME, text("localhost")),
    der(IP_ADDRESS, Uint8Array.of(127, 0, 0, 1)),
    der(IP_ADDRESS, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)),
  ];
  return sequence(
    der(EXPLICIT_0, integer(Uint8Array.of(2))), // Version 3.
    integer(serial),
    SIGNATURE_ALGORITHM,
    name,
    sequence(time(now - HOUR), time(now + 365 * 24 * HOUR)),
    name,
    publicKey,
    der(
      EXPLICIT_3,
      sequence(
        sequence(SUBJECT_ALT_NAME, der(OCTET_STRING, sequence(...names))),
        sequence(EXTENDED_KEY_USAGE, der(OCTET_STRING, sequence(SERVER_AUTH))),
      ),
    ),
  );
}

type Bytes = Uint8Array<ArrayBuffer>;

const HOUR = 3_600_000;

/** Tags (X.690). */
const SET = 0x31;
const SEQUENCE = 0x30;
const OCTET_STRING = 0x04;
const UTF8_STRING = 0x0c;
const EXPLICIT_0 = 0xa0;
const EXPLICIT_3 = 0xa3;
const DNS_NAME = 0x82;
const IP_ADDRESS = 0x87;

const COMMON_NAME = oid(0x55, 4, 3);
const SUBJECT_ALT_NAME = oid(0x55, 0x1d, 0x11);
const EXTENDED_KEY_USAGE = oid(0x55, 0x1d, 0x25);
const SERVER_AUTH = oid(0x2b, 6, 1, 5, 5, 7, 3, 1);
/** ecdsa-with-SHA256 (RFC 5758). */
const SIGNATURE_ALGORITHM = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2));

/** A tag, a length, and what it is the length of. */
function der(tag: number, ...parts: readonly Bytes[]): Bytes {
  const content = parts.flatMap((part) => [...part]);
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Uint8Array.from([tag, ...size, ...content]);
}

function sequence(...parts: readonly Bytes[]): Bytes {
  return der(SEQUENCE, ...parts);
}

/** An object identifier, encoded already. */
function oid(...bytes: readonly number[]): Bytes {
  return der(0x06, Uint8Array.from(bytes));
}

/** A number that is not negative, in as few bytes as it takes. */
function integer(bytes: Uint8Array): Bytes {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const digits = bytes.subarray(start);
  return der(0x02, Uint8Array.from(digits[0]! >= 0x80 ? [0, ...digits] : digits));
}

function bitString(bytes: Bytes): Bytes {
  return der(0x03, Uint8Array.of(0), bytes);
}

/** GeneralizedTime is for years from 2050 on; until then it is UTCTime. */
function time(milliseconds: number): Bytes {
  const digits = new Date(milliseconds).toISOString().replace(/\.\d+/, "").replaceAll(/[-:T]/g, "");
  return digits < "2050" ? der(0x17, text(digits.slice(2))) : der(0x18, text(digits));
}

/** What WebCrypto signs as two numbers in a row, X.509 has as a sequence (RFC 3279 section 2.2.3). */
function derSignature(raw: Uint8Array): Bytes {
  return sequence(integer(raw.subarray(0, 32)), integer(raw.subarray(32)));
}

function text(value: string): Bytes {
  return new TextEncoder().encode(value);
}

function pem(label: string, bytes: Bytes): string {
  const lines = bytes.toBase64().match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
