/**
 * A relay from a node's localhost into the cluster, as its two halves: one in the node's network, one in a pod's, with a unix
 * socket in a shared folder between them.
 *
 * @module
 */
import { PodwireError } from "../bytes/mod.ts";
import { parseAddress } from "./address.ts";
import type { RelaySpec } from "./config.ts";

/** The folder, in the containers of both halves, that the sockets lie in. */
export const SOCKET_FOLDER = "/run/podwire";

/** Where the node's half answers for its health, and gives its metrics. */
export const NODE_ADMIN = `unix:${SOCKET_FOLDER}/_admin.sock`; // No relay's name begins so.

/** The cluster's half answers for its own health here, and for the node's half there. */
export const ADMIN_PORT = 9402;
export const NODE_ADMIN_PORT = 9403;

/** The relay of the cluster's half that leads to {@linkcode NODE_ADMIN}. */
export const NODE_ADMIN_RELAY: RelaySpec = {
  name: "podwire-node-admin",
  listen: { address: `tcp:[::]:${NODE_ADMIN_PORT}` }, // A cluster has IPv4, IPv6 or both.
  target: { address: NODE_ADMIN },
  http: { paths: ["/healthz", "/metrics", "/readyz"] },
};

/** A relay cannot be cut into halves. */
export class RelayHalvesError extends PodwireError {
  /** The class's name. */
  override name = "RelayHalvesError";
  /** The relay's name. */
  readonly relay: string;
  /** The way to the value in the relay, `listen.address`. */
  readonly key: string;
  /** What is wrong with it. */
  readonly problem: string;

  /** An error of the value at `key` of the relay called `relay`. */
  constructor(relay: string, key: string, problem: string) {
    super(`relay ${relay}: ${key}: ${problem}`);
    this.relay = relay;
    this.key = key;
    this.problem = problem;
  }
}

/** The two halves of a relay. */
export interface RelayHalves {
  /** In the node's network: from a socket in the shared folder to the target. It enforces the HTTP paths. */
  readonly node: RelaySpec;
  /** In a pod's network: from a port to that socket. It enforces who may connect. */
  readonly cluster: RelaySpec;
  /** The port. */
  readonly port: number;
  /** What goes over it. */
  readonly protocol: "TCP" | "UDP";
}

/**
 * Cuts a relay that listens on a port of the cluster, and whose target is a socket of a node, into halves.
 *
 * @throws {RelayHalvesError} If it does not listen on a TCP or UDP port of every address, or wants what only a single process
 * can give.
 */
export function splitRelay(relay: RelaySpec): RelayHalves {
  const { name, listen, target, http, allowFrom, ...limits } = relay;
  const refuse = (key: string, problem: string): never => {
    throw new RelayHalvesError(name, key, problem);
  };
  const address = parseAddress(listen.address);
  if ("path" in address || !EVERY_ADDRESS.includes(address.hostname)) {
    const wanted = "tcp or udp on every address of the pod, as tcp:0.0.0.0:PORT or tcp:[::]:PORT";
    return refuse("listen.address", `must be ${wanted}, not ${listen.address}`);
  }
  if (address.port === 0) refuse("listen.address", "needs a port other than 0: it is the Service's");
  if (address.port === ADMIN_PORT || address.port === NODE_ADMIN_PORT) {
    refuse("listen.address", `the pods use the ports ${ADMIN_PORT} and ${NODE_ADMIN_PORT} themselves`);
  }
  if (name === NODE_ADMIN_RELAY.name) refuse("name", "is taken by podwire itself");
  if (!/^[a-z]/.test(name)) refuse("name", `must begin with a letter, as a Service's does, not be ${name}`);
  if (target.proxyProtocol) refuse("target.proxyProtocol", "the node's half does not know who connected");
  const [file] = [...fileKeys("listen.tls", listen.tls), ...fileKeys("target.tls", target.tls)];
  if (file) refuse(file, "the pods mount no files");
  const socket = `unix:${SOCKET_FOLDER}/${name}.sock`;
  return {
    node: { name, listen: { address: socket, mode: "0600" }, target, ...(http && { http }), ...limits },
    cluster: { name, listen, target: { address: socket }, ...(allowFrom && { allowFrom }), ...limits },
    port: address.port,
    protocol: address.kind === "tcp" ? "TCP" : "UDP",
  };
}

/** Where the Service reaches a pod; its own address is not known before it runs. */
const EVERY_ADDRESS: readonly string[] = ["0.0.0.0", "::"];

/** The keys of `tls` that name files. */
function fileKeys(path: string, tls: object = {}): string[] {
  return Object.keys(tls).filter((key) => key.endsWith("File")).map((key) => `${path}.${key}`);
}
