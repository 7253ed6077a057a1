/**
 * What a gateway asks its upstream for: to upgrade, and to what.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";
import { PING, PROTOCOL_HEADER } from "../channels/mod.ts";
import { type SpdyUpgrade, UpgradeError } from "../client/mod.ts";
import { type HeaderFields, UpgradeRefusedError } from "../dial/mod.ts";
import { ClientHandshake, WebSocketConnection, WebSocketHandshakeError } from "../websocket/mod.ts";
import { goJson } from "./go_json.ts";
import type { HttpResponse } from "./http.ts";
import type { Upstream, UpstreamHead, UpstreamResponse, UpstreamUpgrade } from "./upstream.ts";

/** What a stream is asked for with, whichever wire it is to go over. */
export interface StreamTarget {
  /** Where to ask. */
  readonly upstream: Upstream;
  /** Path and query there. */
  readonly target: string;
  /** `pods/exec`, for error texts. */
  readonly resource: string;
  /** What else the request says; what belongs to the client's own upgrade is left out. */
  readonly headers: HeaderFields;
  /** Gives up. */
  readonly signal: AbortSignal;
}

/** The upstream answered with something other than a switch of protocols. */
export class UpstreamRefusal extends UpgradeError {
  /** The class's name. */
  override name = "UpstreamRefusal";
  /**
   * What to answer the client: the same, whole. For less than 400, a redirect say, that is an error of the gateway's own, as
   * a client of Kubernetes is never sent elsewhere (apimachinery `util/proxy/upgradeaware.go`).
   */
  readonly response: HttpResponse;

  /** A refusal with these head and body. */
  constructor(head: UpstreamHead, body: Uint8Array, wire: "websocket" | "spdy", resource: string) {
    const { status: code, statusText } = head;
    const isRedirect = code >= 300 && code < 400;
    super({
      code,
      statusText,
      body: isRedirect ? "redirect not allowed" : new TextDecoder().decode(body),
      resource,
      wire,
    });
    if (code >= 400) this.response = replay(head, body);
    else this.response = proxyError(`invalid upgrade response: status code ${code}`);
  }
}

/**
 * Asks to upgrade to a WebSocket.
 *
 * @throws {UpstreamRefusal} If the upstream does not agree.
 * @throws {PodwireError} If it does not answer.
 */
export async function askForWebSocket(
  target: StreamTarget,
  protocols: readonly string[],
): Promise<WebSocketConnection> {
  const handshake = new ClientHandshake(protocols);
  const { head, duplex } = await ask(target, "websocket", "GET", [
    ...plainHeaders(target.headers),
    ...handshake.headers,
  ]);
  try {
    const protocol = await handshake.verify({
      headers: new Headers(head.headers.map(([name, value]) => [name, value])),
    });
    return new WebSocketConnection(duplex, { role: "client", protocol, ping: PING, reuseBuffer: true });
  } catch (error) {
    duplex.close();
    if (!(error instanceof WebSocketHandshakeError)) throw error;
    throw badSwitch(error.message, "websocket", target.resource);
  }
}

/**
 * Asks to upgrade to SPDY/3.1.
 *
 * @throws As {@linkcode askForWebSocket}.
 */
export async function askForSpdy(target: StreamTarget, protocols: readonly string[]): Promise<SpdyUpgrade> {
  const { head, duplex } = await ask(target, "spdy", "POST", [
    ...plainHeaders(target.headers),
    ["Content-Length", "0"],
    ["Connection", "Upgrade"],
    ["Upgrade", "SPDY/3.1"],
    ...protocols.map((name) => [PROTOCOL_HEADER, name] as const),
  ]);
  return { duplex, protocol: headerValue(head.headers, PROTOCOL_HEADER).trim() };
}

/**
 * Asks for just what the client asks for.
 *
 * @param spelling The client's `Upgrade` field.
 * @throws As {@linkcode askForWebSocket}.
 */
export async function askForSame(
  target: StreamTarget,
  method: string,
  wire: keyof typeof UPGRADES,
  spelling: string,
): Promise<{ readonly headers: HeaderFields; readonly duplex: Duplex }> {
  const { head, duplex } = await ask(target, wire, method, [
    ...withoutFields(target.headers, FRAMING),
    ...(method === "GET" ? [] : [["Content-Length", "0"]] as const),
    ["Connection", "Upgrade"],
    // What was judged, in the client's spelling, and nothing else that it named.
    ["Upgrade", spelling.toLowerCase() === UPGRADES[wire].toLowerCase() ? spelling : UPGRADES[wire]],
  ]);
  return { headers: head.headers, duplex };
}

const UPGRADES = { websocket: "websocket", spdy: "SPDY/3.1" } as const;

/** The error of a gateway whose upstream cannot be reached or does not answer as it must (apimachinery `upgradeaware.go`). */
export function proxyError(message: string): HttpResponse {
  const status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, code: 500 };
  return { status: 500, headers: [["Content-Type", "application/json"]], body: `${goJson(status)}\n`, close: true };
}

/** The value of the first field of that name, or nothing. */
export function headerValue(headers: HeaderFields, name: string): string {
  return headers.find(([field]) => field.toLowerCase() === name.toLowerCase())?.[1] ?? "";
}

/** `headers` without those whose lower-cased names are among `names`. */
export function withoutFields(headers: HeaderFields, names: readonly string[]): HeaderFields {
  return headers.filter(([name]) => !names.includes(name.toLowerCase()));
}

/** Fields that say where a message ends, or what its connection becomes. */
const FRAMING = ["connection", "upgrade", "content-length", "transfer-encoding", "keep-alive"];

/** Fields that belong to one way of upgrading. */
const UPGRADING = [
  ...FRAMING,
  "origin",
  "sec-websocket-extensions",
  "sec-websocket-key",
  "sec-websocket-protocol",
  "sec-websocket-version",
  PROTOCOL_HEADER.toLowerCase(),
];

function plainHeaders(headers: HeaderFields): HeaderFields {
  return withoutFields(headers, UPGRADING);
}

async function ask(
  { upstream, target, resource, signal }: StreamTarget,
  wire: "websocket" | "spdy",
  method: string,
  headers: HeaderFields,
): Promise<UpstreamUpgrade> {
  let answer: UpstreamUpgrade | UpstreamResponse;
  try {
    answer = await upstream.upgrade({ method, target, headers, signal });
  } catch (error) {
    if (!(error instanceof UpgradeRefusedError)) throw error;
    throw badSwitch(error.message, wire, resource);
  }
  if ("duplex" in answer) return answer;
  throw new UpstreamRefusal(answer.head, await readBody(answer.body), wire, resource);
}

/** A refusal by an upstream that switched to something that it was not asked for. */
function badSwitch(why: string, wire: "websocket" | "spdy", resource: string): UpstreamRefusal {
  const body = new TextEncoder().encode(`unable to upgrade: missing upgrade headers in response: ${why}`);
  const headers = [["Content-Type", "text/plain; charset=utf-8"]] as const;
  return new UpstreamRefusal({ status: 500, statusText: "", headers }, body, wire, resource);
}

/** The same answer for the client, on a connection that ends with it. */
function replay(head: UpstreamHead, body: Uint8Array): HttpResponse {
  return {
    status: head.status,
    ...(head.statusText !== "" && { reason: head.statusText }),
    headers: [...withoutFields(head.headers, [...FRAMING, "date"]), ["Content-Length", String(body.length)]],
    body: (async function* () {
      yield await Promise.resolve(body);
    })(),
    close: true,
  };
}

/** More than this of a refusal's body is not passed on, in bytes: as much as the API server takes of a head. */
const MAX_BODY = 1024 * 1024;

/** How long a refusal's body may take, in milliseconds (apimachinery `upgradeaware.go`). */
const BODY_TIMEOUT = 10_000;

/** Reads the body of a refusal; of one that is too long or too slow, what was there in time. */
async function readBody(body: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const reader = body.getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  const timer = setTimeout(() => void reader.cancel(), BODY_TIMEOUT);
  try {
    for (let part = await reader.read(); !part.done && size < MAX_BODY; part = await reader.read()) {
      parts.push(part.value);
      size += part.value.length;
    }
  } catch (error) {
    if (!(error instanceof PodwireError)) throw error; // What broke in the middle is passed on as far as it came.
  } finally {
    clearTimeout(timer);
    await reader.cancel().catch(() => {}); // It broke before.
  }
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}
