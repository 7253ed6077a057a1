/**
 * Streams through a gateway: which wire goes in, which goes out, and what joins them.
 *
 * @module
 */
import { type Duplex, PodwireError } from "../bytes/mod.ts";
import {
  isRemoteCommandProtocol,
  openSpdyWire,
  PORT_FORWARD_PROTOCOL,
  PORT_FORWARD_TUNNEL,
  type RemoteCommandWire,
  SPDY_PROTOCOLS,
  WebSocketWire,
} from "../channels/mod.ts";
import type { HeaderFields } from "../dial/mod.ts";
import { messageDuplex } from "../websocket/mod.ts";
import { webSocketProtocols } from "./access.ts";
import { ClientGoneError, type HttpRequest, type HttpResponse, type HttpServerConnection } from "./http.ts";
import type { GatewayMetrics } from "./metrics.ts";
import { joinDuplexes } from "./pass_through.ts";
import { PORT_FORWARD_CHANNEL_PROTOCOLS } from "./port_forward_channels.ts";
import { Query } from "./query.ts";
import { commandRequest, type RemoteCommandRequest } from "./remote_command.ts";
import { SERVED_SPDY_PROTOCOLS } from "./remote_command_spdy.ts";
import { badRequest, StatusError } from "./status_error.ts";
import { StreamClient } from "./stream_client.ts";
import { translateCommand } from "./stream_translator.ts";
import { forwardChannels, tunnel } from "./stream_tunnel.ts";
import {
  askForSame,
  askForSpdy,
  askForWebSocket,
  proxyError,
  type StreamTarget,
  UpstreamRefusal,
} from "./stream_upstream.ts";
import { acceptPortForwardChannels, acceptRemoteCommand, tunnelledProtocol, tunnelProtocols } from "./streams.ts";
import { spdyProtocols, unknownUpgrade, upgradeToSpdy, upgradeToWebSocket, upgradeWanted } from "./upgrade.ts";
import type { Upstream } from "./upstream.ts";

/** A request to a gateway for a stream. */
export interface StreamRequest {
  /** Where it came from. */
  readonly connection: HttpServerConnection;
  /** The request as the client sent it. */
  readonly request: HttpRequest;
  /** Path and query at the upstream; {@linkcode kubeletTarget} has a kubelet's. */
  readonly target: string;
  /** The header fields for the upstream: none that concern one connection only, none that say who the client is. */
  readonly headers: HeaderFields;
  /** Where it goes. */
  readonly upstream: Upstream;
  /** What it asks for; without it, it is some other upgrade, which only passes through. */
  readonly subresource?: "exec" | "attach" | "portforward" | undefined;
  /** Ends the stream. */
  readonly signal: AbortSignal;
  /** Is told what to count. */
  readonly metrics?: StreamMetrics;
}

/** How streams go on to the upstream. */
export interface StreamOptions {
  /**
   * What the upstream is asked for. `"auto"`, the default: what the client asks for, and the other wire where that is refused.
   * Else always the one that is named.
   */
  readonly wire?: "auto" | "websocket" | "spdy";
  /**
   * `status.declaredFeatures` of the node whose kubelet the upstream is. With it the gateway does as Kubernetes' API server: everything
   * passes if `ExtendWebSocketsToKubelet` is among them; else v5 and tunnels are translated to SPDY, and the rest passes.
   */
  readonly declaredFeatures?: readonly string[];
  /**
   * How long the upstream of a stream that passes as it is may say nothing once the client has ended its direction, in milliseconds: a
   * client that has closed looks the same. Default 300 000.
   */
  readonly silence?: number;
}

/** What is counted of streams. */
export type StreamMetrics = Pick<
  GatewayMetrics,
  "streamingRequest" | "translatorRequest" | "tunnelRequest" | "streamOpened"
>;

/** How a stream went, for an access log. */
export interface StreamOutcome {
  /** The HTTP status of the answer. */
  readonly status: number;
  /** What the client asked for. */
  readonly wireIn?: "websocket" | "spdy";
  /** What the upstream agreed to. */
  readonly wireOut?: "websocket" | "spdy";
  /** Bytes from the client behind its request. */
  readonly bytesIn: number;
  /** Bytes to the client behind the answer's head. */
  readonly bytesOut: number;
  /** What went wrong, if something did. */
  readonly reason?: string;
}

/**
 * Serves one request for a stream to its end: passes it through, or translates it to what the upstream speaks.
 *
 * Until the upstream has agreed to something the client has no answer, so that a refusal is the client's to see as it came;
 * only with {@linkcode StreamOptions.declaredFeatures} is exec over v5 accepted first, as by Kubernetes' API server, and the refusal told as
 * the session's `Status`. What cannot be reached is answered with 500 and `error dialing backend`.
 *
 * Never throws for what a client or an upstream does.
 */
export async function serveStream(request: StreamRequest, options: StreamOptions = {}): Promise<StreamOutcome> {
  return await new GatewayStream(request, options).run();
}

/** See {@linkcode StreamOptions.silence}: long enough for a command that reads its input to the end and then thinks, in milliseconds. */
const SILENCE = 300_000;

/** How long a client may take to hear that the gateway ends, in milliseconds. */
const END_TIMEOUT = 5_000;

class GatewayStream {
  readonly #stream: StreamRequest;
  readonly #options: StreamOptions;
  readonly #request: HttpRequest;
  readonly #client: StreamClient;
  readonly #wireIn: "websocket" | "spdy" | undefined;
  readonly #end = new AbortController();
  readonly #target: StreamTarget;
  #wireOut: "websocket" | "spdy" | undefined;
  #reason: string | undefined;
  /** Counts the stream as over. */
  #closed: (() => void) | undefined;

  constructor(stream: StreamRequest, options: StreamOptions) {
    const { connection, request, target, headers, upstream, subresource } = stream;
    this.#stream = stream;
    this.#options = options;
    this.#request = request;
    this.#client = new StreamClient(connection);
    const isUpgrade = request.headers.tokens("connection").includes("upgrade");
    this.#wireIn = isUpgrade ? upgradeWanted(request) : undefined;
    const resource = subresource ? `pods/${subresource}` : request.path;
    // A client that leaves before it has its answer ends the question.
    const signal = AbortSignal.any([this.#end.signal, connection.watchClient()]);
    this.#target = { upstream, target, headers, resource, signal };
  }

  async run(): Promise<StreamOutcome> {
    const { signal } = this.#stream;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const end = () => {
      this.#end.abort(new PodwireError("the gateway is ending", { cause: signal.reason }));
      timer = setTimeout(() => this.#client.drop(), END_TIMEOUT);
    };
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
    try {
      await this.#serve();
    } catch (error) {
      await this.#fail(error);
    } finally {
      signal.removeEventListener("abort", end);
      clearTimeout(timer);
      this.#client.drop();
      this.#closed?.();
    }
    const { status, bytesIn, bytesOut } = this.#client;
    return {
      status,
      bytesIn,
      bytesOut,
      ...(this.#wireIn && { wireIn: this.#wireIn }),
      ...(this.#wireOut && { wireOut: this.#wireOut }),
      ...(this.#reason !== undefined && { reason: this.#reason }),
    };
  }

  async #serve(): Promise<void> {
    const wanted = this.#wireIn;
    if (!wanted) return await this.#client.respond(this.#needsUpgrade());
    await this.#client.body(); // Nobody sends one, but it would be taken for frames.
    const translate = this.#translation(wanted);
    const way = translate ? this.#way(wanted) : "pass";
    let passed: Awaited<ReturnType<typeof askForSame>> | undefined;
    let refusal: unknown;
    if (way !== "translate") {
      try {
        const spelling = this.#request.headers.get("upgrade") ?? "";
        passed = await askForSame(this.#target, this.#request.method, wanted, spelling);
      } catch (error) {
        refusal = error;
      }
    }
    const unreachable = refusal !== undefined && !(refusal instanceof UpstreamRefusal);
    const translates = translate && way !== "pass" && !passed && !unreachable;
    this.#count(!translates);
    if (passed) return await this.#pass(wanted, passed);
    if (!translates) throw refusal;
    try {
      await translate();
    } catch (error) {
      if (!(error instanceof UpstreamRefusal) || !(refusal instanceof UpstreamRefusal)) throw error;
      // What the client asked for was refused first: that answer is its, unless only the other one says why in a Status.
      throw !refusal.status && error.status ? error : refusal;
    }
  }

  #needsUpgrade(): HttpResponse {
    const isUpgrade = this.#request.headers.tokens("connection").includes("upgrade");
    return isUpgrade ? unknownUpgrade(this.#request) : badRequest("Upgrade request required").response;
  }

  /** Whether to pass the request on as it is, to translate it, or to try the one and then the other. */
  #way(wanted: "websocket" | "spdy"): "pass" | "translate" | "try" {
    const { wire = "auto", declaredFeatures } = this.#options;
    if (declaredFeatures) return this.#isTranslatedByKubernetes(declaredFeatures) ? "translate" : "pass";
    if (wire === "auto") return "try";
    return wire === wanted ? "pass" : "translate";
  }

  /** Whether an API server would translate the request, or pass it on to the kubelet (KEP-4006). */
  #isTranslatedByKubernetes(declaredFeatures: readonly string[]): boolean {
    if (declaredFeatures.includes(KUBELET_WEBSOCKETS) || this.#wireIn !== "websocket") return false;
    return webSocketProtocols(this.#request).includes("v5.channel.k8s.io") || tunnelProtocols(this.#request).length > 0;
  }

  /** What translates the request to the other wire, if anything can. */
  #translation(wanted: "websocket" | "spdy"): (() => Promise<void>) | undefined {
    const offered = wanted === "spdy" ? spdyProtocols(this.#request) : webSocketProtocols(this.#request);
    const knows = (names: readonly string[]) => offered.some((name) => names.includes(name));
    switch (this.#stream.subresource) {
      case "exec":
      case "attach":
        if (wanted === "spdy") return knows(SERVED_SPDY_PROTOCOLS) ? () => this.#command("websocket") : undefined;
        return offered.length === 0 || offered.some(isRemoteCommandProtocol) ? () => this.#command("spdy") : undefined;
      case "portforward": {
        if (wanted === "spdy") return knows([PORT_FORWARD_PROTOCOL]) ? () => this.#reverseTunnel() : undefined;
        const tunnels = tunnelProtocols(this.#request);
        if (tunnels.length > 0) return () => this.#tunnel(tunnels);
        const isChannels = offered.length === 0 || knows(Object.keys(PORT_FORWARD_CHANNEL_PROTOCOLS));
        return isChannels ? () => this.#channels() : undefined;
      }
      default:
        return undefined;
    }
  }

  #count(passes: boolean): void {
    const { subresource, metrics } = this.#stream;
    if (!subresource) return;
    const { declaredFeatures } = this.#options;
    const isProxied = declaredFeatures ? declaredFeatures.includes(KUBELET_WEBSOCKETS) : passes;
    const proxyType = isProxied ? "proxied_to_kubelet" : "translated_at_apiserver";
    metrics?.streamingRequest(subresource, proxyType);
    this.#closed = metrics?.streamOpened(subresource, proxyType);
  }

  async #pass(
    wire: "websocket" | "spdy",
    upstream: { readonly headers: HeaderFields; readonly duplex: Duplex },
  ): Promise<void> {
    this.#wireOut = wire;
    const { headers, duplex } = upstream;
    const client = await this.#client.upgrade(headers).catch((error) => {
      duplex.close();
      throw error;
    });
    await joinDuplexes(client, duplex, { signal: this.#end.signal, silence: this.#options.silence ?? SILENCE });
  }

  /** exec or attach, upstream over `wire`. */
  async #command(wire: "websocket" | "spdy"): Promise<void> {
    const action = this.#stream.subresource === "attach" ? "attach" : "exec";
    const command = commandRequest(new Query(this.#request.query), action);
    const ask = () => wire === "spdy" ? this.#askSpdyCommand(command) : this.#askWebSocketCommand();
    // Kubernetes accepts the client first; then a refusal is the session's status, and the client does not look for another way.
    const asked = this.#options.declaredFeatures ? undefined : await this.#counted("translatorRequest", ask);
    const client = await this.#accepted(asked, () => acceptRemoteCommand(this.#client, this.#request, command));
    if (!client) return this.#stream.metrics?.translatorRequest(400);
    let began = false;
    const open = async () => {
      began = true;
      const { start } = asked ?? await ask();
      this.#wireOut = wire;
      return await start();
    };
    try {
      const { code, reason } = await translateCommand(client, command, open, this.#end.signal);
      this.#reason = reason;
      this.#stream.metrics?.translatorRequest(code);
    } finally {
      if (!began) asked?.drop();
    }
  }

  async #askSpdyCommand(command: RemoteCommandRequest): Promise<AskedCommand> {
    const { duplex, protocol } = await askForSpdy(this.#target, SPDY_PROTOCOLS);
    return { start: () => openSpdyWire(duplex, protocol, command), drop: () => duplex.close() };
  }

  async #askWebSocketCommand(): Promise<AskedCommand> {
    const socket = await askForWebSocket(this.#target, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
    return { start: () => Promise.resolve(new WebSocketWire(socket)), drop: () => socket.abort() };
  }

  /** A tunnel in, SPDY out. */
  async #tunnel(tunnels: readonly string[]): Promise<void> {
    const { metrics } = this.#stream;
    const asked = await this.#counted(
      "tunnelRequest",
      () => askForSpdy(this.#target, [...new Set(tunnels.map(tunnelledProtocol))]),
    );
    const chosen = tunnels.filter((name) => tunnelledProtocol(name) === asked.protocol).slice(0, 1);
    const drop = () => asked.duplex.close();
    const socket = await this.#accepted({ drop }, () => {
      return upgradeToWebSocket(this.#client, this.#request, chosen, chosen, { reuseBuffer: true });
    });
    metrics?.tunnelRequest(this.#client.status);
    if (!socket) return;
    this.#wireOut = "spdy";
    try {
      await tunnel(messageDuplex(socket), asked.duplex, this.#end.signal);
    } finally {
      await socket.closed.catch(() => {}); // The closing handshake, which has its bound; how it ends changes nothing.
    }
  }

  /** SPDY in, a tunnel out. */
  async #reverseTunnel(): Promise<void> {
    const socket = await this.#counted("tunnelRequest", () => askForWebSocket(this.#target, [PORT_FORWARD_TUNNEL]));
    const upgrade = await this.#accepted({ drop: () => socket.abort() }, () => {
      return upgradeToSpdy(this.#client, this.#request, [PORT_FORWARD_PROTOCOL], 1);
    });
    this.#stream.metrics?.tunnelRequest(this.#client.status);
    if (!upgrade) return;
    this.#wireOut = "websocket";
    await tunnel(upgrade.duplex, messageDuplex(socket), this.#end.signal);
  }

  /** A WebSocket's channels in, SPDY out. */
  async #channels(): Promise<void> {
    const ports = new Query(this.#request.query).getAll("ports").map(Number);
    const { duplex } = await this.#counted("tunnelRequest", () => askForSpdy(this.#target, [PORT_FORWARD_PROTOCOL]));
    const socket = await this.#accepted({ drop: () => duplex.close() }, () => {
      return acceptPortForwardChannels(this.#client, this.#request, ports);
    });
    this.#stream.metrics?.tunnelRequest(this.#client.status);
    if (!socket) return;
    this.#wireOut = "spdy";
    await forwardChannels(socket, ports, duplex, this.#end.signal);
  }

  /** Counts what the upstream refuses. */
  async #counted<T>(metric: "translatorRequest" | "tunnelRequest", ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      this.#stream.metrics?.[metric](error instanceof UpstreamRefusal ? error.response.status : 500);
      throw error;
    }
  }

  /** Accepts the client, after the upstream has agreed; lets go of the upstream if that fails. */
  async #accepted<T>(
    asked: { drop(): void } | undefined,
    accept: () => Promise<T | undefined>,
  ): Promise<T | undefined> {
    let accepted: T | undefined;
    try {
      return accepted = await accept();
    } finally {
      if (accepted === undefined) asked?.drop();
    }
  }

  /** Answers a client that has no answer yet; what ended a session is for the outcome. */
  async #fail(error: unknown): Promise<void> {
    if (!(error instanceof PodwireError)) throw error;
    this.#reason = error.message;
    if (this.#client.status !== 0 || error instanceof ClientGoneError) return;
    const isRefusal = error instanceof UpstreamRefusal || error instanceof StatusError;
    const response = isRefusal ? error.response : proxyError(`error dialing backend: ${error.message}`);
    await this.#client.respond(response).catch((error) => {
      if (!(error instanceof PodwireError)) throw error; // The client has gone: it needs no answer.
    });
  }
}

/** A command that the upstream agreed to. */
interface AskedCommand {
  start(): Promise<RemoteCommandWire>;
  drop(): void;
}

/** What a node declares whose kubelet speaks WebSocket v5 and the tunnel itself (KEP-4006). */
const KUBELET_WEBSOCKETS = "ExtendWebSocketsToKubelet";
