/**
 * What `loadAccess` does, with all that it takes.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding/base64";
import { tell } from "../bytes/mod.ts";
import type { TlsOptions } from "../dial/mod.ts";
import type { ClusterAccess, Credentials } from "./access.ts";
import { isPem } from "./certificate_files.ts";
import { CombinedCredentials, type CredentialSource } from "./credentials.ts";
import { ConfigError, invalidConfiguration, misconfigured, type Position } from "./errors.ts";
import type { ExecCluster } from "./exec_plugin.ts";
import { loadKubeconfig } from "./files.ts";
import { explain, type HostEnvironment } from "./host.ts";
import { impersonationHeaders } from "./impersonation.ts";
import { inClusterEntries, inClusterNamespace, isInCluster } from "./in_cluster.ts";
import type { Entry, KubeconfigCluster, KubeconfigUser } from "./kubeconfig.ts";
import type { AccessOptions } from "./options.ts";
import { effectiveCluster, effectiveUser, select } from "./selection.ts";
import { DEFAULT_SERVER, proxyUrl, serverUrl, takeUser } from "./server.ts";
import { userCredentials } from "./user_credentials.ts";
import { validateCluster, validateUser } from "./validation.ts";

/** See `loadAccess`. */
export async function assembleAccess(options: AccessOptions, environment: HostEnvironment): Promise<ClusterAccess> {
  const warn = (message: string) => tell(options.onWarning, message);
  const selected = select(await loadKubeconfig(options, environment), options);

  let { cluster: clusterEntry, user: userEntry } = selected;
  const somewhere = clusterEntry || options.server || options.viaUnixSocket || options.proxyUrl;
  if (!somewhere && await isInCluster(environment)) {
    const pod = await inClusterEntries(environment, warn);
    clusterEntry = pod.cluster;
    if (!options.user) userEntry = pod.user;
  }
  const cluster = effectiveCluster(clusterEntry, options, environment);
  const user = effectiveUser(userEntry, options, environment);
  const problems = [
    ...await validateUser(user, userEntry, options, environment),
    ...await validateCluster(cluster, clusterEntry, options, environment),
  ];
  if (problems.length > 0) throw invalidConfiguration(problems);

  const serverText = cluster.server ?? (environment.env("KUBERNETES_MASTER") || DEFAULT_SERVER);
  const server = parseServer(serverText, options.server ? undefined : clusterEntry?.at("server"));
  const urlUser = takeUser(server);
  const secure = server.protocol === "https:";
  const tls = secure ? await tlsOptions(cluster, clusterEntry, environment) : {};
  const sources: CredentialSource[] = [];
  if (secure) {
    sources.push(
      ...await userCredentials(user, userEntry, {
        host: environment,
        interactive: options.interactive ?? true,
        describeCluster: () => describeForPlugin(serverText, cluster, tls),
      }),
    );
  }
  if (urlUser) sources.push(urlUser);
  const access = {
    server,
    namespace: options.namespace || selected.context?.value.namespace || await podNamespace(environment) || "default",
    tls,
    ...(cluster.viaUnixSocket !== undefined && { unixSocket: cluster.viaUnixSocket }),
    credentials: combine(sources, user, userEntry),
  };
  if (!cluster.proxyUrl) return access;
  // Not enumerable, because the URL may hold a password and the value may be printed.
  return Object.defineProperty(access, "proxy", { value: proxyUrl(cluster.proxyUrl.reveal()) });
}

async function podNamespace(host: HostEnvironment): Promise<string | undefined> {
  return await isInCluster(host) ? await inClusterNamespace(host) : undefined;
}

function parseServer(text: string, position: Position | undefined): URL {
  try {
    return serverUrl(text);
  } catch (error) {
    throw error instanceof ConfigError ? misconfigured(error.message, position) : error;
  }
}

async function tlsOptions(
  cluster: KubeconfigCluster,
  entry: Entry<KubeconfigCluster> | undefined,
  host: HostEnvironment,
): Promise<Omit<TlsOptions, "clientCertificate">> {
  const { certificateAuthority: file, certificateAuthorityData: data, tlsServerName, insecureSkipTlsVerify } = cluster;
  const authority = data ?? (file === undefined ? undefined : await readAuthority(file, host));
  if (authority !== undefined && insecureSkipTlsVerify) {
    throw misconfigured(
      "specifying a root certificates file with the insecure flag is not allowed",
      entry?.at("insecure-skip-tls-verify"),
    );
  }
  if (authority !== undefined && !isPem(authority)) {
    const position = entry?.at(data === undefined ? "certificate-authority" : "certificate-authority-data");
    throw misconfigured("unable to load root certificates: unable to parse bytes as PEM block", position);
  }
  return {
    ...(authority !== undefined && { caCerts: [authority] }),
    ...(tlsServerName !== undefined && { serverName: tlsServerName }),
    ...(insecureSkipTlsVerify && { insecureSkipVerify: true }),
  };
}

async function readAuthority(file: string, host: HostEnvironment): Promise<string> {
  try {
    return await host.readTextFile(file);
  } catch (error) {
    throw new ConfigError(`unable to load root certificates: open ${file}: ${explain(error)}`, { file, cause: error });
  }
}

function describeForPlugin(
  server: string,
  cluster: KubeconfigCluster,
  tls: Omit<TlsOptions, "clientCertificate">,
): ExecCluster {
  const authority = tls.caCerts?.[0];
  return {
    server,
    ...(tls.serverName && { "tls-server-name": tls.serverName }),
    ...(tls.insecureSkipVerify && { "insecure-skip-tls-verify": true }),
    ...(authority && { "certificate-authority-data": encodeBase64(authority) }),
    ...(cluster.proxyUrl && { "proxy-url": cluster.proxyUrl.reveal() }),
    ...(cluster.disableCompression && { "disable-compression": true }),
    ...(cluster.execExtension !== undefined && { config: cluster.execExtension }),
  };
}

function combine(
  sources: readonly CredentialSource[],
  user: KubeconfigUser,
  entry: Entry<KubeconfigUser> | undefined,
): Credentials {
  try {
    return new CombinedCredentials(sources, impersonationHeaders(user.impersonate ?? {}));
  } catch (error) {
    throw misconfigured(explain(error), entry?.at("as"), error);
  }
}
