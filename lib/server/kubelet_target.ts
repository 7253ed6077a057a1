/**
 * From the API server's URLs to the kubelet's.
 *
 * @module
 */
import { Query } from "./query.ts";
import { badRequest } from "./status_error.ts";

/** The kubelet's path for each subresource; port-forward has its capital (kubernetes `pkg/kubelet/server/server.go`). */
const PATHS: Readonly<Record<string, string>> = {
  exec: "exec",
  attach: "attach",
  portforward: "portForward",
};

/** The kubelet's name of each flag of exec and attach; it knows no value but 1. */
const FLAGS = { stdin: "input", stdout: "output", stderr: "error", tty: "tty" } as const;

/**
 * Path and query at a node's kubelet for a request to the API server for exec, attach or port-forward (kubernetes
 * `pkg/registry/core/pod/strategy.go`).
 *
 * @param path The API server's path.
 * @param query Its query, raw.
 * @returns `undefined` for any other path.
 * @throws {StatusError} If no container is named: only the API server knows a pod's containers.
 *
 * @example
 * ```ts
 * import { kubeletTarget } from "@podwire/podwire/server";
 *
 * kubeletTarget("/api/v1/namespaces/a/pods/p/exec", "container=c&stdin=true&stdout=true&command=ls");
 * // "/exec/a/p/c?input=1&output=1&command=ls"
 * ```
 */
export function kubeletTarget(path: string, query: string): string | undefined {
  const match = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/(exec|attach|portforward)$/.exec(path);
  if (!match) return undefined;
  const [, namespace = "", pod = "", subresource = ""] = match;
  const asked = new Query(query);
  const parameters = new URLSearchParams();
  const place = [PATHS[subresource], namespace, pod];
  if (subresource === "portforward") {
    const ports = asked.getAll("ports");
    if (ports.length > 0) parameters.set("port", ports.join(","));
  } else {
    const container = asked.get("container") ?? "";
    if (container === "") throw badRequest(`a container name must be specified for pod ${pod}`);
    place.push(encodeURIComponent(container));
    for (const [flag, name] of Object.entries(FLAGS)) if (asked.flag(flag)) parameters.set(name, "1");
    for (const word of asked.getAll("command")) parameters.append("command", word);
  }
  const text = parameters.toString();
  return `/${place.join("/")}${text === "" ? "" : `?${text}`}`;
}
