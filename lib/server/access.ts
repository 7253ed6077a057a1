/**
 * Who may talk to a server of podwire's: the embedded host, or a gateway.
 *
 * @module
 */
import { BEARER_PROTOCOL } from "../channels/mod.ts";
import type { HttpRequest, HttpResponse } from "./http.ts";
import type { Exchange } from "./http_server.ts";
import { forbidden, unauthorized } from "./status_error.ts";

/** Names of header fields, with commas between them: nothing else of a request is repeated in an answer. */
const NAMES = /^[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*$/;

/** Options of an {@linkcode AccessControl}. */
export interface AccessControlOptions {
  /** What a client has to know; without it, whoever can connect may do everything. */
  readonly token?: string;
  /** The origins of the web pages that may use the server, `https://page.example`. */
  readonly allowOrigins: readonly string[];
  /** Whether clients are told the token as a URL's path, which has to keep it as it is. */
  readonly tokenInPath: boolean;
  /** Whether the `Host` header must be a loopback name: it must over TCP, and says nothing over a unix socket. */
  readonly checkHost: boolean;
}

/**
 * Lets requests in, or not.
 *
 * Whoever is let in can do what the server's user can, so over TCP a client has to know a random token.
 * It may come in three ways: as `Authorization: Bearer`, in a WebSocket's subprotocols (a browser page can set
 * nothing else), or as the first segment of the path. The last one is for kubectl: client-go reads no credentials
 * from a kubeconfig for a server without TLS, but keeps the path of its URL, so `server: http://127.0.0.1:PORT/TOKEN`
 * works, and the server needs no certificate.
 *
 * Other local users do not know the token. A web page does not either; beyond that its `Origin` must be
 * allowed, and the `Host` that it thinks it talks to must be a loopback name (DNS rebinding).
 */
export class AccessControl {
  readonly #options: AccessControlOptions;

  /**
   * Access by these rules.
   *
   * @throws {TypeError} If the token is empty, which anybody knows, or has characters with which no client could say it; or if no page has an
   * origin that is allowed.
   */
  constructor(options: AccessControlOptions) {
    if (options.token === "") throw new TypeError("the token is empty: everybody would have it");
    if (options.token !== undefined) checkToken(options.token, options.tokenInPath);
    options.allowOrigins.forEach(checkOrigin);
    this.#options = options;
  }

  /**
   * Admits a request, or answers a preflight. Who is not let in keeps no connection: its place is for those who may.
   *
   * @returns Its path, without the token if that came in it; or the answer.
   * @throws {StatusError} If it comes from the wrong place or without the token.
   */
  enter({ connection, request }: Pick<Exchange, "connection" | "request">): string | HttpResponse {
    let path: string | undefined;
    try {
      return this.#preflight(request) ?? (path = this.#admit(request));
    } finally {
      if (path === undefined) connection.finish();
    }
  }

  #admit(request: HttpRequest): string {
    this.#checkOrigin(request);
    const { token } = this.#options;
    const { path, headers } = request;
    if (token === undefined) return path;
    const [, first = ""] = path.split("/", 2);
    if (sameText(first, token)) return path.slice(1 + first.length) || "/";
    const [, bearer = ""] = /^bearer +(\S+)$/i.exec(headers.get("authorization") ?? "") ?? [];
    if (sameText(bearer, token) || sameText(protocolToken(request), token)) return path;
    throw unauthorized();
  }

  /** The answer to a browser's question before a request across origins (the Fetch standard's CORS-preflight), if it is one. */
  #preflight(request: HttpRequest): HttpResponse | undefined {
    if (request.method !== "OPTIONS" || request.headers.get("access-control-request-method") === undefined) {
      return undefined;
    }
    this.#checkOrigin(request);
    const headers = request.headers.get("access-control-request-headers");
    return {
      status: 204,
      headers: [
        ["Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"],
        ...(headers !== undefined && NAMES.test(headers) ? [["Access-Control-Allow-Headers", headers] as const] : []),
        // Chromium asks this when a public page reaches into the local network.
        ["Access-Control-Allow-Private-Network", "true"],
        ["Access-Control-Max-Age", "600"],
      ],
    };
  }

  /** The answer to `request` with what lets a page of an allowed origin read it. */
  share(request: HttpRequest, response: HttpResponse): HttpResponse {
    const origin = request.headers.get("origin");
    if (origin === undefined || !this.#options.allowOrigins.includes(origin)) return response;
    const headers = [["Access-Control-Allow-Origin", origin], ["Vary", "Origin"]] as const;
    return { ...response, headers: [...(response.headers ?? []), ...headers] };
  }

  #checkOrigin(request: HttpRequest): void {
    if (this.#options.checkHost && !isLoopbackName(request.headers.get("host") ?? "")) {
      throw forbidden("the Host header names something else than this machine's loopback");
    }
    const origin = request.headers.get("origin");
    if (origin !== undefined && !this.#options.allowOrigins.includes(origin)) {
      throw forbidden(`web pages of ${origin} may not use this server; it was started without allowing that origin`);
    }
  }
}

/** Refuses what no path, or no header, takes as it is (RFC 3986 "unreserved", RFC 6750 "b64token"). */
function checkToken(token: string, inPath: boolean): void {
  const fits = inPath ? /^(?!\.{1,2}$)[\w.~-]+$/ : /^[\w.~+/-]+=*$/;
  if (fits.test(token)) return;
  const others = inPath ? "" : ', "+", "/", and "=" at the end';
  throw new TypeError(
    `the token may have letters, digits, "-", ".", "_" and "~"${others}: clients could not send it else`,
  );
}

/** Refuses what no browser sends as a page's `Origin` (RFC 6454 section 6.2), and `null`, which any page can send. */
function checkOrigin(text: string): void {
  const { protocol, host, origin } = URL.parse(text) ?? { protocol: "", host: "", origin: "" };
  // Of a scheme that it does not know, an extension's say, a URL tells no origin.
  if (host !== "" && text === (origin === "null" ? `${protocol}//${host}` : origin)) return;
  throw new TypeError(
    `${
      JSON.stringify(text)
    } is no origin of a page: that is a scheme, a host and, unless it is the scheme's own, a port, ` +
      "such as https://page.example",
  );
}

/** 192 random bits, in characters that a path and a header take as they are. */
export function randomToken(): string {
  return crypto.getRandomValues(new Uint8Array(24)).toBase64({ alphabet: "base64url" });
}

function isLoopbackName(host: string): boolean {
  const name = host.replace(/:\d*$/, "").toLowerCase();
  return name === "localhost" || name === "[::1]" || /^127(\.\d{1,3}){3}$/.test(name);
}

/** The subprotocols of a WebSocket request without tokens: of its first header line, as Kubernetes' servers read it. */
export function webSocketProtocols(request: HttpRequest): string[] {
  return offeredProtocols(request).filter((name) => !name.startsWith(BEARER_PROTOCOL));
}

/** The token among the subprotocols; as upstream, it must be the only one and have something beside it. */
function protocolToken(request: HttpRequest): string {
  const offered = offeredProtocols(request);
  const [bearer, second] = offered.filter((name) => name.startsWith(BEARER_PROTOCOL));
  if (bearer === undefined || second !== undefined || offered.length < 2) return "";
  return decodeBase64Url(bearer.slice(BEARER_PROTOCOL.length));
}

function offeredProtocols(request: HttpRequest): string[] {
  const line = request.headers.get("sec-websocket-protocol") ?? "";
  return line.split(",").map((name) => name.trim()).filter((name) => name !== "");
}

function decodeBase64Url(text: string): string {
  try {
    const bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" });
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return ""; // No token of ours.
  }
}

/** Compares in a time that does not tell where the texts differ. */
function sameText(given: string, token: string): boolean {
  let different = given.length ^ token.length;
  for (let i = 0; i < token.length; i++) different |= given.charCodeAt(i) ^ token.charCodeAt(i);
  return different === 0;
}
