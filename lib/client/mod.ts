/**
 * Clusters, pods, and the commands that run in them.
 *
 * @module
 */
export { type ClientOptions, Cluster, type ClusterOptions, type RequestEvent, type RequestOptions } from "./cluster.ts";
export { ApiError, type Refusal, TargetError, UpgradeError } from "./errors.ts";
export { ForwardError, type ForwardErrorInit, PortForwardError } from "./forward_error.ts";
export type { ForwardAddress, ForwardListener } from "./forward_listener.ts";
export {
  type ForwardedPort,
  mapPorts,
  parsePortSpec,
  type PortProtocol,
  type PortSpec,
  readPort,
} from "./forward_ports.ts";
export type { ForwardedConnection } from "./forwarded_connection.ts";
export type { ContainerSpec, LabelSelector, ObjectMeta, PodObject, ServiceObject, ServicePort } from "./objects.ts";
export { Pod, type PodConnection, type UpgradeOptions } from "./pod.ts";
export type {
  ForwardConnectionInfo,
  PortForward,
  PortForwardEvent,
  PortForwardOptions,
  PortForwardStats,
} from "./port_forward.ts";
export {
  type OpenedWire,
  type OpenWire,
  RemoteCommand,
  type RemoteCommandOptions,
  type RemoteCommandOutput,
  type RemoteCommandStatus,
  RemoteProcess,
  type Stdio,
} from "./remote_command.ts";
export {
  chooseContainer,
  type ChosenContainer,
  type ObjectReader,
  refuseCompleted,
  type ResolvePodOptions,
} from "./targets.ts";
export type { ApiRequest, SpdyRequest, SpdyUpgrade, Transport, WebSocketRequest } from "./transport.ts";
export {
  forwardUdp,
  type UdpForwardEvent,
  type UdpForwardOptions,
  type UdpForwardStats,
  type UdpListener,
} from "./udp_forward.ts";
export { VERSION } from "./version.ts";
export type { Wire } from "./wire.ts";
