/**
 * From files, environment and flags to one {@linkcode ClusterAccess}.
 *
 * @module
 */
import type { ClusterAccess } from "./access.ts";
import { type HostEnvironment, platformHost } from "./host.ts";
import type { AccessOptions } from "./options.ts";

/**
 * Finds out how to reach a cluster and as whom, as kubectl does: flags over the kubeconfig's context,
 * else the pod's own service account, else `KUBERNETES_MASTER` or `http://localhost:8080`.
 *
 * Credentials are given to https servers only, also through a unix socket: whoever listens on
 * `via-unix-socket` with a plain http server adds its own. Impersonation goes to any server. Both are
 * client-go's rules (`tools/clientcmd/client_config.go`).
 *
 * Reads `KUBECONFIG`, `HOME`, the `KUBERNETES_*` variables and the files that are named, and nothing else.
 *
 * @throws {ConfigError} when the configuration is wrong, with file, line and key where a file is.
 *
 * @example
 * ```ts
 * import { loadAccess } from "@podwire/podwire/server";
 *
 * const access = await loadAccess({ context: "dev", namespace: "shop" });
 * console.log(access.server.href, access.namespace);
 * ```
 */
export async function loadAccess(options: AccessOptions = {}, host?: HostEnvironment): Promise<ClusterAccess> {
  // The YAML reader and all kinds of credentials: who has a URL and a token needs none of it.
  const { assembleAccess } = await import("./assemble_access.ts");
  return await assembleAccess(options, host ?? await platformHost());
}
