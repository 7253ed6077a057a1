/**
 * Which kubeconfig files there are, and how several become one.
 *
 * @module
 */
import { tell } from "../bytes/mod.ts";
import { ConfigError } from "./errors.ts";
import { errorCode, explain, type HostEnvironment } from "./host.ts";
import { type Entry, type Kubeconfig, parseKubeconfig } from "./kubeconfig.ts";
import type { AccessOptions } from "./options.ts";

/**
 * Reads `options.kubeconfig`, else the files in `KUBECONFIG`, else `~/.kube/config`, and merges them.
 *
 * Missing files are skipped, except one that was asked for (client-go, `tools/clientcmd/loader.go`).
 *
 * @throws {ConfigError} when a file cannot be read, or is not a kubeconfig.
 */
export async function loadKubeconfig(
  options: Pick<AccessOptions, "kubeconfig" | "onWarning">,
  host: HostEnvironment,
): Promise<Kubeconfig> {
  if (options.kubeconfig) {
    const config = await load(options.kubeconfig, host);
    if (config) return config;
    throw new ConfigError(`stat ${options.kubeconfig}: no such file or directory`, { file: options.kubeconfig });
  }
  const list = host.env("KUBECONFIG");
  const files = list ? [...new Set(list.split(host.windows ? ";" : ":"))].filter(Boolean) : homeFile(host);
  const found = await Promise.all(files.map((file) => load(file, host)));
  const configs = found.filter((config) => config !== undefined);
  if (list && files.length > 0 && configs.length === 0) {
    tell(options.onWarning, `Config not found: ${files.join(", ")}`);
  }
  return mergeKubeconfigs(configs);
}

function homeFile(host: HostEnvironment): string[] {
  const home = host.homeDirectory();
  if (!home) return [];
  return [host.windows ? `${home}\\.kube\\config` : `${home}/.kube/config`];
}

async function load(file: string, host: HostEnvironment): Promise<Kubeconfig | undefined> {
  let text: string;
  try {
    text = await host.readTextFile(file);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw new ConfigError(`error loading config file "${file}": open ${file}: ${explain(error)}`, {
      file,
      cause: error,
    });
  }
  return parseKubeconfig(text, file);
}

/**
 * Merges files in their order: of entries with one name the first file's counts whole, and of the
 * current contexts the first that is set.
 */
export function mergeKubeconfigs(configs: readonly Kubeconfig[]): Kubeconfig {
  const first = configs.find((config) => config.currentContext !== undefined);
  return {
    ...(first?.currentContext !== undefined && { currentContext: first.currentContext }),
    ...(first?.currentContextAt && { currentContextAt: first.currentContextAt }),
    clusters: firstOfEach(configs.map(({ clusters }) => clusters)),
    users: firstOfEach(configs.map(({ users }) => users)),
    contexts: firstOfEach(configs.map(({ contexts }) => contexts)),
  };
}

function firstOfEach<T>(maps: ReadonlyArray<ReadonlyMap<string, Entry<T>>>): Map<string, Entry<T>> {
  return new Map(maps.toReversed().flatMap((map) => [...map]));
}
