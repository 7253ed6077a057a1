/**
 * The server's side: the embedded host, whose pods are local processes.
 *
 * @module
 */
export { type HostOptions, type HostServer, serveHost } from "./host.ts";
export { type ListenAddress, ListenError } from "./listener.ts";
export type { HostContainer, HostPod } from "./pods.ts";
