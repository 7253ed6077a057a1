/**
 * Clusters, pods, and the commands that run in them.
 *
 * @module
 */
export {
  type ClientOptions,
  Cluster,
  type ClusterOptions,
  type ForwardTargetOptions,
  type RequestEvent,
  type RequestOptions,
} from "./cluster.ts";
export {
  type ArchiveEntry,
  type ArchiveHeader,
  packArchive,
  type PackedEntry,
  passingContent,
  readArchive,
} from "./copy_archive.ts";
export type { SegmentDigest } from "./copy_check.ts";
export { type Content, contentOf, readAll, type UploadSource } from "./copy_content.ts";
export type { Digest, SumTool } from "./copy_digest.ts";
export { ContainerFiles } from "./copy_files.ts";
export { fromText, showName, toText } from "./copy_names.ts";
export type { CopyPlace } from "./copy_shell.ts";
export type { SendOptions } from "./copy_sink.ts";
export { PodSource } from "./copy_source.ts";
export {
  type CopyEvent,
  type EntryType,
  type FileSum,
  LARGE_FILE,
  type TreeEntry,
  type TreeSource,
} from "./copy_tree.ts";
export { Turn } from "./copy_turn.ts";
export { CopyError, type CopyErrorInit } from "./copy_error.ts";
export type { CopyOptions, Download, Uploaded, UploadOptions } from "./copy_pod.ts";
export { isDnsLabel, isDnsSubdomain } from "./dns_names.ts";
export { ApiError, type Refusal, TargetError, UpgradeError } from "./errors.ts";
export { ForwardError, type ForwardErrorInit, PortForwardError } from "./forward_error.ts";
export type { ForwardAddress, ForwardListener } from "./forward_listener.ts";
export { type ForwardPair, type ForwardSession, SpdyForwardSession } from "./forward_wire.ts";
export {
  type ForwardedPort,
  mapPorts,
  parsePortSpec,
  type PortProtocol,
  type PortSpec,
  readPort,
} from "./forward_ports.ts";
export type { ForwardedConnection } from "./forwarded_connection.ts";
export type {
  ContainerSpec,
  KubernetesObject,
  LabelSelector,
  ObjectMeta,
  OwnerReference,
  PodObject,
  ServiceObject,
  ServicePort,
} from "./objects.ts";
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
export { type ForwardedRequest, SocketTransport, type SocketTransportOptions } from "./socket_transport.ts";
export {
  type ApplyOptions,
  type DeleteOptions,
  type ListOptions,
  type Manifest,
  Resource,
  type ResourceList,
  type SendApiRequest,
  type WriteOptions,
} from "./resource.ts";
export { groupPath, namespacePath, objectPath, pathSegment, type ResourceId, resourcePath } from "./resource_path.ts";
export type { ResourceEvent } from "./resource_watch.ts";
export {
  chooseContainer,
  type ChosenContainer,
  isForwardable,
  type ObjectReader,
  refuseCompleted,
  refuseNotRunning,
  type ResolvePodOptions,
} from "./targets.ts";
export type { ApiRequest, SpdyRequest, SpdyUpgrade, Transport, WebSocketRequest } from "./transport.ts";
export {
  type FindUdpPod,
  forwardUdp,
  UdpForwardError,
  type UdpForwardEvent,
  type UdpForwardOptions,
  type UdpForwardStats,
  type UdpListener,
} from "./udp_forward.ts";
export { VERSION } from "./version.ts";
export type { Wire } from "./wire.ts";
