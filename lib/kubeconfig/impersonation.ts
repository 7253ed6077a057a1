/**
 * Being somebody else for the server.
 *
 * @module
 */
import type { Impersonation } from "./kubeconfig.ts";

/** The headers for an impersonation, as client-go sends them (`transport/round_trippers.go`). */
export function impersonationHeaders({ user, uid, groups = [], extra = {} }: Impersonation): Array<[string, string]> {
  const headers: Array<[string, string]> = [];
  if (user) headers.push(["Impersonate-User", user]);
  if (uid) headers.push(["Impersonate-Uid", uid]);
  for (const group of groups) headers.push(["Impersonate-Group", group]);
  for (const [key, values] of Object.entries(extra)) {
    for (const value of values) headers.push([`Impersonate-Extra-${escapeHeaderName(key)}`, value]);
  }
  return headers;
}

/** Percent-encodes every byte that a header's name cannot have, and the percent sign. */
function escapeHeaderName(key: string): string {
  return Array.from(new TextEncoder().encode(key), (byte) => {
    const char = String.fromCharCode(byte);
    return /[!#$&'*+\-.^_`|~0-9A-Za-z]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }).join("");
}
