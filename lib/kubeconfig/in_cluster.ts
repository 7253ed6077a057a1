/**
 * The cluster that the program runs in.
 *
 * @module
 */
import { explain, type HostEnvironment } from "./host.ts";
import type { Entry, KubeconfigCluster, KubeconfigUser } from "./kubeconfig.ts";

const FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Whether this is a pod with a service account (client-go, `tools/clientcmd/client_config.go`). */
export async function isInCluster(host: HostEnvironment): Promise<boolean> {
  if (!host.env("KUBERNETES_SERVICE_HOST") || !host.env("KUBERNETES_SERVICE_PORT")) return false;
  return await readable(`${FOLDER}/token`, host) !== undefined;
}

/** The pod's own cluster and user, as if a kubeconfig had them. */
export async function inClusterEntries(
  host: HostEnvironment,
  warn: (message: string) => void,
): Promise<{ cluster: Entry<KubeconfigCluster>; user: Entry<KubeconfigUser> }> {
  const name = host.env("KUBERNETES_SERVICE_HOST") ?? "";
  const hostname = name.includes(":") ? `[${name}]` : name;
  const authority = `${FOLDER}/ca.crt`;
  let trusted = true;
  try {
    await host.readTextFile(authority);
  } catch (error) {
    trusted = false;
    warn(`Expected to load root CA config from ${authority}, but got err: ${explain(error)}`);
  }
  const server = `https://${hostname}:${host.env("KUBERNETES_SERVICE_PORT")}`;
  return {
    cluster: entry({ server, ...(trusted && { certificateAuthority: authority }) }),
    user: entry({ tokenFile: `${FOLDER}/token` }),
  };
}

/** The pod's namespace, if it knows it. */
export async function inClusterNamespace(host: HostEnvironment): Promise<string | undefined> {
  const name = host.env("POD_NAMESPACE");
  return name || (await readable(`${FOLDER}/namespace`, host))?.trim() || undefined;
}

async function readable(path: string, host: HostEnvironment): Promise<string | undefined> {
  try {
    return await host.readTextFile(path);
  } catch {
    return undefined; // Not being readable is the answer: then this is not such a pod.
  }
}

function entry<T>(value: T): Entry<T> {
  return { name: "in-cluster", value, file: FOLDER, at: () => ({ file: FOLDER, line: 1, key: "" }) };
}
