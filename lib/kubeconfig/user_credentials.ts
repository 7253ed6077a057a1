/**
 * From a kubeconfig's user to the ways to its credentials.
 *
 * @module
 */
import { CertificateFiles, type PemSource } from "./certificate_files.ts";
import { basicAuthorization, type CredentialSource } from "./credentials.ts";
import { misconfigured, type Position } from "./errors.ts";
import { EXEC_API_VERSIONS, type ExecCluster, ExecPlugin } from "./exec_plugin.ts";
import { explain, type HostEnvironment } from "./host.ts";
import type { Entry, KubeconfigUser } from "./kubeconfig.ts";
import { OidcToken } from "./oidc.ts";
import { Secret } from "./secret.ts";
import { TokenFile } from "./token_file.ts";

/** What the ways to credentials need besides the user. */
export interface Surroundings {
  /** The runtime. */
  readonly host: HostEnvironment;
  /** Whether exec plugins may use standard input. */
  readonly interactive: boolean;
  /** What exec plugins that ask for it are told about the cluster. */
  readonly describeCluster: () => ExecCluster;
}

/**
 * A user's ways to credentials, in client-go's order; an exec plugin only when there is no other.
 *
 * @throws {ConfigError} when they exclude each other, are not known, or fail at once.
 */
export async function userCredentials(
  user: KubeconfigUser,
  entry: Entry<KubeconfigUser> | undefined,
  { host, interactive, describeCluster }: Surroundings,
): Promise<CredentialSource[]> {
  const sources: CredentialSource[] = [];
  const hasToken = user.token !== undefined || user.tokenFile !== undefined;
  const hasCertificate = Boolean(user.clientCertificate || user.clientCertificateData);
  if (hasToken && user.username) {
    throw misconfigured("username/password or bearer token may be set, but not both", entry?.at("username"));
  }
  if (user.tokenFile !== undefined) {
    const file = new TokenFile(user.tokenFile, user.token, host);
    await checked(() => file.authorization(), entry?.at("tokenFile"));
    sources.push(file);
  } else if (user.token) {
    const value = user.token;
    sources.push({ authorization: () => Promise.resolve(`Bearer ${value.reveal()}`) });
  }
  if (user.username) {
    const value = new Secret(basicAuthorization(user.username, user.password?.reveal() ?? ""));
    sources.push({ authorization: () => Promise.resolve(value.reveal()) });
  }
  if (hasCertificate) {
    const cert = pem(user.clientCertificateData, user.clientCertificate);
    const key = pem(user.clientKeyData?.reveal(), user.clientKey);
    sources.push(new CertificateFiles(cert, key, host));
  }
  if (user.authProvider) sources.push(authProvider(user.authProvider, entry, host));
  if (user.exec && entry && !hasToken && !user.username && !hasCertificate) {
    const { apiVersion = "", command = "", provideClusterInfo } = user.exec;
    if (!EXEC_API_VERSIONS.includes(apiVersion)) {
      throw misconfigured(`exec plugin: invalid apiVersion "${apiVersion}"`, entry.at("exec"));
    }
    const cluster = provideClusterInfo ? describeCluster() : undefined;
    sources.push(
      new ExecPlugin(user.exec, { command, cluster, interactive }, host),
    );
  }
  return sources;
}

function pem(data: string | undefined, file: string | undefined): PemSource {
  return data === undefined ? { file: file ?? "" } : { data: new Secret(data) };
}

function authProvider(
  { name, config }: NonNullable<KubeconfigUser["authProvider"]>,
  entry: Entry<KubeconfigUser> | undefined,
  host: HostEnvironment,
): CredentialSource {
  if (name === "oidc" && entry) return new OidcToken(entry, config, host);
  const successors: Record<string, string> = {
    gcp: "https://cloud.google.com/kubernetes-engine/docs/how-to/cluster-access-for-kubectl#install_plugin",
    azure: "https://github.com/Azure/kubelogin",
  };
  const successor = successors[name];
  throw misconfigured(
    successor
      ? `the auth provider "${name}" was removed from Kubernetes 1.26; use the exec plugin instead, see ${successor}`
      : `no Auth Provider found for name "${name}"`,
    entry?.at("auth-provider"),
  );
}

/** Turns what fails at load time into a wrong configuration. */
async function checked(work: () => Promise<unknown>, position: Position | undefined): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw misconfigured(explain(error), position, error);
  }
}
