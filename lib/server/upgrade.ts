/**
 * From an HTTP request to a stream: WebSocket or SPDY/3.1.
 *
 * @module
 */
import { PROTOCOL_HEADER } from "../channels/mod.ts";
import type { SpdyUpgrade } from "../client/mod.ts";
import type { HeaderFields } from "../dial/mod.ts";
import {
  acceptWebSocket,
  type ServerHandshake,
  WebSocketConnection,
  type WebSocketConnectionOptions,
  WebSocketRequestError,
} from "../websocket/mod.ts";
import type { HttpRequest, HttpResponse, HttpServerConnection } from "./http.ts";

/** A connection whose request can be answered with another protocol. */
export type UpgradableConnection = Pick<HttpServerConnection, "respond" | "upgrade" | "body">;

/** What the client wants to become of its connection, as far as podwire knows it. */
export function upgradeWanted(request: HttpRequest): "websocket" | "spdy" | undefined {
  // As upstream, who looks for SPDY in the whole line, in any case.
  if (request.headers.tokens("upgrade").some((token) => token.includes("spdy/3.1"))) return "spdy";
  return request.headers.tokens("upgrade")[0] === "websocket" ? "websocket" : undefined;
}

/** The answer to a request for anything else. */
export function unknownUpgrade(request: HttpRequest): HttpResponse {
  const upgrade = JSON.stringify(request.headers.getAll("upgrade").join(", "));
  return refusal(400, [`unable to upgrade: missing upgrade headers in request: Upgrade: ${upgrade}`]);
}

/**
 * Upgrades to a WebSocket of the client's first subprotocol that is in `supported`, or answers why not.
 *
 * @param offered What the client offers.
 * @returns The socket, or `undefined` if the client was refused.
 */
export async function upgradeToWebSocket(
  connection: UpgradableConnection,
  request: HttpRequest,
  offered: readonly string[],
  supported: readonly string[],
  options: Omit<WebSocketConnectionOptions, "role" | "protocol"> = {},
): Promise<WebSocketConnection | undefined> {
  // No `Headers`: it throws for values that are not Latin-1, which is none of this handshake's business.
  const headers = {
    get: (name: string) =>
      (name === "sec-websocket-protocol" ? offered : request.headers.getAll(name)).join(", ") || null,
  };
  let handshake: ServerHandshake;
  try {
    handshake = await acceptWebSocket({ method: request.method, headers }, supported);
  } catch (error) {
    if (!(error instanceof WebSocketRequestError)) throw error;
    await connection.respond({ status: error.status, headers: error.headers, body: error.body, close: true });
    return undefined;
  }
  const duplex = await connection.upgrade(handshake.headers);
  return new WebSocketConnection(duplex, { ...options, role: "server", protocol: handshake.protocol });
}

/**
 * Upgrades to SPDY/3.1 with the client's first protocol that is in `supported`, or answers why not.
 *
 * @param refusalLines How often the body of a refusal says it; containerd does so twice for exec and attach.
 * @returns `undefined` if the client was refused.
 */
export async function upgradeToSpdy(
  connection: UpgradableConnection,
  request: HttpRequest,
  supported: readonly string[],
  refusalLines: 1 | 2,
): Promise<SpdyUpgrade | undefined> {
  const offered = spdyProtocols(request);
  const protocol = offered.find((name) => supported.includes(name));
  if (protocol === undefined) {
    await connection.respond(refuseProtocols(offered, supported, refusalLines));
    return undefined;
  }
  await connection.body(); // Nobody sends one, but it would be taken for frames.
  const duplex = await connection.upgrade([
    ["Connection", "Upgrade"],
    ["Upgrade", "SPDY/3.1"],
    [PROTOCOL_HEADER, protocol],
    ["Date", new Date().toUTCString()],
  ]);
  return { duplex, protocol };
}

/** The protocols on top of SPDY that a client offers, in its order. */
export function spdyProtocols(request: HttpRequest): string[] {
  return request.headers.getAll(PROTOCOL_HEADER).flatMap((line) => line.split(","))
    .map((name) => name.trim()).filter((name) => name !== "");
}

/** The answer to a client that offers none of the `supported` protocols (cri-streaming, `httpstream.Handshake`). */
export function refuseProtocols(
  offered: readonly string[],
  supported: readonly string[],
  lines: 1 | 2 = 1,
): HttpResponse {
  if (offered.length === 0) return refusal(400, [`unable to upgrade: ${PROTOCOL_HEADER} is required`]);
  const text = `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(" ")}], ` +
    `server accepts [${supported.join(" ")}]`;
  const accepted = supported.map((name) => ["X-Accepted-Stream-Protocol-Versions", name] as const);
  return refusal(403, Array<string>(lines).fill(text), accepted);
}

/** An answer as Go's `http.Error` gives it. */
function refusal(
  status: number,
  lines: readonly string[],
  headers: HeaderFields = [],
): HttpResponse {
  return {
    status,
    headers: [
      ["Content-Type", "text/plain; charset=utf-8"],
      ...headers,
      ["X-Content-Type-Options", "nosniff"],
    ],
    body: lines.map((line) => `${line}\n`).join(""),
    close: true,
  };
}
