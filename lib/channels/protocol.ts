/**
 * The names and numbers of Kubernetes' remote command protocol: subprotocols, channel ids and what goes with them.
 *
 * @module
 */

/**
 * The subprotocols of exec and attach over WebSocket, newest first
 * (apimachinery `pkg/util/remotecommand/constants.go`; the base64 forms are known to
 * CRI streaming servers only, `v2` and `v3` to no WebSocket server at all).
 */
export const REMOTE_COMMAND_PROTOCOLS = [
  "v5.channel.k8s.io",
  "v4.channel.k8s.io",
  "v4.base64.channel.k8s.io",
  "channel.k8s.io",
  "base64.channel.k8s.io",
] as const;

/** One of {@linkcode REMOTE_COMMAND_PROTOCOLS}. */
export type RemoteCommandProtocol = typeof REMOTE_COMMAND_PROTOCOLS[number];

/**
 * The protocols of exec and attach over SPDY/3.1 that client-go offers, newest first. Kubernetes' servers know all but
 * `v5`, which differs from `v4` over WebSocket only.
 */
export const SPDY_PROTOCOLS: readonly string[] = [
  "v5.channel.k8s.io",
  "v4.channel.k8s.io",
  "v3.channel.k8s.io",
  "v2.channel.k8s.io",
  "channel.k8s.io",
];

/**
 * The header field that names the protocols on top of SPDY, each in a line of its own
 * (`k8s.io/streaming/pkg/httpstream/httpstream.go`).
 */
export const PROTOCOL_HEADER = "X-Stream-Protocol-Version";

/**
 * What the WebSocket subprotocol begins with that carries a token where headers cannot; base64url without padding follows
 * (apiserver `authentication/request/websocket`).
 */
export const BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io.";

/**
 * As client-go's heartbeats (`tools/remotecommand/websocket.go`, `transport/spdy/spdy.go`), over SPDY too with the deadline of
 * its WebSocket; in milliseconds.
 */
export const PING = { interval: 5_000, timeout: 60_000 } as const;

/** Whether the error channel of `protocol` carries a JSON `Status` (v4 and later) rather than plain text. */
export function hasJsonStatus(protocol: string): boolean {
  return protocol.startsWith("v5.") || protocol.startsWith("v4.");
}

/** Whether exec and attach over SPDY have a stream for the terminal's size in `protocol` (v3 and later). */
export function hasSizes(protocol: string): boolean {
  return protocol !== "channel.k8s.io" && protocol !== "v2.channel.k8s.io";
}

/** Whether `name` is a {@linkcode RemoteCommandProtocol}. */
export function isRemoteCommandProtocol(
  name: string,
): name is RemoteCommandProtocol {
  return REMOTE_COMMAND_PROTOCOLS.some((known) => known === name);
}

/** The channel ids, the first byte of every message (apimachinery `remotecommand.Stream*`). */
export const Channel = {
  /** Client to server: the command's input. */
  STDIN: 0,
  /** Server to client: the command's output. */
  STDOUT: 1,
  /** Server to client: the command's errors; never with a terminal. */
  STDERR: 2,
  /** Server to client: how the command ended. */
  ERROR: 3,
  /** Client to server: the terminal's size. */
  RESIZE: 4,
  /** Client to server, v5 only: the one byte that follows names the channel that ends. */
  CLOSE: 255,
} as const;
