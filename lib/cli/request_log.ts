/**
 * What `-v` shows of the requests to the server.
 *
 * @module
 */
import type { RequestEvent } from "../client/mod.ts";

/**
 * A request as lines of text: from `-v=6` on the method, address, status and time, from `-v=8` on the headers
 * too. Credentials are masked already.
 */
export function formatRequest(event: RequestEvent, verbosity: number): string {
  const status = event.status === 0 ? "no answer" : String(event.status);
  const lines = [`${event.method} ${event.url} ${status} in ${event.milliseconds} ms`];
  if (verbosity >= 8) {
    lines.push(...event.requestHeaders.map(([name, value]) => `> ${name}: ${value}`));
    lines.push(...[...event.responseHeaders].map(([name, value]) => `< ${name}: ${value}`));
  }
  return lines.join("\n") + "\n";
}
