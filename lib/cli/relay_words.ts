/**
 * A relay's addresses as socat spells them.
 *
 * @module
 */
import type { RelaySpec } from "../relay/mod.ts";
import { UsageError } from "./flags.ts";

/** What may be listened on, and the configuration's word for it. */
const LISTEN: Readonly<Record<string, string>> = {
  "tcp-listen": "tcp",
  "tls-listen": "tcp",
  "udp-listen": "udp",
  "unix-listen": "unix",
  "unix-dgram-listen": "unix-dgram",
};

/** What may be gone to. */
const TARGET: Readonly<Record<string, string>> = {
  "tcp": "tcp",
  "tls": "tcp",
  "udp": "udp",
  "unix": "unix",
  "unix-dgram": "unix-dgram",
};

/**
 * Reads both addresses with their options: `unix-listen:/run/x.sock,mode=0660`. What the values are is for the
 * configuration to check.
 *
 * @throws {UsageError} If one cannot be read.
 */
export function readRelayWords(listen: string, target: string): Omit<RelaySpec, "name"> {
  const from = new Word(listen, LISTEN);
  const to = new Word(target, TARGET);
  const [mode, uid, gid] = [from.take("mode"), from.number("uid"), from.number("gid")];
  const [allowFrom, maxConnections, idleTimeout] = [
    from.take("range"),
    from.number("max-children"),
    from.time("idle-timeout"),
  ];
  const connectTimeout = to.time("connect-timeout");
  const spec = {
    listen: {
      address: from.address,
      ...(mode !== undefined && { mode }),
      ...(uid !== undefined && { uid }),
      ...(gid !== undefined && { gid }),
      ...(from.kind === "tls-listen" && { tls: readListenTls(from) }),
    },
    target: { address: to.address, ...(to.kind === "tls" && { tls: readTargetTls(to) }) },
    ...(allowFrom !== undefined && { allowFrom: [allowFrom] }),
    ...(maxConnections !== undefined && { maxConnections }),
    ...(idleTimeout !== undefined && { idleTimeout }),
    ...(connectTimeout !== undefined && { connectTimeout }),
  };
  from.finish();
  to.finish();
  return spec;
}

/** The options that the configuration calls otherwise. */
const OPTIONS: Readonly<Record<string, string>> = {
  allowFrom: "range",
  maxConnections: "max-children",
  idleTimeout: "idle-timeout",
  connectTimeout: "connect-timeout",
  certFile: "cert",
  keyFile: "key",
  caFile: "cafile",
  clientCaFile: "cafile",
  serverName: "snihost",
  insecureSkipVerify: "verify",
};

/**
 * What a key of the configuration that {@linkcode readRelayWords} made is called in the words that it was made of:
 * `option range of tcp-listen` for `allowFrom[0]`.
 */
export function nameInWords(key: string, listen: string, target: string): string {
  const [first = "", ...more] = key.replace(/\[\d+\]$/, "").split(".");
  const name = more.at(-1) ?? first;
  if (name === "listen" || name === "target") return name;
  const word = first === "target" || name === "connectTimeout" ? target : listen;
  const kind = kindOf(word);
  return name === "address" ? kind : `option ${OPTIONS[name] ?? name} of ${kind}`;
}

/** What is before the colon: `tcp-listen`. */
function kindOf(word: string): string {
  return word.slice(0, Math.max(word.indexOf(":"), 0)).toLowerCase();
}

function readListenTls(word: Word): NonNullable<RelaySpec["listen"]["tls"]> {
  const [certFile, keyFile, clientCaFile] = [word.take("cert"), word.take("key"), word.take("cafile")];
  if (certFile === undefined || keyFile === undefined) {
    throw new UsageError("tls-listen: needs ,cert=FILE and ,key=FILE");
  }
  return { certFile, keyFile, ...(clientCaFile !== undefined && { clientCaFile }) };
}

function readTargetTls(word: Word): NonNullable<RelaySpec["target"]["tls"]> {
  const [caFile, certFile, keyFile] = [word.take("cafile"), word.take("cert"), word.take("key")];
  const verify = word.take("verify") ?? "1";
  if (!/^[01]$/.test(verify)) {
    throw new UsageError(`option verify of tls must be 0 or 1, not ${JSON.stringify(verify)}`);
  }
  const insecureSkipVerify = verify === "0";
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new UsageError("tls: ,cert=FILE and ,key=FILE go together");
  }
  if (insecureSkipVerify && caFile !== undefined) {
    throw new UsageError("tls: ,cafile=FILE says nothing beside ,verify=0");
  }
  const given = Object.entries({ caFile, certFile, keyFile, serverName: word.take("snihost") })
    .filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(given), ...(insecureSkipVerify && { insecureSkipVerify }) };
}

/** An address with its options. */
class Word {
  /** Its kind: `tcp-listen`. */
  readonly kind: string;
  /** The address as the configuration spells it. */
  readonly address: string;
  readonly #options = new Map<string, string>();

  constructor(word: string, kinds: Readonly<Record<string, string>>) {
    const [address = "", ...options] = word.split(",");
    const colon = address.indexOf(":");
    this.kind = kindOf(address);
    const kind = kinds[this.kind];
    if (kind === undefined) {
      throw new UsageError(`${JSON.stringify(word)} must begin with ${Object.keys(kinds).join(":, ")}:`);
    }
    this.address = `${kind}:${address.slice(colon + 1)}`;
    for (const option of options) {
      const equals = option.indexOf("=");
      if (equals <= 0) throw new UsageError(`option ${JSON.stringify(option)} of ${this.kind} must be NAME=VALUE`);
      const name = option.slice(0, equals).toLowerCase();
      if (this.#options.has(name)) throw new UsageError(`option ${name} of ${this.kind} is there twice`);
      this.#options.set(name, option.slice(equals + 1));
    }
  }

  /** An option's text. */
  take(name: string): string | undefined {
    const value = this.#options.get(name);
    this.#options.delete(name);
    return value;
  }

  /** An option that is a whole number. */
  number(name: string): number | undefined {
    const text = this.take(name);
    if (text === undefined) return undefined;
    if (!/^\d{1,10}$/.test(text)) throw new UsageError(`option ${name} must be a number, not ${JSON.stringify(text)}`);
    return Number(text);
  }

  /** An option that is a time; a number alone is seconds, as to socat. */
  time(name: string): string | undefined {
    return this.take(name)?.replace(/^[\d.]+$/, "$&s");
  }

  /** Refuses the options that nobody took. */
  finish(): void {
    const [left] = this.#options.keys();
    if (left !== undefined) throw new UsageError(`${this.kind} has no option ${left}`);
  }
}
