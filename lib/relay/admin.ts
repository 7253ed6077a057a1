/**
 * What an operator and Prometheus ask a process of relays: `/metrics`, `/healthz`, `/readyz`.
 *
 * @module
 */
import { systemText } from "../bytes/mod.ts";
import { type Address, formatAddress } from "./address.ts";
import { listenOn } from "./any_address.ts";
import { RelayError } from "./errors.ts";
import type { Relays } from "./relays.ts";
import { bindSocket } from "./socket_file.ts";

/** The endpoint. */
export interface Admin extends AsyncDisposable {
  /** Where it listens, with the port that it got. */
  readonly address: Address;
}

/**
 * Serves the endpoint on `tcp:` or `unix:`; a unix socket is for its owner alone.
 *
 * @throws {RelayError} If nobody can listen there.
 */
export async function serveAdmin(relays: Relays, address: Address): Promise<Admin> {
  const answer = ({ method, url }: Request) => respond(relays, method, new URL(url).pathname);
  const quiet = { onListen: () => {} };
  if (address.kind === "unix") {
    const { socket, file } = await bindSocket(address.path, { mode: 0o600 }, (path) => {
      const server = Deno.serve({ path, ...quiet }, answer);
      return Object.assign(server, { close: () => void server.shutdown() });
    });
    return {
      address,
      [Symbol.asyncDispose]: async () => {
        await socket.shutdown();
        await file.remove();
      },
    };
  }
  if (address.kind !== "tcp") {
    throw new RelayError(`the admin endpoint is tcp: or unix:, not ${formatAddress(address)}`, "listen");
  }
  try {
    const { hostname, port } = address;
    const server = await listenOn(hostname, (hostname) => Deno.serve({ hostname, port, ...quiet }, answer));
    return {
      address: { ...address, port: server.addr.port },
      [Symbol.asyncDispose]: () => server.shutdown(),
    };
  } catch (cause) {
    throw new RelayError(`cannot listen on ${formatAddress(address)}: ${systemText(cause)}`, "listen", { cause });
  }
}

function respond(relays: Relays, method: string, path: string): Response {
  if (method !== "GET" && method !== "HEAD") return new Response("only GET and HEAD\n", { status: 405 });
  switch (path) {
    case "/metrics":
      return new Response(relays.metrics(), {
        headers: { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" },
      });
    case "/healthz":
      return new Response("ok\n");
    case "/readyz": {
      const { failures } = relays;
      return failures.length === 0 ? new Response("ok\n") : new Response(`${failures.join("\n")}\n`, { status: 503 });
    }
  }
  return new Response("there are /metrics, /healthz and /readyz\n", { status: 404 });
}
