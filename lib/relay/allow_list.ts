/**
 * What relays may expose: nothing, unless it is on this list.
 *
 * @module
 */
import { formatAddress, parseAddress } from "./address.ts";
import type { RelaySpec } from "./config.ts";
import { RelayConfigError } from "./config_reader.ts";
import { parseRelays } from "./parse_config.ts";

/** One target that may be exposed. */
export interface Allowed {
  /** Its address, as a relay's target has it. */
  readonly address: string;
  /** Only these HTTP paths of it; the whole stream, if absent. */
  readonly paths?: readonly string[];
}

/**
 * Reads `ADDRESS` or `ADDRESS=PATH[,PATH…]`: `tcp:127.0.0.1:10259=/metrics`.
 *
 * @throws {SyntaxError} If it is neither, or no relay could be so.
 */
export function parseAllowed(text: string): Allowed {
  const [address = "", list] = text.split(/=(.*)/s, 2);
  const paths = list?.split(",");
  refuseNever(address, paths);
  const parsed = parseAddress(address);
  if ("path" in parsed) throw new SyntaxError("the address must be tcp:HOST:PORT or udp:HOST:PORT");
  return { address: formatAddress(parsed), ...(paths && { paths }) };
}

/** What no relay can have would be an entry that never matches: a mistake that nobody would see. */
function refuseNever(address: string, paths: readonly string[] | undefined): void {
  const relay = { name: "r", listen: { address: "unix:@r" }, target: { address }, ...(paths && { http: { paths } }) };
  try {
    parseRelays([{ file: "--allow", text: JSON.stringify({ relays: [relay] }) }]);
  } catch (cause) {
    if (!(cause instanceof RelayConfigError)) throw cause;
    const problems = cause.details.map(({ key, text }) => `the ${key.includes(".http") ? "path" : "address"} ${text}`);
    throw new SyntaxError(problems.join("; "), { cause });
  }
}

/** Why `relay` may not be, for people; `undefined` if it may. */
export function refusal(allowed: readonly Allowed[], { target, http }: RelaySpec): string | undefined {
  const address = formatAddress(parseAddress(target.address));
  const entries = allowed.filter((entry) => entry.address === address);
  if (entries.length === 0) return `the operator's --allow does not name ${address}`;
  if (entries.some(({ paths }) => paths === undefined)) return undefined;
  if (!http) return `the operator's --allow names ${address} for some HTTP paths only: http.paths must name them`;
  const wrong = http.paths.find((path) => !entries.some(({ paths }) => paths?.includes(path)));
  return wrong === undefined ? undefined : `the operator's --allow does not name the path ${wrong} of ${address}`;
}
