/**
 * The names that port-forward goes by on the wire.
 *
 * @module
 */

/** The protocol on top of SPDY/3.1 (client-go `tools/portforward`). */
export const PORT_FORWARD_PROTOCOL = "portforward.k8s.io";

/** The WebSocket subprotocol of SPDY/3.1 inside a WebSocket (apimachinery `pkg/util/portforward`). */
export const PORT_FORWARD_TUNNEL = "SPDY/3.1+portforward.k8s.io";

/** The WebSocket subprotocol of one connection a port, on channels (cri-streaming `portforward/websocket.go`). */
export const PORT_FORWARD_CHANNELS = "v4.channel.k8s.io";

/**
 * What a SYN_REPLY says whose server passes a half-close on to the pod, in both directions. podwire's own word:
 * containerd ends both directions a second after the first one, and a client that cares must know.
 */
export const HALF_CLOSE_KEPT: Readonly<Record<string, string>> = { "half-close": "kept" };
