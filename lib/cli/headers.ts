/**
 * KEP-859: request headers that tell a cluster's operators which command a request comes from.
 *
 * @module
 */
import type { GivenFlag } from "./flags.ts";

/** What the headers tell. */
export interface CommandReport {
  /** The program: `podwire`. */
  readonly program: string;
  /** The sub-command's path: `["exec"]`, `["create", "secret", "tls"]`. */
  readonly path: readonly string[];
  /** The flags, as they were typed. */
  readonly given: readonly GivenFlag[];
  /** A UUID, one for each run of the program. */
  readonly session: string;
  /** `true`, or the release that removes it, for a command that will go. */
  readonly deprecated?: true | string;
  /** Who built the program, if that was not us. */
  readonly build?: string;
}

/**
 * The headers for `report`: KEP-859's five (`X-Kubectl-Flags`, `-Deprecated` and `-Build` only where there is something to
 * say), and the two names that kubectl ships (cli-runtime `command_headers.go`). Neither an argument nor a flag's value is
 * ever in them: of a value at most which of a flag's few known values it is.
 *
 * @example
 * ```ts
 * import { parseArguments } from "./flags.ts";
 * import { commandHeaders } from "./headers.ts";
 *
 * const { given } = parseArguments(["pods", "-o", "wide"], {
 *   output: { kind: "string", short: "o", help: "", reported: ["json", "wide"] },
 * }, "podwire get");
 * const headers = commandHeaders({ program: "podwire", path: ["get"], given, session: crypto.randomUUID() });
 * console.log(new Headers(headers).get("X-Kubectl-Flags")); // -o=wide
 * ```
 */
export function commandHeaders(report: CommandReport): Array<[name: string, value: string]> {
  const flags = report.given.map(describeFlag).sort(compare).join(",");
  const headers: Array<[string, string]> = [
    ["X-Kubectl-Command", report.path.join(" ")],
    ["X-Kubectl-Session", report.session],
    ["Kubectl-Command", [report.program, ...report.path].join(" ")],
    ["Kubectl-Session", report.session],
  ];
  if (flags) headers.push(["X-Kubectl-Flags", flags]);
  if (report.deprecated) headers.push(["X-Kubectl-Deprecated", String(report.deprecated)]);
  if (report.build) headers.push(["X-Kubectl-Build", report.build]);
  return headers;
}

/** Whether the headers are wanted: kubectl's own switch, `KUBECTL_COMMAND_HEADERS=false` or `0`. */
export function commandHeadersEnabled(value: string | undefined): boolean {
  return !["false", "0"].includes(value?.toLowerCase() ?? "");
}

function describeFlag({ definition, typed, value }: GivenFlag): string {
  const known = definition.reported;
  if (known === undefined) return typed;
  if (known === "filename") return `${typed}=${describePlace(value)}`;
  const [kind = ""] = value.split("=", 1); // custom-columns=NAME:.metadata.name
  return known.includes(kind) ? `${typed}=${kind}` : typed;
}

function describePlace(value: string): "stdin" | "remote" | "local" {
  if (value === "-") return "stdin";
  return /^https?:\/\//.test(value) ? "remote" : "local";
}

/** "Sorted alpha-numerically": the KEP's own lists (`-f=…,-R`) ignore case. */
function compare(a: string, b: string): number {
  const [x, y] = [a.toLowerCase(), b.toLowerCase()];
  if (x !== y) return x < y ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}
