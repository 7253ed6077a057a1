/**
 * What a request for exec, attach or port-forward becomes: which wire the client wants, and the session on it.
 *
 * @module
 */
import { PORT_FORWARD_PROTOCOL, REMOTE_COMMAND_PROTOCOLS } from "../channels/mod.ts";
import { messageDuplex, type WebSocketConnection } from "../websocket/mod.ts";
import { webSocketProtocols } from "./access.ts";
import { type ContainerStream, type PortForwardStream, text } from "./api.ts";
import type { HttpRequest, HttpResponse } from "./http.ts";
import { type ForwardedPod, servePortForward } from "./port_forward.ts";
import { podPorts, PORT_FORWARD_CHANNEL_PROTOCOLS, servePortForwardChannels } from "./port_forward_channels.ts";
import { type RemoteCommandRequest, serveRemoteCommand, type ServerWire } from "./remote_command.ts";
import { SERVED_SPDY_PROTOCOLS, SpdyServerWire } from "./remote_command_spdy.ts";
import { WebSocketServerWire } from "./remote_command_websocket.ts";
import {
  refuseProtocols,
  unknownUpgrade,
  type UpgradableConnection,
  upgradeToSpdy,
  upgradeToWebSocket,
  upgradeWanted,
} from "./upgrade.ts";

/** Upgrades and runs an exec or attach session, or answers why not. */
export async function openRemoteCommand(
  connection: UpgradableConnection,
  request: HttpRequest,
  stream: ContainerStream,
): Promise<void> {
  const wire = await acceptRemoteCommand(connection, request, stream.request);
  if (wire) await serveRemoteCommand(wire, stream.request, () => stream.open());
}

/** Upgrades to the wire that the client wants for exec or attach, or answers why not. */
export async function acceptRemoteCommand(
  connection: UpgradableConnection,
  request: HttpRequest,
  command: RemoteCommandRequest,
): Promise<ServerWire | undefined> {
  switch (upgradeWanted(request)) {
    case "spdy": {
      const upgrade = await upgradeToSpdy(connection, request, SERVED_SPDY_PROTOCOLS, 2);
      return upgrade && new SpdyServerWire(upgrade.duplex, upgrade.protocol, command);
    }
    case "websocket": {
      const offered = commandProtocols(webSocketProtocols(request));
      const socket = await upgradeToWebSocket(connection, request, offered, [...REMOTE_COMMAND_PROTOCOLS, ""]);
      return socket && new WebSocketServerWire(socket, command);
    }
    default:
      await connection.respond(unknownUpgrade(request));
      return undefined;
  }
}

/** The subprotocols to choose from: all that are offered, but v5 alone where it is among them, as Kubernetes does. */
function commandProtocols(offered: readonly string[]): readonly string[] {
  const [newest] = REMOTE_COMMAND_PROTOCOLS;
  return offered.includes(newest) ? [newest] : offered;
}

/** Upgrades and forwards connections, or answers why not. */
export async function openPortForward(
  connection: UpgradableConnection,
  request: HttpRequest,
  stream: PortForwardStream,
): Promise<void> {
  const { uid, spec, gone, unanswered } = stream.pod;
  const pod = { name: spec.name, uid, ports: spec.ports ?? {}, gone, unanswered };
  switch (upgradeWanted(request)) {
    case "spdy": {
      const upgrade = await upgradeToSpdy(connection, request, [PORT_FORWARD_PROTOCOL], 1);
      if (upgrade) await servePortForward(upgrade.duplex, pod);
      return;
    }
    case "websocket": {
      const tunnels = tunnelProtocols(request);
      if (tunnels.length > 0) return await openTunnel(connection, request, pod, tunnels);
      const socket = await acceptPortForwardChannels(connection, request, stream.ports);
      if (socket) await servePortForwardChannels(socket, stream.ports, podPorts(pod), gone);
      return;
    }
    default:
      await connection.respond(unknownUpgrade(request));
  }
}

/** What stands in front of a SPDY protocol to make it a WebSocket's (apimachinery `portforward/constants.go`). */
const TUNNEL_PREFIX = "SPDY/3.1+";

/** The tunnel's name in the text of KEP-4006, which no release of Kubernetes knows. */
const KEP_TUNNEL = "v2.portforward.k8s.io";

/** The subprotocols among those offered that are SPDY in a tunnel. */
export function tunnelProtocols(request: HttpRequest): string[] {
  return webSocketProtocols(request).filter((name) =>
    name === KEP_TUNNEL || (name.startsWith(TUNNEL_PREFIX) && name.endsWith(".k8s.io"))
  );
}

/** The protocol that runs over the SPDY of a tunnel. */
export function tunnelledProtocol(tunnel: string): string {
  return tunnel === KEP_TUNNEL ? PORT_FORWARD_PROTOCOL : tunnel.slice(TUNNEL_PREFIX.length);
}

/** SPDY inside a WebSocket (apiserver `pkg/util/proxy/streamtunnel.go`, which asks a SPDY server behind it). */
async function openTunnel(
  connection: UpgradableConnection,
  request: HttpRequest,
  pod: ForwardedPod,
  tunnels: readonly string[],
): Promise<void> {
  const offer = tunnels.filter((name) => tunnelledProtocol(name) === PORT_FORWARD_PROTOCOL);
  if (offer.length === 0) {
    return await connection.respond(refuseProtocols(tunnels.map(tunnelledProtocol), [PORT_FORWARD_PROTOCOL]));
  }
  // What comes is copied into the streams' queues at once.
  const socket = await upgradeToWebSocket(connection, request, offer, offer, { reuseBuffer: true });
  if (!socket) return;
  await servePortForward(messageDuplex(socket), pod);
  await socket.closed.catch(() => {}); // The closing handshake, which has its bound; how it ends changes nothing.
}

/** Upgrades to the form for one connection to each port that the query names, or answers why not. */
export async function acceptPortForwardChannels(
  connection: UpgradableConnection,
  request: HttpRequest,
  ports: readonly number[],
): Promise<WebSocketConnection | undefined> {
  const offered = webSocketProtocols(request);
  const supported = Object.keys(PORT_FORWARD_CHANNEL_PROTOCOLS);
  const protocol = offered.find((name) => supported.includes(name)) ?? "";
  const wrong = refusePorts(ports, PORT_FORWARD_CHANNEL_PROTOCOLS[protocol]!);
  if (!wrong) return await upgradeToWebSocket(connection, request, offered, supported, { reuseBuffer: true });
  await connection.respond(wrong);
  return undefined;
}

/** The kubelet's answer to ports that cannot be forwarded over channels (`portforward/websocket.go`). */
function refusePorts(ports: readonly number[], limit: number): HttpResponse | undefined {
  if (ports.length === 0) return text(400, `query parameter "port" is required`);
  if (ports.length > limit) return text(400, `more than ${limit} ports`);
  if (ports.includes(0)) return text(400, `port "0" must be > 0`);
  const large = ports.find((port) => port > 65535);
  if (large === undefined) return undefined;
  return text(400, `unable to parse "${large}" as a port: strconv.ParseUint: parsing "${large}": value out of range`);
}
