/**
 * Which header fields pass a gateway.
 *
 * @module
 */
import { endToEnd, type HeaderFields } from "../dial/mod.ts";
import { webSocketProtocols } from "./access.ts";
import type { HttpRequest } from "./http.ts";

/** How the client reached the gateway. */
export interface ClientOrigin {
  /** Its address; a unix socket's client has none. */
  readonly address?: string;
  /** Whether over TLS. */
  readonly tls: boolean;
}

/**
 * The header fields of a request that the upstream gets to see, and in `X-Forwarded-*` where it came from.
 *
 * What concerns one connection stays (RFC 9110 section 7.6.1). So does all that could say who the client is: the gateway
 * has credentials of its own, and the upstream may believe a proxy's word about users and addresses. `Origin` and `Referer` stay, because the upstream
 * is not the server that a page means, and a URL may hold the gateway's token.
 */
export function requestFields(request: HttpRequest, client: ClientOrigin): HeaderFields {
  const fields = [...request.headers].filter(([name]) => !isIdentity(name) && name.toLowerCase() !== "expect");
  const passed = endToEnd(fields).filter(([name]) => {
    return !/^(host|sec-websocket-protocol|content-length)$/i.test(name);
  });
  const protocols = webSocketProtocols(request).join(", ");
  const length = request.headers.get("content-length");
  return [
    ...passed,
    ...(protocols === "" ? [] : [["Sec-WebSocket-Protocol", protocols] as const]),
    ...(length === undefined ? [] : [["Content-Length", length] as const]),
    ...(client.address === undefined ? [] : [["X-Forwarded-For", client.address] as const]),
    ["X-Forwarded-Host", request.headers.get("host") ?? ""],
    ["X-Forwarded-Proto", client.tls ? "https" : "http"],
  ];
}

/** The header fields of an answer that the client gets to see. Which pages may read it is the gateway's to say. */
export function responseFields(fields: HeaderFields): HeaderFields {
  const chunked = fields.some(([name]) => /^transfer-encoding$/i.test(name));
  return endToEnd(fields).filter(([name]) => {
    return !/^access-control-/i.test(name) && !(chunked && name.toLowerCase() === "content-length");
  });
}

/** Whether a field says who or where the client is: to an API server, to proxies, by certificates (RFC 9440) or cookies. */
function isIdentity(name: string): boolean {
  return /^((proxy-)?authorization|cookie|origin|referer|forwarded|via)$/i.test(name) ||
    /^(impersonate|x-remote|x-forwarded|x-real|x-original|client-cert|x-client-cert|x-ssl|ssl)(-|$)/i.test(name);
}
