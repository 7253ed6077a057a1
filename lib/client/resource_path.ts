/**
 * Where objects are below the server's URL, from names that nobody has checked yet.
 *
 * @module
 */
import { TargetError } from "./errors.ts";

/** Which objects: `/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL`. */
export interface ResourceId {
  /** The API group; the core group (pods, services …) if absent. */
  readonly group?: string;
  /** Its version: `v1`. */
  readonly version: string;
  /** The resource's name in URLs: `daemonsets`. */
  readonly plural: string;
  /** Absent for a resource that has none, and for the objects of all namespaces (which can be listed and watched). */
  readonly namespace?: string;
}

/**
 * The path of an API group's version.
 *
 * @throws {TargetError} As {@linkcode pathSegment}.
 */
export function groupPath(group: string, version: string): string {
  const place = pathSegment(version, "API version");
  return group === "" ? `/api/${place}` : `/apis/${pathSegment(group, "API group")}/${place}`;
}

/**
 * The path of a list of objects.
 *
 * @throws {TargetError} As {@linkcode pathSegment}.
 */
export function resourcePath({ group = "", version, plural, namespace }: ResourceId): string {
  const place = namespace === undefined ? "" : `/namespaces/${pathSegment(namespace, "namespace")}`;
  return `${groupPath(group, version)}${place}/${pathSegment(plural, "resource")}`;
}

/**
 * The path of one object.
 *
 * @throws {TargetError} As {@linkcode pathSegment}.
 */
export function objectPath(id: ResourceId, name: string): string {
  return `${resourcePath(id)}/${pathSegment(name)}`;
}

/**
 * The path of a pod.
 *
 * @throws {TargetError} As {@linkcode pathSegment}.
 */
export function podPath(namespace: string, name: string): string {
  return objectPath({ version: "v1", plural: "pods", namespace }, name);
}

/**
 * The path of a namespace itself.
 *
 * @throws {TargetError} As {@linkcode pathSegment}.
 */
export function namespacePath(namespace: string): string {
  return `/api/v1/namespaces/${pathSegment(namespace, "namespace")}`;
}

/**
 * `name` as one part of a path. Who sends `DELETE …/pods/` means all pods, and who sends `DELETE …/pods/..` may mean their
 * namespace: clients and proxies resolve the dots, encoded or not.
 *
 * @param what What the name is of, for the error.
 * @throws {TargetError} If no object can have this name, in client-go's words (`rest/request.go`).
 */
export function pathSegment(name: string, what = "resource name"): string {
  if (!name) throw new TargetError(`${what} may not be empty`);
  const problems = name === "." || name === ".."
    ? [`may not be '${name}'`]
    : ["/", "%"].filter((text) => name.includes(text)).map((text) => `may not contain '${text}'`);
  if (problems.length > 0) throw new TargetError(`invalid ${what} ${JSON.stringify(name)}: [${problems.join(" ")}]`);
  return encodeURIComponent(name);
}
