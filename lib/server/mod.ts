/**
 * The server's side: the embedded host, whose pods are local processes, and the gateway in front of a cluster, whole or in parts.
 *
 * @module
 */
export {
  authorize,
  type Authorizer,
  type Decision,
  type RequestAttributes,
  requestAttributes,
} from "./authorization.ts";
export type { ContainerPort, HostContainer, RestartPolicy } from "./container.ts";
export { type AccessRecord, type Gateway, type GatewayOptions, serveGateway } from "./gateway.ts";
export { type HostOptions, type HostServer, serveHost } from "./host.ts";
export { type HttpLimits, type HttpResponse, HttpServerConnection } from "./http.ts";
export { HeaderLines, type HttpRequest } from "./http_request.ts";
export { kubeletTarget } from "./kubelet_target.ts";
export { ListenError } from "../dial/mod.ts";
export type { ListenAddress, ServerCertificate } from "./listener.ts";
export { GatewayMetrics, METRICS_TYPE, type ProxyType, type StreamSubresource } from "./metrics.ts";
export { loadPods, type PodManifest } from "./pod_manifest.ts";
export type { HostPod } from "./pods.ts";
export { loadPolicy, type NonResourceRule, policyAuthorizer, type PolicyRule, type ResourceRule } from "./policy.ts";
export { selfSignedCertificate } from "./self_signed.ts";
export {
  serveStream,
  type StreamMetrics,
  type StreamOptions,
  type StreamOutcome,
  type StreamRequest,
} from "./stream_gateway.ts";
export { subjectAccessReview, type SubjectAccessReviewOptions } from "./subject_access_review.ts";
export {
  Upstream,
  type UpstreamHead,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamUpgrade,
} from "./upstream.ts";
export type { ClientCertificate, HeaderFields, TlsOptions } from "../dial/mod.ts";
export {
  type AccessOptions,
  type ClusterAccess,
  type Credentials,
  type HostEnvironment,
  type Impersonation,
  loadAccess,
  type RunOptions,
  type RunResult,
} from "../kubeconfig/mod.ts";
