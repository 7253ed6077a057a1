/**
 * The ports of a port-forward as they are typed, and what they mean for a pod or a service,
 * by kubectl's rules and with kubectl's words.
 *
 * @module
 */
import { TargetError } from "./errors.ts";
import type { PodObject, ServiceObject, ServicePort } from "./objects.ts";

/** What a forwarded port carries. */
export type PortProtocol = "tcp" | "udp";

/** A port as it was typed. */
export interface PortSpec {
  /** What it carries. */
  readonly protocol: PortProtocol;
  /** The port here: a number, an empty text for any free port, or what {@linkcode PortSpec.remote} is. */
  readonly local: string;
  /** The port of the pod or service: a number or a name. */
  readonly remote: string;
}

/** A port with its numbers. */
export interface ForwardedPort {
  /** What it carries. */
  readonly protocol: PortProtocol;
  /** The port here; 0 is any free one. */
  readonly local: number;
  /** The pod's port. */
  readonly remote: number;
}

/**
 * Splits `[LOCAL:]REMOTE[/tcp|/udp]`. Whether both are ports, {@linkcode readPort} says: a name means nothing yet.
 *
 * @throws {TargetError} If there are more than two parts (where kubectl takes the first and forgets the others), or the
 * protocol is another one.
 *
 * @example
 * ```ts
 * import { parsePortSpec } from "./forward_ports.ts";
 *
 * console.log(parsePortSpec("8080:http")); // { protocol: "tcp", local: "8080", remote: "http" }
 * console.log(parsePortSpec("5353:53/udp")); // { protocol: "udp", local: "5353", remote: "53" }
 * console.log(parsePortSpec(":5432")); // { protocol: "tcp", local: "", remote: "5432" }
 * ```
 */
export function parsePortSpec(text: string): PortSpec {
  const slash = text.indexOf("/");
  const protocol = slash < 0 ? "tcp" : text.slice(slash + 1).toLowerCase();
  const [local = "", remote = local, ...more] = (slash < 0 ? text : text.slice(0, slash)).split(":");
  if (more.length > 0) throw new TargetError(`invalid port format '${text}'`);
  if (protocol !== "tcp" && protocol !== "udp") {
    throw new TargetError(`invalid port format '${text}': ${JSON.stringify(protocol)} is neither tcp nor udp`);
  }
  return { protocol, local, remote };
}

/**
 * Replaces the names and the service's ports in `specs` by the pod's port numbers (kubectl `pkg/cmd/portforward`).
 *
 * A pod's named port is looked up in its containers, then in its init containers. A service's port goes to its
 * `targetPort`, but for a headless service, whose ports are the pod's. A port that is typed once, by its name, has the
 * container's number here too, or the service's.
 *
 * @throws {TargetError} If a port is not there, or has UDP alone where TCP is asked for.
 */
export function mapPorts(specs: readonly PortSpec[], pod: PodObject, service?: ServiceObject): PortSpec[] {
  for (const spec of specs) refuseOtherProtocol(spec, pod, service);
  return specs.map((spec) => service ? mapServicePort(spec, pod, service) : mapPodPort(spec, pod));
}

/**
 * Reads the numbers of a port whose names {@linkcode mapPorts} has replaced.
 *
 * @throws {TargetError} If they are no port numbers; the text is that of client-go (`tools/portforward`) and of Go.
 */
export function readPort({ protocol, local, remote }: PortSpec): ForwardedPort {
  const port = {
    protocol,
    local: local === "" ? 0 : readNumber("local", local),
    remote: readNumber("remote", remote),
  };
  if (port.remote === 0) throw new TargetError("remote port must be > 0");
  return port;
}

function mapPodPort({ protocol, local, remote }: PortSpec, pod: PodObject): PortSpec {
  if (remote === "") throw new TargetError("remote port cannot be empty");
  const port = String(readInteger(remote) === undefined ? containerPort(pod, remote) : remote);
  return { protocol, local: local === remote ? port : local, remote: port };
}

function mapServicePort({ protocol, local, remote }: PortSpec, pod: PodObject, service: ServiceObject): PortSpec {
  const number = servicePortNumber(service, remote);
  const isName = readInteger(remote) === undefined;
  return {
    protocol,
    local: isName && local === remote ? String(number) : local,
    remote: String(targetPort(service, number, protocol, pod)),
  };
}

/** The pod's port behind a service's port. */
function targetPort(service: ServiceObject, number: number, protocol: PortProtocol, pod: PodObject): number {
  const ports = portsOf(service).filter(({ port }) => port === number);
  // One number may stand for TCP and for UDP, as a name server's does.
  const found = ports.find((port) => protocolOf(port) === protocol) ?? (protocol === "tcp" ? ports[0] : undefined);
  if (!found) {
    const asked = protocol === "tcp" ? number : `${number}/${protocol}`;
    throw new TargetError(`Service ${service.metadata.name} does not have a service port ${asked}`);
  }
  if (service.spec?.clusterIP === "None") return number;
  const target = found.targetPort || found.port;
  return typeof target === "number" ? target : containerPort(pod, target);
}

/** Refuses a port that is declared for UDP alone, if TCP is asked for. */
function refuseOtherProtocol(spec: PortSpec, pod: PodObject, service: ServiceObject | undefined): void {
  if (spec.protocol === "udp") return;
  const declared = service
    ? portsOf(service).map((port) => ({ number: port.port, protocol: protocolOf(port) }))
    : (pod.spec?.containers ?? []).flatMap(({ ports = [] }) =>
      ports.map((port) => ({ number: port.containerPort, protocol: protocolOf(port) }))
    );
  if (!service && spec.remote === "") return; // Another error's case.
  const number = service
    ? servicePortNumber(service, spec.remote)
    : readInteger(spec.remote) ?? containerPort(pod, spec.remote);
  const protocols = declared.filter((port) => port.number === number).map(({ protocol }) => protocol);
  if (protocols.includes("udp") && !protocols.includes("tcp")) {
    throw new TargetError(`UDP protocol is not supported for ${spec.remote}`);
  }
}

function servicePortNumber(service: ServiceObject, remote: string): number {
  const number = readInteger(remote) ?? portsOf(service).find(({ name = "" }) => name === remote)?.port;
  if (number !== undefined) return number;
  throw new TargetError(`Service '${service.metadata.name}' does not have a named port '${remote}'`);
}

function containerPort(pod: PodObject, name: string): number {
  const containers = [...pod.spec?.containers ?? [], ...pod.spec?.initContainers ?? []];
  const found = containers.flatMap(({ ports = [] }) => ports).find((port) => port.name === name);
  if (found) return found.containerPort;
  throw new TargetError(`Pod '${pod.metadata.name}' does not have a named port '${name}'`);
}

/**
 * Checks the port of a pod that somebody gave.
 *
 * @throws {RangeError} If it is none.
 */
export function checkPort(port: number): void {
  if (!isPort(port) || port === 0) throw new RangeError(`${port} is not a port`);
}

/**
 * Checks a port to listen on, 0 for any that is free.
 *
 * @throws {RangeError} If it is none.
 */
export function checkLocalPort(port: number): void {
  if (!isPort(port)) throw new RangeError(`${port} is not a port to listen on`);
}

/** Also of what is no number at all, for those whom no compiler stops. */
function isPort(port: unknown): boolean {
  return Number.isInteger(port) && Number(port) >= 0 && Number(port) <= 65_535;
}

function portsOf(service: ServiceObject): readonly ServicePort[] {
  return service.spec?.ports ?? [];
}

function protocolOf({ protocol = "TCP" }: { readonly protocol?: string }): string {
  return protocol.toLowerCase();
}

/** What tells a number from a name (Go `strconv.Atoi`, which reads 64 bits). */
function readInteger(text: string): number | undefined {
  const number = /^[+-]?\d+$/.test(text) ? Number(text) : NaN;
  return Math.abs(number) < 2 ** 63 ? number : undefined;
}

/** Reads a port number (Go `strconv.ParseUint` with 16 bits). */
function readNumber(side: "local" | "remote", text: string): number {
  const problem = !/^\d+$/.test(text) ? "invalid syntax" : Number(text) > 0xffff ? "value out of range" : undefined;
  if (problem === undefined) return Number(text);
  const cause = `strconv.ParseUint: parsing ${JSON.stringify(text)}: ${problem}`;
  throw new TargetError(`error parsing ${side} port '${text}': ${cause}`);
}
