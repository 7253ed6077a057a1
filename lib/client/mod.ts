/**
 * Clusters, pods, and the commands that run in them.
 *
 * @module
 */
export { type ClientOptions, Cluster, type ClusterOptions, type RequestEvent, type RequestOptions } from "./cluster.ts";
export { ApiError, type Refusal, TargetError, UpgradeError } from "./errors.ts";
export type { ContainerSpec, LabelSelector, ObjectMeta, PodObject } from "./objects.ts";
export { Pod, type PodConnection } from "./pod.ts";
export {
  type OpenSession,
  RemoteCommand,
  type RemoteCommandOptions,
  type RemoteCommandOutput,
  type RemoteCommandStatus,
  RemoteProcess,
  type RequestedStreams,
  type Stdio,
} from "./remote_command.ts";
export {
  chooseContainer,
  type ChosenContainer,
  type ObjectReader,
  refuseCompleted,
  type ResolvePodOptions,
} from "./targets.ts";
export type { ApiRequest, Transport, WebSocketRequest } from "./transport.ts";
export { VERSION } from "./version.ts";
