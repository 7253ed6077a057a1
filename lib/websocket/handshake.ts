/**
 * The opening handshake (RFC 6455 section 4) as plain values: header lists out, heads in. The
 * HTTP around it is somebody else's.
 *
 * @module
 */
import { hasToken, PodwireError } from "../bytes/mod.ts";

/** Header fields in the order and spelling of the wire. */
export type HeaderList = ReadonlyArray<readonly [name: string, value: string]>;

/** The server's answer is not that of a WebSocket server, or not to this request. */
export class WebSocketHandshakeError extends PodwireError {
  /** The class's name. */
  override name = "WebSocketHandshakeError";
}

/**
 * The client's side.
 *
 * @example
 * ```ts
 * import { ClientHandshake } from "./handshake.ts";
 *
 * async function upgrade(send: (headers: unknown) => Promise<{ headers: Headers }>): Promise<string> {
 *   const handshake = new ClientHandshake(["v5.channel.k8s.io"]);
 *   const response = await send(handshake.headers); // status 101 is for the HTTP layer to check
 *   return await handshake.verify(response); // "v5.channel.k8s.io"
 * }
 * ```
 */
export class ClientHandshake {
  /** The fields of the request, spelled and ordered as kubectl's (alphabetically). */
  readonly headers: HeaderList;

  readonly #key: string;
  readonly #protocols: readonly string[];

  /** A handshake that offers `protocols`, best first; it is good for one request. */
  constructor(protocols: readonly string[] = []) {
    this.#key = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
    this.#protocols = protocols;
    this.headers = [
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Key", this.#key],
      ...(protocols.length > 0 ? [["Sec-WebSocket-Protocol", protocols.join(", ")] as const] : []),
      ["Sec-WebSocket-Version", "13"],
      ["Upgrade", "websocket"],
    ];
  }

  /**
   * Checks the head of a response with status 101.
   *
   * @returns The subprotocol that the server chose, or an empty string if none was offered.
   * @throws {WebSocketHandshakeError} If this is no WebSocket, not the answer to this request, or not a subprotocol
   * that was offered; kubectl falls back to SPDY then (client-go `transport/websocket/roundtripper.go`).
   */
  async verify(response: { readonly headers: Headers }): Promise<string> {
    const { headers } = response;
    if (!hasToken(headers.get("upgrade"), "websocket") || !hasToken(headers.get("connection"), "upgrade")) {
      throw new WebSocketHandshakeError("the server did not upgrade to WebSocket");
    }
    if (headers.get("sec-websocket-accept") !== await acceptValue(this.#key)) {
      throw new WebSocketHandshakeError("the server's Sec-WebSocket-Accept does not belong to this request");
    }
    const extensions = headers.get("sec-websocket-extensions");
    if (extensions) {
      throw new WebSocketHandshakeError(`the server chose extensions that were not offered: ${extensions}`);
    }
    const chosen = headers.get("sec-websocket-protocol") ?? "";
    const offered = this.#protocols.length > 0 ? this.#protocols : [""];
    if (!offered.includes(chosen)) {
      throw new WebSocketHandshakeError(
        `invalid protocol, expected one of [${this.#protocols.join(" ")}], got ${JSON.stringify(chosen)}`,
      );
    }
    return chosen;
  }
}

/** A request that cannot become a WebSocket, and the HTTP response that says so. */
export class WebSocketRequestError extends PodwireError {
  /** The class's name. */
  override name = "WebSocketRequestError";
  /** The response's status. */
  readonly status: number;
  /** The response's header fields. */
  readonly headers: HeaderList;
  /** The response's body: this error's message, but nothing for 403. */
  readonly body: string;

  /** An error that is answered with `status`. */
  constructor(status: number, message: string, response: { headers?: HeaderList; body?: string } = {}) {
    super(message);
    this.status = status;
    this.headers = response.headers ?? [];
    this.body = response.body ?? message;
  }
}

/** What a server answers to an accepted request. */
export interface ServerHandshake {
  /** The subprotocol that was chosen, or an empty string. */
  readonly protocol: string;
  /** The fields of the response with status 101, in the order of Kubernetes' servers. */
  readonly headers: HeaderList;
}

/**
 * The server's side: checks a request's head and chooses the client's first subprotocol that is in `supported`.
 * Texts and statuses are those of Kubernetes' servers (`golang.org/x/net/websocket`).
 *
 * @param supported The subprotocols; with `""` among them a client need not offer one.
 * @throws {WebSocketRequestError} If the request cannot be accepted.
 *
 * @example
 * ```ts
 * import { acceptWebSocket } from "./handshake.ts";
 *
 * async function answer(request: Request): Promise<void> {
 *   const { protocol, headers } = await acceptWebSocket(request, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
 *   console.log(101, headers, protocol);
 * }
 * ```
 */
export async function acceptWebSocket(
  request: { readonly method: string; readonly headers: Pick<Headers, "get"> },
  supported: readonly string[],
): Promise<ServerHandshake> {
  const { method, headers } = request;
  if (method !== "GET") throw new WebSocketRequestError(405, "bad method");
  if (!isWebSocketRequest(request)) throw new WebSocketRequestError(400, "not websocket protocol");
  const key = headers.get("sec-websocket-key") ?? "";
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) throw new WebSocketRequestError(400, "mismatch challenge/response");
  if (headers.get("sec-websocket-version") !== "13") {
    throw new WebSocketRequestError(400, "missing or bad WebSocket Version", {
      headers: [["Sec-WebSocket-Version", "13"]],
    });
  }
  const offered = (headers.get("sec-websocket-protocol") ?? "").split(",").map((name) => name.trim());
  const protocol = offered.find((name) => supported.includes(name));
  if (protocol === undefined) {
    throw new WebSocketRequestError(
      403,
      `requested protocol(s) are not supported: [${offered.join(" ")}]; supports [${supported.join(" ")}]`,
      { body: "" },
    );
  }
  return {
    protocol,
    headers: [
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Accept", await acceptValue(key)],
      ...(protocol === "" ? [] : [["Sec-WebSocket-Protocol", protocol] as const]),
    ],
  };
}

/** Whether a request asks for a WebSocket: its `Upgrade` and `Connection`, as Kubernetes' servers read them. */
export function isWebSocketRequest(request: { readonly headers: Pick<Headers, "get"> }): boolean {
  return hasToken(request.headers.get("upgrade"), "websocket") &&
    hasToken(request.headers.get("connection"), "upgrade");
}

/** The Sec-WebSocket-Accept that belongs to a Sec-WebSocket-Key (RFC 6455 section 4.2.2). */
async function acceptValue(key: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(key + GUID));
  return btoa(String.fromCharCode(...new Uint8Array(digest)));
}

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
