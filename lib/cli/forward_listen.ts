/**
 * The local ports of port-forward: which are opened, and what is said of those that cannot be (client-go
 * `tools/portforward`).
 *
 * @module
 */
import { messageOf, PodwireError } from "../bytes/mod.ts";
import type { ForwardedPort } from "../client/mod.ts";
import { formatAddress, type SocketAddress } from "../dial/mod.ts";
import type { ListenPlace } from "./forward_addresses.ts";

/** What {@linkcode listenOnPorts} does with the outside. */
export interface ListenActions {
  /** Listens; what it resolves to is where, with the port that it got. */
  readonly listen: (address: SocketAddress, port: ForwardedPort) => Promise<SocketAddress>;
  /** A port is open at an address. Said when none is left to be opened: whoever waits for one may use all. */
  readonly opened: (address: SocketAddress, port: ForwardedPort) => void;
  /** A line about a port that is not. */
  readonly warn: (line: string) => void;
}

/**
 * Opens every port at every place. A free port that is taken at the first place is taken at the others as well.
 *
 * @throws {PodwireError} If no port could be opened.
 * @throws What `listen` throws, unless it is that the address cannot be had.
 */
export async function listenOnPorts(
  ports: readonly ForwardedPort[],
  places: readonly ListenPlace[],
  actions: ListenActions,
): Promise<void> {
  const locals = ports.map(({ local }) => local);
  const opened: (() => void)[] = [];
  let success = false;
  for (const [i, port] of ports.entries()) {
    const failures: string[] = [];
    const counts = { optional: { good: 0, bad: 0 }, wanted: { good: 0, bad: 0 } };
    for (const place of places) {
      const count = "optional" in place && place.optional ? counts.optional : counts.wanted;
      const address = "path" in place ? { path: place.path } : { hostname: place.hostname, port: locals[i] ?? 0 };
      try {
        const got = await actions.listen(address, port);
        if ("port" in got) locals[i] = got.port;
        const where = "port" in got && "port" in address ? { ...address, port: got.port } : address;
        opened.push(() => actions.opened(where, port));
        count.good++;
      } catch (error) {
        failures.push(`unable to create listener: Error ${listenErrorText(error, address, port)}`);
        count.bad++;
      }
    }
    if ((counts.optional.good === 0 && counts.optional.bad > 0) || counts.wanted.bad > 0) {
      const problems = `Listeners failed to create with the following errors: [${failures.join(" ")}]`;
      actions.warn(`Unable to listen on port ${locals[i]}: ${problems}`);
    } else {
      success = true;
    }
  }
  for (const say of opened) say();
  if (success) return;
  const asked = ports.map(({ remote }, i) => `{${locals[i]} ${remote}}`).join(" ");
  throw new PodwireError(`unable to listen on any of the requested ports: [${asked}]`);
}

/** Why an address cannot be had, in Go's words where it has some; throws what is another trouble. */
function listenErrorText(error: unknown, address: SocketAddress, { protocol }: ForwardedPort): string {
  const code = codeOf(error);
  if (code === undefined) throw error;
  if ("path" in address) return (error as Error).message;
  const network = protocol + (address.hostname.includes(":") ? "6" : "4");
  const reason = REASONS[code] ?? messageOf((error as Error).cause ?? error);
  return `listen ${network} ${formatAddress(address)}: ${reason}`;
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "bind: address already in use",
  EADDRNOTAVAIL: "bind: cannot assign requested address",
  EACCES: "bind: permission denied",
  EAFNOSUPPORT: "socket: address family not supported by protocol",
};

/** The system's name of what went wrong with a socket. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof PodwireError)) return undefined;
  const { code = (error.cause as { code?: unknown } | undefined)?.code } = error as { code?: unknown };
  return typeof code === "string" && /^E[A-Z]+$/.test(code) ? code : undefined;
}
