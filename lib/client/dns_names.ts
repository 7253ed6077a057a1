/**
 * Names as RFC 1123 and Kubernetes have them.
 *
 * @module
 */

/** Whether `text` is a DNS label, as a namespace's name is one. */
export function isDnsLabel(text: string): boolean {
  return /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text);
}

/** Whether `text` is a DNS subdomain, as a pod's name is one: labels with dots between them, each as long as it likes. */
export function isDnsSubdomain(text: string): boolean {
  return /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(text);
}
