/**
 * What kubectl refuses in a cluster and a user, in its words.
 *
 * Source: client-go, `tools/clientcmd/validation.go`.
 *
 * @module
 */
import { ConfigError, type Problem } from "./errors.ts";
import { explain, type HostEnvironment } from "./host.ts";
import type { Entry, KubeconfigCluster, KubeconfigExec, KubeconfigUser } from "./kubeconfig.ts";
import type { AccessOptions } from "./options.ts";
import { proxyUrl, withoutUser } from "./server.ts";

/** What is wrong with a cluster. */
export async function validateCluster(
  cluster: KubeconfigCluster,
  entry: Entry<KubeconfigCluster> | undefined,
  options: AccessOptions,
  host: HostEnvironment,
): Promise<Problem[]> {
  const name = entry?.name ?? "";
  const problems = new Problems(entry, options, host);
  if (entry && !cluster.server && !cluster.viaUnixSocket) {
    problems.add(name ? `no server found for cluster "${name}"` : "default cluster has no server defined");
  }
  if (cluster.proxyUrl) {
    const url = cluster.proxyUrl.reveal();
    try {
      proxyUrl(url);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.add(
        `invalid 'proxy-url' "${withoutUser(url)}" for cluster "${name}": ${error.message}`,
        undefined,
        "proxyUrl",
      );
    }
    if (cluster.viaUnixSocket) {
      problems.add(`via-unix-socket and proxy-url are both specified for ${name}; only one is allowed`, "proxy-url");
    }
  }
  if (cluster.certificateAuthority && cluster.certificateAuthorityData) {
    problems.add(
      `certificate-authority-data and certificate-authority are both specified for ${name}. certificate-authority-data will override.`,
      "certificate-authority-data",
    );
  }
  await problems.checkFile("certificate-authority", cluster.certificateAuthority, "certificateAuthority");
  return problems.found;
}

/** What is wrong with a user. */
export async function validateUser(
  user: KubeconfigUser,
  entry: Entry<KubeconfigUser> | undefined,
  options: AccessOptions,
  host: HostEnvironment,
): Promise<Problem[]> {
  const name = entry?.name ?? "";
  const problems = new Problems(entry, options, host);
  if (user.clientCertificate || user.clientCertificateData) await validateCertificate(user, name, problems);
  if (user.exec) validateExec(user.exec, user.authProvider !== undefined, name, problems);
  if (user.token && (user.username || user.password)) {
    const found = "[token basicAuth], only one is allowed";
    problems.add(`more than one authentication method found for ${name}; found ${found}`, undefined, "token");
  }
  const { user: as, uid, groups, extra } = user.impersonate ?? {};
  if (!as && (uid || groups?.length || Object.keys(extra ?? {}).length > 0)) {
    problems.add(`requesting uid, groups or user-extra for ${name} without impersonating a user`);
  }
  return problems.found;
}

async function validateCertificate(
  user: KubeconfigUser,
  name: string,
  problems: Problems,
): Promise<void> {
  if (user.clientCertificate && user.clientCertificateData) {
    problems.add(
      `client-cert-data and client-cert are both specified for ${name}. client-cert-data will override.`,
      "client-certificate-data",
    );
  }
  if (user.clientKey && user.clientKeyData) {
    problems.add(
      `client-key-data and client-key are both specified for ${name}; client-key-data will override`,
      "client-key-data",
    );
  }
  if (!user.clientKey && !user.clientKeyData) {
    problems.add(
      `client-key-data or client-key must be specified for ${name} to use the clientCert authentication method.`,
    );
  }
  await problems.checkFile("client-cert", user.clientCertificate, "clientCertificate");
  await problems.checkFile("client-key", user.clientKey, "clientKey");
}

function validateExec(exec: KubeconfigExec, withProvider: boolean, name: string, problems: Problems): void {
  if (withProvider) {
    problems.add(`authProvider cannot be provided in combination with an exec plugin for ${name}`, "auth-provider");
  }
  const missing = (what: string) =>
    problems.add(`${what} must be specified for ${name} to use exec authentication plugin`, "exec");
  if (!exec.command) missing("command");
  if (!exec.apiVersion) missing("apiVersion");
  if (exec.env.some((variable) => !variable.name)) missing("env variable name");
  // Before v1 there was no interactiveMode: plugins got a terminal when there was one.
  const beta = /\/v1(?:alpha|beta)1$/.test(exec.apiVersion ?? "");
  if (!exec.interactiveMode && !beta) missing("interactiveMode");
  else if (!["Never", "IfAvailable", "Always"].includes(exec.interactiveMode ?? "IfAvailable")) {
    problems.add(`invalid interactiveMode for ${name}: "${exec.interactiveMode}"`, "exec");
  }
}

/** The keys of what a flag can override. */
const KEYS = {
  certificateAuthority: "certificate-authority",
  clientCertificate: "client-certificate",
  clientKey: "client-key",
  proxyUrl: "proxy-url",
  token: "token",
} as const;

/** Collects problems, each with its place. */
class Problems {
  readonly found: Problem[] = [];
  readonly #entry: Entry<unknown> | undefined;
  readonly #options: AccessOptions;
  readonly #host: HostEnvironment;

  constructor(entry: Entry<unknown> | undefined, options: AccessOptions, host: HostEnvironment) {
    this.#entry = entry;
    this.#options = options;
    this.#host = host;
  }

  /** `option` when a flag can be what is wrong: then no file is to blame. */
  add(text: string, key?: string, option?: keyof typeof KEYS): void {
    const byFlag = option !== undefined && this.#options[option];
    const position = byFlag ? undefined : this.#entry?.at(key ?? (option && KEYS[option]));
    this.found.push({ text, position });
  }

  async checkFile(what: string, path: string | undefined, option: keyof typeof KEYS): Promise<void> {
    if (!path) return;
    try {
      await this.#host.readTextFile(path);
    } catch (error) {
      const name = this.#entry?.name ?? "";
      this.add(`unable to read ${what} ${path} for ${name} due to open ${path}: ${explain(error)}`, undefined, option);
    }
  }
}
