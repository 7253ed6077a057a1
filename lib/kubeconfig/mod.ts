/**
 * From kubeconfig files, environment and flags to one {@linkcode ClusterAccess}: server, TLS,
 * credentials, proxy, unix socket.
 *
 * @module
 */
export type { ClusterAccess, Credentials } from "./access.ts";
export { CombinedCredentials, type CredentialSource } from "./credentials.ts";
export { ConfigError, CredentialsError, type Position } from "./errors.ts";
export type { HostEnvironment, RunOptions, RunResult } from "./host.ts";
export type { Impersonation } from "./kubeconfig.ts";
export { loadAccess } from "./load_access.ts";
export type { AccessOptions } from "./options.ts";
export { Secret } from "./secret.ts";
export { serverUrl, takeUser } from "./server.ts";
