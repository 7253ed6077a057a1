/**
 * A kubeconfig file: what of it is used, and how it is read.
 *
 * @module
 */
import { ConfigError, type Position } from "./errors.ts";
import { Secret } from "./secret.ts";
import { Fields, parseYaml, Source } from "./yaml/mod.ts";

/** A cluster: how to reach it. */
export interface KubeconfigCluster {
  /** The API server: an URL or `host:port`. */
  readonly server?: string;
  /** The name that the server's certificate must have. */
  readonly tlsServerName?: string;
  /** Whether the server's certificate goes unchecked. */
  readonly insecureSkipTlsVerify?: boolean;
  /** A file with the authorities to trust. */
  readonly certificateAuthority?: string;
  /** The authorities to trust, PEM. */
  readonly certificateAuthorityData?: string;
  /** A proxy for every request; may hold a password. */
  readonly proxyUrl?: Secret;
  /** Told to exec plugins; responses are not compressed here in any case. */
  readonly disableCompression?: boolean;
  /** A unix socket to dial instead of the server's address. */
  readonly viaUnixSocket?: string;
  /** The extension that is handed to exec plugins as it stands. */
  readonly execExtension?: unknown;
}

/** How an exec plugin is run: `client.authentication.k8s.io`. */
export interface KubeconfigExec {
  /** The program: a name in `PATH`, or a path. */
  readonly command?: string;
  /** Its arguments. */
  readonly args: readonly string[];
  /** Environment variables on top of the process's own. */
  readonly env: ReadonlyArray<{ readonly name: string; readonly value: Secret }>;
  /** The version that the plugin speaks. */
  readonly apiVersion?: string;
  /** `Never`, `IfAvailable` or `Always`. */
  readonly interactiveMode?: string;
  /** Whether the plugin is told about the cluster. */
  readonly provideClusterInfo?: boolean;
  /** Said when the plugin is not there. */
  readonly installHint?: string;
}

/** Whom to be for the server: `as`, `as-uid`, `as-groups`, `as-user-extra`. */
export interface Impersonation {
  /** The user's name. */
  readonly user?: string;
  /** The user's uid. */
  readonly uid?: string;
  /** The groups. */
  readonly groups?: readonly string[];
  /** Further properties; a key may have several values. */
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** A user: who the client is. */
export interface KubeconfigUser {
  /** A bearer token. */
  readonly token?: Secret;
  /** A file with a bearer token. */
  readonly tokenFile?: string;
  /** The name for basic authentication. */
  readonly username?: string;
  /** The password for basic authentication. */
  readonly password?: Secret;
  /** A file with the client certificate. */
  readonly clientCertificate?: string;
  /** The client certificate, PEM. */
  readonly clientCertificateData?: string;
  /** A file with the client certificate's key. */
  readonly clientKey?: string;
  /** The client certificate's key, PEM. */
  readonly clientKeyData?: Secret;
  /** A plugin that gives a token or a certificate. */
  readonly exec?: KubeconfigExec;
  /** A built-in way to a token: `oidc`. */
  readonly authProvider?: { readonly name: string; readonly config: ReadonlyMap<string, Secret> };
  /** Whom to be. */
  readonly impersonate?: Impersonation;
}

/** A context: a cluster, a user and a namespace by name. */
export interface KubeconfigContext {
  /** The cluster's name. */
  readonly cluster?: string;
  /** The user's name. */
  readonly user?: string;
  /** The namespace for requests that name none. */
  readonly namespace?: string;
}

/** A named part of a file, with its place. */
export interface Entry<T> {
  /** The name. */
  readonly name: string;
  /** What is under the name. */
  readonly value: T;
  /** The file that it comes from. */
  readonly file: string;
  /** Where `field`, or the entry itself, is. */
  at(field?: string): Position;
}

/** A file, or several that were merged. */
export interface Kubeconfig {
  /** The name of the context to use. */
  readonly currentContext?: string;
  /** Where that was said. */
  readonly currentContextAt?: Position;
  /** The clusters by name. */
  readonly clusters: ReadonlyMap<string, Entry<KubeconfigCluster>>;
  /** The users by name. */
  readonly users: ReadonlyMap<string, Entry<KubeconfigUser>>;
  /** The contexts by name. */
  readonly contexts: ReadonlyMap<string, Entry<KubeconfigContext>>;
}

/** The cluster extension that is meant for exec plugins. */
const EXEC_EXTENSION = "client.authentication.k8s.io/exec";

/**
 * Reads a kubeconfig. Keys that it does not know are ignored, as kubectl ignores them.
 *
 * The format: client-go, `tools/clientcmd/api/v1/types.go`, and `via-unix-socket` beside a cluster's `server`.
 *
 * @throws {ConfigError} with file, line and key, when the text is not a kubeconfig.
 *
 * @example
 * ```ts
 * import { parseKubeconfig } from "./kubeconfig.ts";
 *
 * const config = parseKubeconfig("clusters:\n- name: dev\n  cluster: { server: https://dev.example }\n", "config");
 * console.log(config.clusters.get("dev")?.value.server);
 * ```
 */
export function parseKubeconfig(text: string, file: string): Kubeconfig {
  const source = new KubeconfigSource(text, file);
  const root = parseYaml(text, source);
  if (!root) return { clusters: new Map(), users: new Map(), contexts: new Map() };
  const config = new Fields(source, root, "");
  const apiVersion = config.string("apiVersion") ?? "v1";
  if (apiVersion !== "v1") throw config.error("apiVersion", `must be "v1", not "${apiVersion}"`);
  const kind = config.string("kind") ?? "Config";
  if (kind !== "Config") throw config.error("kind", `must be "Config", not "${kind}"`);
  const currentContext = config.string("current-context");
  return {
    ...(currentContext !== undefined && {
      currentContext,
      currentContextAt: { file, key: "current-context", line: config.lines().get("current-context") ?? 1 },
    }),
    clusters: entries(config, "clusters", "cluster", file, readCluster),
    users: entries(config, "users", "user", file, readUser),
    contexts: entries(config, "contexts", "context", file, readContext),
  };
}

/** A kubeconfig's text. */
class KubeconfigSource extends Source {
  override error(offset: number, text: string, key?: string): ConfigError {
    const line = this.line(offset);
    const where = key === undefined ? `line ${line}` : `line ${line}: ${key}`;
    return new ConfigError(`error loading config file "${this.file}": ${where}: ${text}`, {
      file: this.file,
      line,
      ...(key !== undefined && { key }),
    });
  }
}

function entries<T>(
  config: Fields,
  list: string,
  inner: string,
  file: string,
  read: (fields: Fields) => T,
): Map<string, Entry<T>> {
  const found = new Map<string, Entry<T>>();
  for (const outer of config.mappings(list)) {
    const name = outer.string("name") ?? "";
    const before = found.get(name);
    if (before) throw outer.error("name", `duplicate name "${name}", see line ${before.at().line}`);
    const fields = outer.mapping(inner);
    const lines = fields?.lines();
    const start = outer.line();
    found.set(name, {
      name,
      file,
      value: read(fields ?? NOTHING),
      at: (field) => ({
        file,
        line: (field && lines?.get(field)) || start,
        key: field && lines?.has(field) ? `${outer.key}.${inner}.${field}` : outer.key,
      }),
    });
  }
  return found;
}

/** An entry with a name and nothing else. */
const NOTHING: Fields = new Fields(
  new KubeconfigSource("", ""),
  { kind: "mapping", offset: 0, entries: new Map(), keys: [] },
  "",
);

function readCluster(fields: Fields): KubeconfigCluster {
  const extension = fields.mappings("extensions").findLast((each) => each.string("name") === EXEC_EXTENSION);
  return defined({
    server: fields.string("server"),
    tlsServerName: fields.string("tls-server-name"),
    insecureSkipTlsVerify: fields.boolean("insecure-skip-tls-verify"),
    certificateAuthority: fields.string("certificate-authority"),
    certificateAuthorityData: fields.data("certificate-authority-data"),
    proxyUrl: secret(fields.string("proxy-url")),
    disableCompression: fields.boolean("disable-compression"),
    viaUnixSocket: fields.string("via-unix-socket"),
    execExtension: extension?.json("extension"),
  });
}

function readUser(fields: Fields): KubeconfigUser {
  const provider = fields.mapping("auth-provider");
  const exec = fields.mapping("exec");
  return defined({
    token: secret(fields.string("token")),
    tokenFile: fields.string("tokenFile"),
    username: fields.string("username"),
    password: secret(fields.string("password")),
    clientCertificate: fields.string("client-certificate"),
    clientCertificateData: fields.data("client-certificate-data"),
    clientKey: fields.string("client-key"),
    clientKeyData: secret(fields.data("client-key-data")),
    exec: exec && readExec(exec),
    authProvider: provider && {
      name: provider.string("name") ?? "",
      config: readTexts(provider.mapping("config")),
    },
    impersonate: readImpersonation(fields),
  });
}

function readExec(fields: Fields): KubeconfigExec {
  return {
    args: fields.strings("args"),
    env: fields.mappings("env").map((each) => ({
      name: each.string("name") ?? "",
      value: new Secret(each.string("value") ?? ""),
    })),
    ...defined({
      command: fields.string("command"),
      apiVersion: fields.string("apiVersion"),
      interactiveMode: fields.string("interactiveMode"),
      provideClusterInfo: fields.boolean("provideClusterInfo"),
      installHint: fields.string("installHint"),
    }),
  };
}

function readImpersonation(fields: Fields): Impersonation {
  const groups = fields.strings("as-groups");
  const extra = fields.mapping("as-user-extra");
  const keys = extra ? [...extra.names()] : [];
  return defined({
    user: fields.string("as"),
    uid: fields.string("as-uid"),
    groups: groups.length ? groups : undefined,
    extra: extra && keys.length ? Object.fromEntries(keys.map((key) => [key, extra.strings(key)])) : undefined,
  });
}

function readTexts(fields: Fields | undefined): Map<string, Secret> {
  return new Map(fields && [...fields.names()].map((name) => [name, new Secret(fields.string(name) ?? "")]));
}

function readContext(fields: Fields): KubeconfigContext {
  return defined({
    cluster: fields.string("cluster"),
    user: fields.string("user"),
    namespace: fields.string("namespace"),
  });
}

function secret(value: string | undefined): Secret | undefined {
  return value === undefined ? undefined : new Secret(value);
}

/** The same object without what is `undefined`. */
export function defined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
