/**
 * From a file's text to relays, with everything that is wrong in it at once.
 *
 * @module
 */
import { EVENT_ID, parseEvents, YAMLException } from "js-yaml";
import { MAX_DELAY } from "../bytes/mod.ts";
import { isIpv4 } from "../dial/mod.ts";
import { isDnsLabel } from "../client/mod.ts";
import { parseYaml, type YamlNode } from "../kubeconfig/yaml/mod.ts";
import { type Address, formatAddress, isDatagram, isIp, parseAddress } from "./address.ts";
import type { ListenEndpoint, Relay, TargetEndpoint, TargetTlsSpec } from "./config.ts";
import { type ConfigProblem, ConfigReader, ConfigSource, RelayConfigError } from "./config_reader.ts";
import { parseRange } from "./source_ranges.ts";
import type { TlsFileError } from "./tls_files.ts";

/** A configuration file. */
export interface ConfigFile {
  /** Its name, for errors. */
  readonly file: string;
  /** Its content: YAML or JSON. */
  readonly text: string;
}

const RELAY_KEYS = [
  "name",
  "listen",
  "target",
  "http",
  "allowFrom",
  "maxConnections",
  "connectTimeout",
  "idleTimeout",
] as const;

const MAX_CONNECTIONS = 1_000_000;
const DEFAULT_CONNECTIONS = 1024;
const DEFAULT_CONNECT_TIMEOUT = 5_000;
const DEFAULT_FLOW_TIMEOUT = 60_000;

/** How to read a configuration. */
export interface ParseOptions {
  /** Whether both ends of a relay are in one network, where a target must not be the listener. Default true. */
  readonly together?: boolean;
}

/**
 * Reads files that together are one configuration.
 *
 * @throws {RelayConfigError} With all that is wrong, each thing with its file, line and key.
 *
 * @example
 * ```ts
 * import { parseRelays } from "./parse_config.ts";
 *
 * const text = "relays: [{name: web, listen: {address: tcp:8080}, target: {address: unix:/run/web.sock}}]";
 * parseRelays([{ file: "relays.yaml", text }])[0]?.maxConnections; // 1024
 * ```
 */
export function parseRelays(files: readonly ConfigFile[], { together = true }: ParseOptions = {}): Relay[] {
  const problems: ConfigProblem[] = [];
  const taken = new Map<string, string>();
  const relays = files.flatMap((file) => {
    const source = new ConfigSource(file.text, file.file);
    try {
      return parseFile(source, file.text, { taken, together });
    } catch (error) {
      if (!(error instanceof RelayConfigError)) throw error;
      source.problems.push(...error.details);
      return [];
    } finally {
      problems.push(...source.problems.sort((a, b) => a.line - b.line));
    }
  });
  if (problems.length > 0) throw new RelayConfigError(problems);
  return relays;
}

/**
 * The error for what was found wrong with a relay's file, with the place in `files` that names it.
 *
 * @throws {TlsFileError} `wrong` itself, if its relay is not in `files`.
 */
export function explainProblem(files: readonly ConfigFile[], wrong: TlsFileError): RelayConfigError {
  for (const { file, text } of files) {
    const source = new ConfigSource(text, file);
    const relays = valueOf(parseYaml(text, source), "relays");
    if (relays?.kind !== "sequence") continue;
    const index = relays.items.findIndex((relay) => {
      const name = valueOf(relay, "name");
      return name?.kind === "scalar" && name.value === wrong.relay;
    });
    const relay = relays.items[index];
    if (!relay) continue;
    const place = wrong.key.split(".").reduce<YamlNode | undefined>(valueOf, relay) ?? relay;
    source.report(place.offset, `relays[${index}].${wrong.key}`, wrong.text);
    return new RelayConfigError(source.problems, { cause: wrong });
  }
  throw wrong;
}

function valueOf(node: YamlNode | undefined, key: string): YamlNode | undefined {
  return node?.kind === "mapping" ? node.entries.get(key) : undefined;
}

/** What a relay is read among. */
interface Surroundings {
  /** The names and addresses of the relays before it. */
  readonly taken: Map<string, string>;
  /** See {@linkcode ParseOptions.together}. */
  readonly together: boolean;
}

function parseFile(source: ConfigSource, text: string, surroundings: Surroundings): Relay[] {
  const root = parseYaml(text, source);
  const second = findSecondDocument(text);
  if (second !== undefined) throw source.error(second, "has several documents; give each a file of its own");
  if (!root) throw source.error(0, "is empty; no relays at all is `relays: []`");
  const top = ConfigReader.of(source, root, "", ["relays"]);
  if (!top) return [];
  if (!top.has("relays")) top.report("relays", "is missing");
  return top.mappings("relays", RELAY_KEYS).flatMap((reader) => readRelay(reader, surroundings) ?? []);
}

/** Where the content of a text's second document begins, also if it is not YAML; nothing but comments is no content. */
function findSecondDocument(text: string): number | undefined {
  let documents = 0;
  try {
    for (const event of parseEvents(text, {})) {
      if (event.type === EVENT_ID.DOCUMENT) documents++;
      const offset = "start" in event ? event.start : "valueStart" in event ? event.valueStart : -1;
      if (documents > 1 && offset >= 0) return offset;
    }
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    return error.mark?.position ?? 0; // parseYaml() has read the first document.
  }
  return undefined;
}

function readRelay(reader: ConfigReader, { taken, together }: Surroundings): Relay | undefined {
  const name = reader.parsed("name", parseName);
  if (!reader.has("name")) reader.report("name", "is missing");
  const listen = readListen(required(reader, "listen", ["address", "tls", "mode", "uid", "gid"]));
  const target = readTarget(required(reader, "target", ["address", "tls", "proxyProtocol"]));
  const claim = (what: string, value: string, report: () => void) => {
    if (taken.has(`${what} ${value}`)) report();
    else taken.set(`${what} ${value}`, reader.key);
  };
  if (name !== undefined) {
    claim("name", name, () => reader.report("name", `another relay is called ${JSON.stringify(name)} too`));
  }
  const { paths, allowFrom, maxConnections, connectTimeout, idleTimeout } = readLimits(reader, listen, target);
  if (!name || !listen || !target) return undefined;
  const address = formatAddress(listen.address);
  if (!("port" in listen.address && listen.address.port === 0)) {
    claim("address", address, () => reader.report("listen", `another relay listens on ${address} too`));
  }
  if (together && reaches(target.address, listen.address)) {
    reader.report("target", `goes to where it listens: ${address}`);
  }
  const flows = isDatagram(listen.address) || isDatagram(target.address);
  return {
    name,
    listen,
    target,
    paths,
    allowFrom,
    maxConnections: maxConnections ?? DEFAULT_CONNECTIONS,
    connectTimeout: connectTimeout ?? DEFAULT_CONNECT_TIMEOUT,
    idleTimeout: idleTimeout ?? (flows ? DEFAULT_FLOW_TIMEOUT : 0),
  };
}

/**
 * Whether what goes to `target` comes in at `listen`, as far as the text tells: which other addresses the machine has, and what
 * names there are beside localhost, it does not.
 */
function reaches(target: Address, listen: Address): boolean {
  if (formatAddress(target) === formatAddress(listen)) return true;
  if (!("port" in target && "port" in listen)) return false;
  if (target.kind !== listen.kind || target.port !== listen.port) return false;
  const hosts = loopbacks(target.hostname);
  if (listen.hostname === "::") return hosts.length > 0; // It takes IPv4 too.
  if (listen.hostname === "0.0.0.0") return hosts.some(isIpv4);
  return hosts.includes(listen.hostname);
}

/** The addresses of this machine that connecting to `hostname` may reach; none if it is another's, or nobody can tell. */
function loopbacks(hostname: string): string[] {
  if (hostname === "localhost") return ["127.0.0.1", "::1"];
  if (hostname === "0.0.0.0") return ["127.0.0.1"];
  if (hostname === "::") return ["::1"];
  return hostname === "::1" || (isIpv4(hostname) && hostname.startsWith("127.")) ? [hostname] : [];
}

function readLimits(
  reader: ConfigReader,
  listen: ListenEndpoint | undefined,
  target: TargetEndpoint | undefined,
): Pick<Relay, "paths" | "allowFrom"> & Partial<Pick<Relay, "maxConnections" | "connectTimeout" | "idleTimeout">> {
  const flows = [listen, target].some((end) => end && isDatagram(end.address));
  const http = reader.mapping("http", ["paths"]);
  if (http && !http.has("paths")) http.report("paths", "is missing: the paths that may be asked for");
  if (http && flows) reader.report("http", "is for streams, not datagrams");
  if (target?.proxyProtocol && flows) reader.report("target", "proxyProtocol is for streams, not datagrams");
  const allowFrom = reader.list("allowFrom", parseRange);
  if (allowFrom && listen && "path" in listen.address) {
    reader.report("allowFrom", "is for TCP and UDP; who may open a unix socket is its mode, uid and gid");
  }
  const maxConnections = reader.integer("maxConnections", 1, MAX_CONNECTIONS);
  const connectTimeout = reader.parsed("connectTimeout", parseDuration);
  if (connectTimeout === 0) reader.report("connectTimeout", "must be more than 0");
  const idleTimeout = reader.parsed("idleTimeout", parseDuration);
  if (idleTimeout === 0 && flows) {
    reader.report("idleTimeout", "must be more than 0: flows of datagrams have no other end");
  }
  return {
    paths: http?.list("paths", parseHttpPath),
    allowFrom,
    ...(maxConnections !== undefined && { maxConnections }),
    ...(connectTimeout !== undefined && { connectTimeout }),
    ...(idleTimeout !== undefined && { idleTimeout }),
  };
}

function readListen(reader: ConfigReader | undefined): ListenEndpoint | undefined {
  if (!reader) return undefined;
  const address = readAddress(reader);
  if (address && "hostname" in address && !isIp(address.hostname)) {
    reader.report("address", `must have an IP address to listen on, not the name ${address.hostname}`);
  }
  const mode = reader.parsed("mode", parseMode);
  const uid = reader.integer("uid", 0, 0xfffffffe);
  const gid = reader.integer("gid", 0, 0xfffffffe);
  for (const name of ["mode", "uid", "gid"]) {
    if (reader.has(name) && address && !(("path" in address) && address.path.startsWith("/"))) {
      reader.report(name, `is for a unix socket with a path, not ${formatAddress(address)}`);
    }
  }
  const tls = readTls(reader, address, ["certFile", "keyFile", "clientCaFile"]);
  for (const name of ["certFile", "keyFile"]) if (tls && !tls.has(name)) tls.report(name, "is missing");
  const [certFile, keyFile, clientCaFile] = [
    tls?.string("certFile"),
    tls?.string("keyFile"),
    tls?.string("clientCaFile"),
  ];
  return address && {
    address,
    mode: mode ?? 0o600,
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
    ...(certFile && keyFile && { tls: { certFile, keyFile, ...(clientCaFile && { clientCaFile }) } }),
  };
}

function readTarget(reader: ConfigReader | undefined): TargetEndpoint | undefined {
  if (!reader) return undefined;
  const address = readAddress(reader);
  if (address && "port" in address && address.port === 0) reader.report("address", "needs a port other than 0");
  const tls = readTls(reader, address, ["caFile", "certFile", "keyFile", "serverName", "insecureSkipVerify"]);
  if (tls && address?.kind === "unix" && !tls.has("serverName") && !tls.has("insecureSkipVerify")) {
    tls.report("serverName", "is missing: a unix socket has no host name to verify");
  }
  const proxyProtocol = reader.parsed("proxyProtocol", (text) => {
    if (text === "v1" || text === "v2") return text;
    throw new SyntaxError(`must be v1 or v2, not ${JSON.stringify(text)}`);
  });
  if (tls && proxyProtocol) {
    reader.report("proxyProtocol", "comes before TLS, which is not spoken after it here: leave one out");
  }
  return address && { address, ...(proxyProtocol && { proxyProtocol }), ...(tls && { tls: readTargetTls(tls) }) };
}

function readTargetTls(tls: ConfigReader): TargetTlsSpec {
  const insecureSkipVerify = tls.boolean("insecureSkipVerify");
  if (tls.has("certFile") !== tls.has("keyFile")) tls.report("certFile", "certFile and keyFile go together");
  if (insecureSkipVerify && tls.has("caFile")) tls.report("caFile", "says nothing beside insecureSkipVerify");
  const caFile = tls.string("caFile");
  const certFile = tls.string("certFile");
  const keyFile = tls.string("keyFile");
  const serverName = tls.string("serverName");
  return {
    ...(caFile && { caFile }),
    ...(certFile && { certFile }),
    ...(keyFile && { keyFile }),
    ...(serverName && { serverName }),
    ...(insecureSkipVerify !== undefined && { insecureSkipVerify }),
  };
}

function readAddress(reader: ConfigReader): Address | undefined {
  if (!reader.has("address")) reader.report("address", "is missing");
  return reader.parsed("address", parseAddress);
}

function readTls(
  reader: ConfigReader,
  address: Address | undefined,
  keys: readonly string[],
): ConfigReader | undefined {
  if (reader.has("tls") && address && isDatagram(address)) reader.report("tls", "is for streams, not datagrams");
  return reader.mapping("tls", keys);
}

function required(reader: ConfigReader, name: string, keys: readonly string[]): ConfigReader | undefined {
  if (!reader.has(name)) reader.report(name, "is missing");
  return reader.mapping(name, keys);
}

function parseName(text: string): string {
  if (isDnsLabel(text)) return text;
  throw new SyntaxError(
    `must be a DNS label (at most 63 of a-z, 0-9 and -, not - at an end), not ${JSON.stringify(text)}`,
  );
}

/** Reads an octal mode: `0660`. */
function parseMode(text: string): number {
  if (/^0?[0-7]{3}$/.test(text)) return parseInt(text, 8);
  throw new SyntaxError(`must be an octal mode such as "0660", not ${JSON.stringify(text)}`);
}

/** Reads an HTTP path that may be asked for. */
function parseHttpPath(text: string): string {
  if (!text.startsWith("/")) throw new SyntaxError(`must begin with /, not be ${JSON.stringify(text)}`);
  if (/[?#*]|[^\x21-\x7e]/.test(text)) {
    throw new SyntaxError(`must be a plain path, without ?, #, * or spaces, not ${JSON.stringify(text)}`);
  }
  return text;
}

const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Reads a duration (`5s`, `1m30s`, `500ms`, `0s`), to milliseconds. */
function parseDuration(text: string): number {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    throw new SyntaxError(`must be a duration such as 5s, 1m30s or 500ms, not ${JSON.stringify(text)}`);
  }
  let total = 0;
  for (const [, number, unit = ""] of text.matchAll(/([\d.]+)([a-z]+)/g)) {
    total += Number(number) * (MILLISECONDS[unit] ?? 0);
  }
  return Math.min(total, MAX_DELAY);
}
