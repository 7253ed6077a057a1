/**
 * What relays may expose: nothing, unless it is on this list.
 *
 * @module
 */
import { formatAddress, parseAddress } from "./address.ts";
import type { RelaySpec } from "./config.ts";

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
 * @throws {SyntaxError} If it is neither.
 */
export function parseAllowed(text: string): Allowed {
  const [address = "", list] = text.split(/=(.*)/s, 2);
  const allowed = { address: formatAddress(parseAddress(address)) };
  if (list === undefined) return allowed;
  const paths = list.split(",");
  const wrong = paths.find((path) => !path.startsWith("/"));
  if (wrong !== undefined) throw new SyntaxError(`has a path that does not begin with /: ${JSON.stringify(wrong)}`);
  return { ...allowed, paths };
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
