/** What the tests of streams through a gateway stand on: a gateway, and upstreams that speak only half of what there is. */
import { assert } from "@std/assert";
import { concat } from "../../lib/bytes/mod.ts";
import type { ListenAddress } from "../../lib/server/listener.ts";
import { SocketListener } from "../../lib/server/listener.ts";
import { HttpServer } from "../../lib/server/http_server.ts";
import { proxyRequest } from "../../lib/server/proxy.ts";
import { requestFields } from "../../lib/server/forwarded_headers.ts";
import {
  serveStream,
  type StreamMetrics,
  type StreamOptions,
  type StreamOutcome,
} from "../../lib/server/stream_gateway.ts";
import { type HostServer, serveHost } from "../../lib/server/mod.ts";
import { Upstream } from "../../lib/server/upstream.ts";
import type { ClusterAccess } from "../../lib/kubeconfig/mod.ts";
import { headerValue, parseHead } from "../captures/recording.ts";
import { type RawConnection, type Script, withRawServer } from "../client/raw_server.ts";
import type { Reachable } from "./raw_client.ts";

/** Access to an upstream without credentials. */
export function accessTo(server: URL): ClusterAccess {
  return {
    server,
    namespace: "default",
    tls: {},
    credentials: {
      headers: () => Promise.resolve([]),
      clientCertificate: () => Promise.resolve(undefined),
      invalidate() {},
    },
  };
}

/** Counts as a gateway does: `NAME:LABELS` in order. */
export class Counted implements StreamMetrics {
  readonly counts: string[] = [];
  /** Streams under way. */
  open = 0;

  streamingRequest(subresource: string, proxyType: string): void {
    this.counts.push(`streaming:${subresource}:${proxyType}`);
  }

  translatorRequest(code: number): void {
    this.counts.push(`translator:${code}`);
  }

  streamOpened(): () => void {
    this.open++;
    return () => void this.open--;
  }

  tunnelRequest(code: number): void {
    this.counts.push(`tunnel:${code}`);
  }
}

/** A gateway of nothing but streams. */
export interface StreamGateway extends Reachable, AsyncDisposable {
  readonly outcomes: StreamOutcome[];
  readonly metrics: Counted;
  /** How many connections are open. */
  readonly connections: number;
  /** Resolves with the outcome of the next stream that ends. */
  next(): Promise<StreamOutcome>;
  /** Ends all streams. */
  drain(): Promise<void>;
}

/** Options of {@linkcode startGateway}. */
export interface GatewayOptions extends StreamOptions {
  /** Path and query at the upstream for those of a request. */
  readonly target?: (path: string, query: string) => string;
}

/** Starts a gateway in front of `upstream`. */
export async function startGateway(upstream: string | URL, options: GatewayOptions = {}): Promise<StreamGateway> {
  const listener = await SocketListener.listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
  const to = Upstream.create(accessTo(new URL(upstream)));
  const metrics = new Counted();
  const outcomes: StreamOutcome[] = [];
  let ended = Promise.withResolvers<StreamOutcome>();
  const server = new HttpServer(listener, async ({ connection, request, client, signal }) => {
    const { path, query } = request;
    const target = options.target?.(path, query) ?? (query === "" ? path : `${path}?${query}`);
    const headers = requestFields(request, { ...(client !== undefined && { address: client }), tls: false });
    if (request.headers.get("upgrade") === undefined && !path.endsWith("/exec")) {
      await proxyRequest({
        connection,
        request,
        target,
        headers,
        upstream: to,
        signal,
        share: (response) => response,
        onStatus() {},
      });
      return;
    }
    const [, subresource] = /\/pods\/[^/]+\/(exec|attach|portforward)$/.exec(path) ?? [];
    const outcome = await serveStream({
      connection,
      request,
      target,
      headers,
      upstream: to,
      subresource: subresource as "exec" | "attach" | "portforward" | undefined,
      signal,
      metrics,
    }, options);
    outcomes.push(outcome);
    ended.resolve(outcome);
    ended = Promise.withResolvers();
  }, { maxConnections: 1000 });
  const address: ListenAddress = listener.address;
  assert(address.transport === "tcp");
  const drain = async () => {
    await server.drain(0);
    to.close();
  };
  return {
    address,
    url: new URL(`http://127.0.0.1:${address.port}/`),
    outcomes,
    metrics,
    get connections() {
      return server.connections;
    },
    next: () => ended.promise,
    drain,
    [Symbol.asyncDispose]: drain,
  };
}

/** The embedded host with one pod, `web`, without a token. */
export async function startHost(ports: Record<number, number> = {}): Promise<HostServer> {
  const pod = { name: "web", ports, containers: [{ name: "main", command: ["sleep", "600"] }] };
  return await serveHost({ listen: { port: 0 }, token: null, pods: [pod] });
}

/** Runs `work` with a gateway in front of a scripted server. */
export async function withUpstream(
  script: Script,
  work: (gateway: StreamGateway) => Promise<void>,
  options: GatewayOptions = { declaredFeatures: [] },
): Promise<void> {
  await withRawServer(script, async (server) => {
    await using gateway = await startGateway(server, options);
    await work(gateway);
  });
}

/** What an old server lacks. */
export type Lacks = "websocket" | "spdy" | "v5" | "tunnel";

/** Runs `work` with the URL of a server that is `host`, but for what it lacks: that it refuses with a 400, as old servers do. */
export async function withOldServer(
  host: Reachable,
  lacks: readonly Lacks[],
  work: (server: string) => Promise<void>,
): Promise<void> {
  const { address } = host;
  assert(address.transport === "tcp");
  await withRawServer(async (connection) => {
    const bytes: Uint8Array[] = [];
    let parsed: ReturnType<typeof parseHead>;
    while (!parsed) {
      const part = await connection.read();
      if (!part) return;
      bytes.push(part);
      parsed = parseHead(concat(bytes));
    }
    const refused = lacks.find((what) => isFor(parsed.head, what));
    if (refused !== undefined) {
      const body = `no ${refused} here`;
      return await connection.write(
        `HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nX-Refused: ${refused}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
    }
    const isUpgrade = headerValue(parsed.head, "Upgrade") !== undefined;
    await relay(connection, isUpgrade ? concat(bytes) : closing(concat(bytes)), address);
  }, (server) => work(server));
}

function isFor(head: NonNullable<ReturnType<typeof parseHead>>["head"], what: Lacks): boolean {
  const upgrade = (headerValue(head, "Upgrade") ?? "").toLowerCase();
  const protocols = headerValue(head, "Sec-WebSocket-Protocol") ?? "";
  switch (what) {
    case "websocket":
      return upgrade === "websocket";
    case "spdy":
      return upgrade === "spdy/3.1";
    case "v5":
      return protocols === "v5.channel.k8s.io";
    case "tunnel":
      return protocols.includes("portforward.k8s.io");
  }
}

/** A plain request that is its connection's last, so that the next one is looked at too. */
function closing(request: Uint8Array): Uint8Array {
  const text = new TextDecoder("latin1").decode(request).replace("\r\n", "\r\nConnection: close\r\n");
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

async function relay(connection: RawConnection, first: Uint8Array, address: { hostname: string; port: number }) {
  const far = await Deno.connect(address);
  far.setNoDelay();
  let closed = false;
  const close = () => {
    connection.close();
    if (!closed) far.close();
    closed = true;
  };
  const write = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length;) at += await far.write(bytes.subarray(at));
  };
  await write(first);
  const there = async () => {
    for (let part = await connection.read(); part; part = await connection.read()) await write(part);
    await far.closeWrite();
  };
  const back = async () => {
    const buffer = new Uint8Array(64 * 1024);
    for (let n = await far.read(buffer); n !== null; n = await far.read(buffer)) {
      await connection.write(buffer.subarray(0, n));
    }
    await connection.closeWrite();
  };
  // Each direction ends by itself; what breaks one breaks both, as with any relay.
  await Promise.all([there, back].map((direction) => direction().catch(close)));
  close();
}
