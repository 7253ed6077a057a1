/**
 * Objects of the API as `-o json`, `-o yaml` and `-o name` print them.
 *
 * @module
 */

/** An object of the API. */
export interface ApiObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

/** Several objects as the one that kubectl prints for them. */
export function listOf(items: readonly ApiObject[]): ApiObject {
  return { apiVersion: "v1", items, kind: "List", metadata: { resourceVersion: "" } };
}

/** `object` without what each field's manager is, which kubectl leaves out unless asked. */
export function withoutManagedFields(object: ApiObject): ApiObject {
  const { managedFields: _, ...metadata } = object.metadata ?? {};
  return object.metadata ? { ...object, metadata } : object;
}

/** `object` as kubectl's JSON: sorted keys, four spaces, and what Go escapes escaped. */
export function toJson(object: unknown): string {
  const text = JSON.stringify(sortKeys(object), undefined, 4);
  return text.replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`) + "\n";
}

/** `object` as `-o name` prints it: `pod/web-0`, `deployment.apps/web`. */
export function toName(object: ApiObject): string {
  return `${kindName(object.apiVersion ?? "", object.kind ?? "")}/${object.metadata?.name ?? "<unknown>"}\n`;
}

/** A kind as kubectl writes it before a name: `pod`, `deployment.apps`. */
export function kindName(apiVersion: string, kind: string): string {
  const [group, version] = apiVersion.split("/");
  return version === undefined ? kind.toLowerCase() : `${kind.toLowerCase()}.${group}`;
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1);
  return Object.fromEntries(entries.map(([key, value]) => [key, sortKeys(value)]));
}
