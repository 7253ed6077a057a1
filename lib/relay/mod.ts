/**
 * Sockets to sockets, and a node's localhost into the cluster: the relays, their configuration, manifests and operator.
 *
 * @module
 */
export { type Address, formatAddress, isDatagram, parseAddress } from "./address.ts";
export { type Admin, serveAdmin } from "./admin.ts";
export { type Allowed, parseAllowed } from "./allow_list.ts";
export { readConfigFiles, watchConfigFiles } from "./config_files.ts";
export type { Relay, RelayFile, RelaySpec } from "./config.ts";
export { type ConfigProblem, RelayConfigError } from "./config_reader.ts";
export { CRD, OPERATOR, operatorAccess, operatorDeployment } from "./crd.ts";
export { RelayHalvesError } from "./halves.ts";
export { parseHalves } from "./halves_config.ts";
export { lead } from "./leader_election.ts";
export { halfObjects, relayService, type RelaySet, staticPod } from "./manifest.ts";
export { Operator } from "./operator.ts";
export { type ConfigFile, explainProblem, parseRelays } from "./parse_config.ts";
export { RelayError } from "./errors.ts";
export { type RelayEvent, Relays, type RelaysOptions, type RelayState } from "./relays.ts";
export { readTlsFiles, TlsFileError } from "./tls_files.ts";
