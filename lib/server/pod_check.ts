/**
 * Pods that a program asks for, checked before anything of them is started.
 *
 * @module
 */
import { isDnsLabel, isDnsSubdomain } from "../client/mod.ts";
import type { HostContainer, RestartPolicy } from "./container.ts";
import type { HostPod } from "./pods.ts";

/**
 * Checks pods, also those that no compiler has seen.
 *
 * @throws {TypeError} If one cannot be served, or two have one name; it says which and why.
 */
export function checkPods(pods: readonly HostPod[]): void {
  const names = new Set<string>();
  for (const [i, pod] of pods.entries()) {
    const { name, namespace = "default", containers } = objectOf(pod, `pod ${i}`);
    if (!isName(name, isDnsSubdomain)) throw wrong(`pod ${i}`, `${quote(name)} is no name of a pod`);
    const what = `pod ${name}`;
    if (!isName(namespace, isDnsLabel)) throw wrong(what, `${quote(namespace)} is no namespace`);
    if (names.has(`${namespace}/${name}`)) throw wrong(what, `there is another one in the namespace ${namespace}`);
    names.add(`${namespace}/${name}`);
    const { restartPolicy = "Never", terminationGracePeriodSeconds: grace = 0, ports = {} } = pod;
    if (!POLICIES.includes(restartPolicy)) throw wrong(what, `its restartPolicy is none of ${POLICIES.join(", ")}`);
    if (!(Number.isSafeInteger(grace) && grace >= 0)) {
      throw wrong(what, `${quote(grace)} is no number of seconds for its end`);
    }
    objectOf(ports, `${what}, ports`);
    if (!Array.isArray(containers) || containers.length === 0) throw wrong(what, "it has no containers");
    checkContainers(containers, what);
  }
}

const POLICIES: readonly RestartPolicy[] = ["Always", "OnFailure", "Never"];

function checkContainers(containers: readonly HostContainer[], pod: string): void {
  const names = new Set<string>();
  for (const [i, container] of containers.entries()) {
    const { name, command, args = [], env = {}, ports = [] } = objectOf(container, `${pod}, container ${i}`);
    if (!isName(name, isDnsLabel)) throw wrong(`${pod}, container ${i}`, `${quote(name)} is no name of a container`);
    const what = `${pod}, container ${name}`;
    if (names.has(name)) throw wrong(what, "there is another one of that name");
    names.add(name);
    if (!areTexts(command) || command.length === 0) throw wrong(what, "its command has to be a list of words");
    if (!areTexts(args)) throw wrong(what, "its args have to be a list of words");
    if (!areTexts(Object.values(objectOf(env, `${what}, env`)))) throw wrong(what, "its env has to hold texts");
    if (!Array.isArray(ports)) throw wrong(what, "its ports have to be a list");
  }
}

function objectOf<T extends object>(value: T, what: string): T {
  if (typeof value === "object" && value !== null) return value;
  throw wrong(what, `${quote(value)} is no object`);
}

function isName(value: unknown, fits: (name: string) => boolean): boolean {
  return typeof value === "string" && fits(value);
}

function areTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((text) => typeof text === "string");
}

function wrong(what: string, why: string): TypeError {
  return new TypeError(`${what} cannot be served: ${why}`);
}

function quote(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
