/**
 * Byte streams into Kubernetes pods, as Web Streams: exec, attach, port-forward and copies from a Deno script, from Node,
 * from a browser page.
 *
 * If you know `Deno.Command` and `Deno.connect` you know podwire: a remote command has `stdin`, `stdout`, `stderr`, `status`
 * and `output()`, a forwarded connection has `readable`, `writable` and `close()`; an `AbortSignal` cancels, `await using`
 * cleans up. No answer is a failure, never a success: a session that ends without a status rejects. A slow reader slows the
 * sender: every queue is bounded in bytes.
 *
 * @example A command in a pod of the cluster that kubectl would talk to
 * ```ts
 * import { Cluster } from "@podwire/podwire";
 *
 * async function main(): Promise<void> {
 *   await using cluster = await Cluster.fromKubeconfig();
 *   const pod = cluster.pod("web-0", { namespace: "shop" });
 *   const { code, stdout } = await pod.exec(["cat", "/etc/hosts"]).output();
 *   console.log(code, new TextDecoder().decode(stdout));
 * }
 * ```
 *
 * @module
 */
// Each from its own file: what the room has for others, as all of copying, is loaded by whoever uses it.
export { Cluster } from "./lib/client/cluster.ts";
export { CopyError } from "./lib/client/copy_error.ts";
export { ApiError, TargetError, UpgradeError } from "./lib/client/errors.ts";
export { ForwardError, PortForwardError } from "./lib/client/forward_error.ts";
export { Pod } from "./lib/client/pod.ts";
export { RemoteCommand, RemoteProcess } from "./lib/client/remote_command.ts";
export { Resource } from "./lib/client/resource.ts";
export { forwardUdp, UdpForwardError } from "./lib/client/udp_forward.ts";
export { VERSION } from "./lib/client/version.ts";
export type {
  ApiRequest,
  ApplyOptions,
  ChosenContainer,
  ClientOptions,
  ClusterOptions,
  ContainerSpec,
  Content,
  CopyErrorInit,
  CopyOptions,
  DeleteOptions,
  Download,
  FindUdpPod,
  ForwardAddress,
  ForwardConnectionInfo,
  ForwardedConnection,
  ForwardErrorInit,
  ForwardListener,
  ForwardTargetOptions,
  KubernetesObject,
  ListOptions,
  Manifest,
  ObjectMeta,
  OwnerReference,
  PodConnection,
  PodObject,
  PortForward,
  PortForwardEvent,
  PortForwardOptions,
  PortForwardStats,
  Refusal,
  RemoteCommandOptions,
  RemoteCommandOutput,
  RemoteCommandStatus,
  RequestEvent,
  RequestOptions,
  ResolvePodOptions,
  ResourceEvent,
  ResourceId,
  ResourceList,
  SpdyRequest,
  SpdyUpgrade,
  Stdio,
  SumTool,
  Transport,
  UdpForwardEvent,
  UdpForwardOptions,
  UdpForwardStats,
  UdpListener,
  UpgradeOptions,
  Uploaded,
  UploadOptions,
  UploadSource,
  WebSocketRequest,
  Wire,
  WriteOptions,
} from "./lib/client/mod.ts";
export { type Duplex, PodwireError } from "./lib/bytes/mod.ts";
export type { CloseInfo, MessageSocket } from "./lib/websocket/mod.ts";
export {
  ChannelProtocolError,
  DisconnectedError,
  RemoteCommandError,
  type RemoteCommandSink,
  type RemoteCommandWire,
  type RequestedStreams,
  type Status,
  type StatusDetails,
  StdinClosedError,
  type TerminalSize,
  type WireEnd,
} from "./lib/channels/mod.ts";
export {
  type ClientCertificate,
  type Dialer,
  DialError,
  type Endpoint,
  type HeaderFields,
  type Hop,
  HttpBreakError,
  HttpError,
  ListenError,
  type SocketAddress,
  type TlsOptions,
} from "./lib/dial/mod.ts";
export {
  type AccessOptions,
  type ClusterAccess,
  ConfigError,
  type Credentials,
  CredentialsError,
  type Impersonation,
  type Position,
} from "./lib/kubeconfig/mod.ts";
