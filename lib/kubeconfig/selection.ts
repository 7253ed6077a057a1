/**
 * The one cluster and the one user that a configuration and the flags choose.
 *
 * @module
 */
import { ConfigError, invalidConfiguration, type Problem } from "./errors.ts";
import type { HostEnvironment } from "./host.ts";
import {
  defined,
  type Entry,
  type Kubeconfig,
  type KubeconfigCluster,
  type KubeconfigContext,
  type KubeconfigUser,
} from "./kubeconfig.ts";
import type { AccessOptions } from "./options.ts";
import { besideFile, hasFolder, socketPath } from "./paths.ts";
import { Secret } from "./secret.ts";

/** What was chosen; an entry is absent when nothing names one, and none is without a name. */
export interface Selection {
  /** The context's part. */
  readonly context: Entry<KubeconfigContext> | undefined;
  /** The cluster's part. */
  readonly cluster: Entry<KubeconfigCluster> | undefined;
  /** The user's part. */
  readonly user: Entry<KubeconfigUser> | undefined;
}

/**
 * Follows the current context, or the flags that override it and its parts.
 *
 * @throws {ConfigError} when something is named that is not there. kubectl goes on to `localhost:8080`
 * or anonymously when a context names a missing cluster or user; that helps nobody.
 */
export function select(config: Kubeconfig, options: AccessOptions): Selection {
  const contextName = options.context || config.currentContext;
  // What names nothing means what has no name, to kubectl too.
  const context = config.contexts.get(contextName ?? "");
  const userName = options.user || context?.value.user;
  const clusterName = options.cluster || context?.value.cluster;
  const user = config.users.get(userName ?? "");
  const cluster = config.clusters.get(clusterName ?? "");

  if (options.user && !user) throw new ConfigError(`auth info "${options.user}" does not exist`);
  if (options.context && !context) throw new ConfigError(`context "${options.context}" does not exist`);
  if (options.cluster && !cluster) throw new ConfigError(`cluster "${options.cluster}" does not exist`);

  const problems: Problem[] = [];
  if (contextName !== undefined && !context) {
    problems.push({
      text: `context was not found for specified context: ${contextName}`,
      position: config.currentContextAt,
    });
  }
  if (userName !== undefined && !user) {
    problems.push({
      text: `user "${userName}" was not found for context "${contextName}"`,
      position: context?.at("user"),
    });
  }
  if (clusterName !== undefined && !cluster && !options.server) {
    problems.push({
      text: `cluster "${clusterName}" was not found for context "${contextName}"`,
      position: context?.at("cluster"),
    });
  }
  if (problems.length > 0) throw invalidConfiguration(problems);
  return { context, cluster, user };
}

/** The cluster with the flags over it and its paths made independent of its file. */
export function effectiveCluster(
  entry: Entry<KubeconfigCluster> | undefined,
  options: AccessOptions,
  host: HostEnvironment,
): KubeconfigCluster {
  const cluster = entry?.value ?? {};
  const trustByFlag = options.certificateAuthority || options.insecureSkipTlsVerify;
  const trust = trustByFlag
    ? {
      certificateAuthority: options.certificateAuthority || undefined,
      insecureSkipTlsVerify: options.insecureSkipTlsVerify,
    }
    : {
      certificateAuthority: entry && beside(cluster.certificateAuthority, entry, host),
      certificateAuthorityData: cluster.certificateAuthorityData,
      insecureSkipTlsVerify: cluster.insecureSkipTlsVerify,
    };
  // The flag for one way to the server replaces the other way, if the file has that.
  const way = options.viaUnixSocket
    ? { viaUnixSocket: socketPath(options.viaUnixSocket, undefined, host) }
    : options.proxyUrl
    ? { proxyUrl: new Secret(options.proxyUrl) }
    : {
      viaUnixSocket: cluster.viaUnixSocket && socketPath(cluster.viaUnixSocket, entry?.file, host),
      proxyUrl: cluster.proxyUrl,
    };
  return defined({
    server: options.server || cluster.server,
    // Another server has another name; all else, credentials included, stays.
    tlsServerName: options.tlsServerName || (options.server ? undefined : cluster.tlsServerName),
    disableCompression: cluster.disableCompression,
    execExtension: cluster.execExtension,
    ...trust,
    ...way,
  });
}

/** The user with the flags over it and its paths made independent of its file. */
export function effectiveUser(
  entry: Entry<KubeconfigUser> | undefined,
  options: AccessOptions,
  host: HostEnvironment,
): KubeconfigUser {
  const user = entry?.value ?? {};
  const { impersonate = {} } = options;
  const from = user.impersonate;
  return defined({
    token: options.token ? new Secret(options.token) : user.token,
    tokenFile: options.token ? undefined : entry && beside(user.tokenFile, entry, host),
    username: options.username || user.username,
    password: options.password ? new Secret(options.password) : user.password,
    clientCertificate: options.clientCertificate || (entry && beside(user.clientCertificate, entry, host)),
    clientCertificateData: options.clientCertificate ? undefined : user.clientCertificateData,
    clientKey: options.clientKey || (entry && beside(user.clientKey, entry, host)),
    clientKeyData: options.clientKey ? undefined : user.clientKeyData,
    exec: user.exec && entry && { ...user.exec, ...command(user.exec.command, entry, host) },
    authProvider: user.authProvider,
    impersonate: defined({
      user: impersonate.user || from?.user,
      uid: impersonate.uid || from?.uid,
      groups: impersonate.groups?.length ? impersonate.groups : from?.groups,
      extra: impersonate.extra || from?.extra ? { ...from?.extra, ...impersonate.extra } : undefined,
    }),
  });
}

function beside(path: string | undefined, entry: Entry<unknown>, host: HostEnvironment): string | undefined {
  return path === undefined ? undefined : besideFile(path, entry.file, host);
}

/** A command with a folder in it is a path; any other is looked up in `PATH`. */
function command(
  name: string | undefined,
  entry: Entry<unknown>,
  host: HostEnvironment,
): { readonly command?: string } {
  if (name === undefined) return {};
  return { command: hasFolder(name, host) ? besideFile(name, entry.file, host) : name };
}
