/**
 * Byte streams into Kubernetes pods, as Web Streams: exec, attach and port-forward from a Deno
 * script, from Node, from a browser page.
 *
 * If you know `Deno.Command` and `Deno.connect` you know podwire: a remote command has `stdin`, `stdout`,
 * `stderr`, `status` and `output()`, a forwarded connection has `readable`, `writable` and `close()`; an
 * `AbortSignal` cancels, `await using` cleans up. No answer is a failure, never a success: a session that ends without a status rejects. A slow
 * reader slows the sender: every queue is bounded in bytes.
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
export {
  ApiError,
  type ApiRequest,
  type ApplyOptions,
  type ChosenContainer,
  type ClientOptions,
  Cluster,
  type ClusterOptions,
  type ContainerSpec,
  type Content,
  CopyError,
  type CopyErrorInit,
  type CopyOptions,
  type DeleteOptions,
  type Download,
  type FindUdpPod,
  type ForwardAddress,
  type ForwardConnectionInfo,
  type ForwardedConnection,
  ForwardError,
  type ForwardErrorInit,
  type ForwardListener,
  type ForwardTargetOptions,
  forwardUdp,
  type KubernetesObject,
  type ListOptions,
  type Manifest,
  type ObjectMeta,
  type OwnerReference,
  Pod,
  type PodConnection,
  type PodObject,
  type PortForward,
  PortForwardError,
  type PortForwardEvent,
  type PortForwardOptions,
  type PortForwardStats,
  type Refusal,
  RemoteCommand,
  type RemoteCommandOptions,
  type RemoteCommandOutput,
  type RemoteCommandStatus,
  RemoteProcess,
  type RequestEvent,
  type RequestOptions,
  type ResolvePodOptions,
  Resource,
  type ResourceEvent,
  type ResourceId,
  type ResourceList,
  type SpdyRequest,
  type SpdyUpgrade,
  type Stdio,
  type SumTool,
  TargetError,
  type Transport,
  UdpForwardError,
  type UdpForwardEvent,
  type UdpForwardOptions,
  type UdpForwardStats,
  type UdpListener,
  UpgradeError,
  type UpgradeOptions,
  type Uploaded,
  type UploadOptions,
  type UploadSource,
  VERSION,
  type WebSocketRequest,
  type Wire,
  type WriteOptions,
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
  type Hop,
  HttpBreakError,
  HttpError,
  ListenError,
  type SocketAddress,
} from "./lib/dial/mod.ts";
export { ConfigError, CredentialsError } from "./lib/kubeconfig/errors.ts";
