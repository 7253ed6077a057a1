/**
 * What a request for exec, attach or port-forward becomes: which wire the client wants, and the session on it.
 *
 * @module
 */
import { PORT_FORWARD_PROTOCOL, PORT_FORWARD_TUNNEL, REMOTE_COMMAND_PROTOCOLS } from "../channels/mod.ts";
import { messageDuplex } from "../websocket/mod.ts";
import { webSocketProtocols } from "./access.ts";
import { type ContainerStream, type PortForwardStream, text } from "./api.ts";
import type { HttpRequest, HttpResponse, HttpServerConnection } from "./http.ts";
import { type ForwardedPod, servePortForward } from "./port_forward.ts";
import { PORT_FORWARD_CHANNEL_PROTOCOLS, servePortForwardChannels } from "./port_forward_channels.ts";
import { serveRemoteCommand } from "./remote_command.ts";
import { SERVED_SPDY_PROTOCOLS, SpdyServerWire } from "./remote_command_spdy.ts";
import { WebSocketServerWire } from "./remote_command_websocket.ts";
import { refuseProtocols, unknownUpgrade, upgradeToSpdy, upgradeToWebSocket, upgradeWanted } from "./upgrade.ts";

/** Upgrades and runs an exec or attach session, or answers why not. */
export async function openRemoteCommand(
  connection: HttpServerConnection,
  request: HttpRequest,
  stream: ContainerStream,
): Promise<void> {
  const start = () => stream.open();
  switch (upgradeWanted(request)) {
    case "spdy": {
      const upgrade = await upgradeToSpdy(connection, request, SERVED_SPDY_PROTOCOLS, 2);
      if (!upgrade) return;
      const wire = new SpdyServerWire(upgrade.duplex, upgrade.protocol, stream.request);
      return await serveRemoteCommand(wire, stream.request, start);
    }
    case "websocket": {
      const offered = commandProtocols(webSocketProtocols(request));
      const socket = await upgradeToWebSocket(connection, request, offered, [...REMOTE_COMMAND_PROTOCOLS, ""]);
      if (!socket) return;
      return await serveRemoteCommand(new WebSocketServerWire(socket, stream.request), stream.request, start);
    }
    default:
      await connection.respond(unknownUpgrade(request));
  }
}

/** The subprotocols to choose from: all that are offered, but v5 alone where it is among them, as Kubernetes does. */
function commandProtocols(offered: readonly string[]): readonly string[] {
  const [newest] = REMOTE_COMMAND_PROTOCOLS;
  return offered.includes(newest) ? [newest] : offered;
}

/** Upgrades and forwards connections, or answers why not. */
export async function openPortForward(
  connection: HttpServerConnection,
  request: HttpRequest,
  stream: PortForwardStream,
): Promise<void> {
  const { uid, spec } = stream.pod;
  const pod = { name: spec.name, uid, ports: spec.ports ?? {} };
  switch (upgradeWanted(request)) {
    case "spdy": {
      const upgrade = await upgradeToSpdy(connection, request, [PORT_FORWARD_PROTOCOL], 1);
      if (upgrade) await servePortForward(upgrade.duplex, pod);
      return;
    }
    case "websocket": {
      const offered = webSocketProtocols(request);
      const tunnels = offered.filter((name) => name.startsWith(TUNNEL_PREFIX) && name.endsWith(".k8s.io"));
      if (tunnels.length > 0) return await openTunnel(connection, request, pod, tunnels);
      return await openChannels(connection, request, pod, offered, stream.ports);
    }
    default:
      await connection.respond(unknownUpgrade(request));
  }
}

/** What stands in front of a SPDY protocol to make it a WebSocket's (apimachinery `portforward/constants.go`). */
const TUNNEL_PREFIX = "SPDY/3.1+";

/** SPDY inside a WebSocket (apiserver `pkg/util/proxy/streamtunnel.go`, which asks a SPDY server behind it). */
async function openTunnel(
  connection: HttpServerConnection,
  request: HttpRequest,
  pod: ForwardedPod,
  tunnels: readonly string[],
): Promise<void> {
  if (!tunnels.includes(PORT_FORWARD_TUNNEL)) {
    const names = tunnels.map((name) => name.slice(TUNNEL_PREFIX.length));
    return await connection.respond(refuseProtocols(names, [PORT_FORWARD_PROTOCOL]));
  }
  // What comes is copied into the streams' queues at once.
  const offer = [PORT_FORWARD_TUNNEL];
  const socket = await upgradeToWebSocket(connection, request, offer, offer, { reuseBuffer: true });
  if (!socket) return;
  await servePortForward(messageDuplex(socket), pod);
  await socket.closed.catch(() => {}); // The closing handshake, which has its bound; how it ends changes nothing.
}

/** The form for one connection to each port that the query names. */
async function openChannels(
  connection: HttpServerConnection,
  request: HttpRequest,
  pod: ForwardedPod,
  offered: readonly string[],
  ports: readonly number[],
): Promise<void> {
  const supported = Object.keys(PORT_FORWARD_CHANNEL_PROTOCOLS);
  const protocol = offered.find((name) => supported.includes(name)) ?? "";
  const wrong = refusePorts(ports, PORT_FORWARD_CHANNEL_PROTOCOLS[protocol]!);
  if (wrong) return await connection.respond(wrong);
  const socket = await upgradeToWebSocket(connection, request, offered, supported, { reuseBuffer: true });
  if (socket) await servePortForwardChannels(socket, ports, pod);
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
